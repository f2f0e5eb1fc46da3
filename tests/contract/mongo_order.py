"""`$max` and `$min` in memory, by MongoDB's order of values; a test holds it against the real store."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

__all__ = ["apply"]


def apply(document: dict[str, Any], raised: Mapping[str, Any], lowered: Mapping[str, Any]) -> None:
    """Change a document as an update with `$max` and `$min` of dotted paths would."""
    for path, value in raised.items():
        place, key = _reach(document, path)
        if key not in place or _rank(value) > _rank(place[key]):
            place[key] = value
    for path, value in lowered.items():
        place, key = _reach(document, path)
        if key not in place or _rank(value) < _rank(place[key]):
            place[key] = value


def _reach(document: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    *way, key = path.split(".")
    for part in way:
        document = document.setdefault(part, {})
    return document, key


def _rank(value: Any) -> tuple[Any, ...]:
    """Return what sorts as the store does: by type, then by value; documents field by field: type, name, value."""
    match value:
        case None:
            return (0,)
        case bool():
            return (5, value)
        case int() | float():
            return (1, value)
        case str():
            return (2, value.encode())
        case dict():
            return (3, [(_rank(inner)[0], name, _rank(inner)) for name, inner in value.items()])
        case list():
            return (4, [_rank(inner) for inner in value])
        case datetime.datetime():
            return (6, value)
    raise TypeError(f"{value!r} has no place in this order")
