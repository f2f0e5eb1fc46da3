"""Where two decoded events differ, in words, so that a counterexample names the field."""

from __future__ import annotations

from typing import Any

__all__ = ["difference"]

_MISSING = "nothing"


def difference(found: Any, wanted: Any, path: str = "") -> str | None:
    """Return the first place where two data differ (`devices[0].share: 1.0, not 0.5`); None when they are alike.

    Stricter than ``==``: types must be the same, floats the same bit by bit; and NaN is like NaN.
    """
    if type(found) is type(wanted):
        match wanted:
            case dict():
                return _of_dicts(found, wanted, path)
            case list():
                return _of_lists(found, wanted, path)
            case float() if found.hex() == wanted.hex():
                return None
            case _ if not isinstance(wanted, float) and found == wanted:
                return None
    return f"{path or 'the whole'}: {found!r}, not {wanted!r}"


def _of_dicts(found: dict[Any, Any], wanted: dict[Any, Any], path: str) -> str | None:
    for name in [*wanted, *found]:
        place = f"{path}.{name}" if path else str(name)
        if name not in wanted or name not in found:
            return f"{place}: {found.get(name, _MISSING)!r}, not {wanted.get(name, _MISSING)!r}"
        if (inner := difference(found[name], wanted[name], place)) is not None:
            return inner
    return None


def _of_lists(found: list[Any], wanted: list[Any], path: str) -> str | None:
    for index, (one, other) in enumerate(zip(found, wanted, strict=False)):
        if (inner := difference(one, other, f"{path}[{index}]")) is not None:
            return inner
    return None if len(found) == len(wanted) else f"{path}: {len(found)} items, not {len(wanted)}"
