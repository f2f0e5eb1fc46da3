"""Which schemas of a registry we read by at all: those by which no bytes can exhaust the stack, the time or the memory.

A schema comes from outside like a message does. A recursive one lets a short body nest without end, which ends the
process; a list of what takes no bytes lets six bytes ask for billions of items.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, cast

import fastavro

__all__ = ["LONGEST_SCHEMA", "parse_readable"]

LONGEST_SCHEMA = 1_000_000  # characters; ours have 8,000
_DEEPEST = 50
_MOST_VALUES = 20_000  # of one datum, each list counted as one item


def parse_readable(text: str) -> Any:  # noqa: ANN401  # fastavro's parsed schemas are of any shape
    """Return a schema as fastavro parses it; raise `ValueError` when it is none, or one that we do not read by."""
    if len(text) > LONGEST_SCHEMA:
        raise ValueError(f"it has {len(text)} characters, more than {LONGEST_SCHEMA}")
    try:
        parsed = fastavro.parse_schema(json.loads(text))
        _Weighing().weigh(parsed, 0)
    except ValueError:
        raise
    except Exception as error:  # JSON, yet no schema: fastavro raises whatever that leads it into
        raise ValueError(repr(error)[:300]) from error
    return parsed


@dataclass(frozen=True, slots=True)
class _Weight:
    values: int
    least_bytes: int


@dataclass(slots=True)
class _Weighing:
    """Counts what one datum of a schema has at most, a named type once however often it is used."""

    _known: dict[str, _Weight | None] = field(default_factory=dict)  # None: under way, so it holds itself

    def weigh(self, schema: Any, depth: int) -> _Weight:  # noqa: ANN401  # as above
        """Return a schema's weight; raise `ValueError` when it is none that we read by."""
        if depth > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} deep")
        weight = self._weigh(schema, depth + 1)
        if weight.values > _MOST_VALUES:
            raise ValueError(f"one datum has more than {_MOST_VALUES} values")
        return weight

    def _weigh(self, schema: Any, depth: int) -> _Weight:  # noqa: ANN401  # as above
        match schema:
            case str():
                return self._of(schema)
            case list():
                return _Weight(1 + sum(self.weigh(branch, depth).values for branch in schema), 1)
            case {"type": "record" | "error"}:
                return self._record(schema, depth)
            case {"type": "fixed", "name": name, "size": size}:
                return self._note(name, _Weight(1, cast(int, size)))
            case {"type": "enum", "name": name}:
                return self._note(name, _Weight(1, 1))
            case {"type": "array", "items": items}:
                return self._array(items, depth)
            case {"type": "map", "values": values}:
                return _Weight(1 + self.weigh(values, depth).values, 1)
            case {"type": inner}:
                return self.weigh(inner, depth)
        raise ValueError(f"{schema!r:.80} is of no kind that Avro has")

    def _record(self, schema: dict[str, Any], depth: int) -> _Weight:
        name = schema["name"]
        self._known[name] = None
        fields = [self.weigh(entry["type"], depth) for entry in schema.get("fields", ())]
        return self._note(name, _Weight(1 + sum(f.values for f in fields), sum(f.least_bytes for f in fields)))

    def _array(self, items: Any, depth: int) -> _Weight:  # noqa: ANN401  # as above
        item = self.weigh(items, depth)
        if not item.least_bytes:
            raise ValueError("items of a list take no bytes, so a few bytes could ask for billions of them")
        return _Weight(1 + item.values, 1)

    def _of(self, name: str) -> _Weight:
        """Return the weight of a primitive type, or of a named one that came before."""
        weight = self._known.get(name, _Weight(1, int(name != "null")))
        if weight is None:
            raise ValueError(f"{name} holds itself")
        return weight

    def _note(self, name: str, weight: _Weight) -> _Weight:
        if weight.least_bytes < 0:
            raise ValueError(f"{name} has less than no bytes")
        self._known[name] = weight
        return weight
