"""What a script gives `wattline.track`, made fit for a run: what cannot be used is told and left out."""

from __future__ import annotations

from collections.abc import Mapping

from wattline.guard import Problems
from wattline.identity import as_text_map

__all__ = ["at_least", "text_map"]


def at_least(least: float, given: object, default: float, name: str, problems: Problems) -> float:
    """Return a number that is given, or the default."""
    if given is None:
        return default
    if isinstance(given, int | float) and least <= given < float("inf"):
        return float(given)
    problems.report(name, f"{name}={given!r} is no number of at least {least:g}; it is {default:g}")
    return default


def text_map(name: str, given: object, problems: Problems) -> dict[str, str]:
    """Return a map that is given, as texts."""
    if given is None or isinstance(given, Mapping):
        return as_text_map(given)
    problems.report(name, f"{name} is no mapping but {type(given).__name__}; it is left out")
    return {}
