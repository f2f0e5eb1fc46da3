"""The evolution rule in words: what a change of a schema breaks, for whom, and what to do instead.

Only fields with defaults come or go, types stay, enums only gain symbols. The registry sees less: no meaning, no limit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import fastavro

from wattline_common.symbols import Symbol

__all__ = ["Break", "Direction", "Schema", "breaks", "breaks_with_any"]

Schema = Mapping[str, Any]

_READ_AS = {  # Avro: a writer's type, and what else a reader may take it for
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}
_NOTHING = "no such field"
_NEW_FIELD = "leave it, and add a new field with a default beside it"


class Direction(Symbol):
    """Whom a change breaks."""

    BACKWARD = "backward"
    FORWARD = "forward"
    MEANING = "meaning"

    @property
    def words(self) -> str:
        """Return who suffers what."""
        return {
            "backward": "new readers cannot read old events",
            "forward": "old readers cannot read new events",
            "meaning": "events are read, but mean something else or are refused by their values",
        }[self.value]


@dataclass(frozen=True, slots=True)
class Break:
    """One thing that a change breaks, at a field's path (``devices[].kind``; empty for the record itself)."""

    path: str
    old: str
    new: str
    direction: Direction
    remedy: str

    def __str__(self) -> str:
        """Return one line: field, old, new, direction and remedy."""
        field = self.path or "the record"
        return f"{field}: {self.old} -> {self.new}: {self.direction}: {self.direction.words}; {self.remedy}"


def breaks(old: Schema, new: Schema) -> list[Break]:
    """Return what a change from one schema (as parsed JSON) to another breaks; empty when the rule allows it.

    Raises fastavro's `SchemaParseException` when either is no Avro schema.
    """
    before, after = _Names(old), _Names(new)
    return list(dict.fromkeys(_Comparison(before, after).types("", before.root, after.root)))


def breaks_with_any(history: Iterable[Schema], new: Schema) -> list[tuple[int, Break]]:
    """Return what a new schema breaks, with the version (1, 2, ... of the history) that it breaks with."""
    return [(version, each) for version, old in enumerate(history, start=1) for each in breaks(old, new)]


class _Names:
    """A schema with full names, and the types that those name."""

    def __init__(self, schema: Schema) -> None:
        self._named: dict[str, Any] = {}
        self.root = fastavro.parse_schema(dict(schema), named_schemas=self._named)

    def resolved(self, kind: Any) -> Any:  # noqa: ANN401  # a parsed Avro schema is of any shape
        return self._named.get(kind, kind) if isinstance(kind, str) else kind

    def words(self, kind: Any) -> str:  # noqa: ANN401  # as above
        """Return a type as people say it, the same wherever the types that it names are defined."""
        return _words(kind, self._named)


class _Comparison:
    """Walks two schemas side by side."""

    def __init__(self, before: _Names, after: _Names, under_way: set[str] | None = None) -> None:
        self._before = before
        self._after = after
        self._under_way = set() if under_way is None else under_way  # a record that holds itself is compared once

    def types(self, path: str, old: Any, new: Any) -> Iterator[Break]:  # noqa: ANN401  # as above
        """Yield what the change of one type to another breaks."""
        old, new = self._before.resolved(old), self._after.resolved(new)
        shapes = _shape(old), _shape(new)
        pairs = _pairs_of_branches(old, new)
        if pairs is not None:
            for branches in pairs:
                yield from self.types(path, *branches)
        elif shapes[0] != shapes[1] or shapes[0] == "union":
            yield from self._other_type(path, old, new)
        elif shapes[0] == "array":
            yield from self.types(f"{path}[]", old["items"], new["items"])
        elif shapes[0] == "map":
            yield from self.types(f"{path}{{}}", old["values"], new["values"])
        elif shapes[0] in {"record", "enum", "fixed"}:
            yield from self._named_types(path, old, new)
        elif _logical(old) != _logical(new):
            yield Break(path, *self._words(old, new), Direction.MEANING, _NEW_FIELD)

    def _words(self, old: Any, new: Any) -> tuple[str, str]:  # noqa: ANN401  # as above
        return self._before.words(old), self._after.words(new)

    def _other_type(self, path: str, old: Any, new: Any) -> Iterator[Break]:  # noqa: ANN401  # as above
        directions = []
        if not self._reads(new, old):
            directions.append(Direction.BACKWARD)
        if not _Comparison(self._after, self._before, self._under_way)._reads(old, new):
            directions.append(Direction.FORWARD)
        for direction in directions or [Direction.MEANING]:
            yield Break(path, *self._words(old, new), direction, _NEW_FIELD)

    def _reads(self, reader: Any, writer: Any) -> bool:  # noqa: ANN401  # as above
        """Return whether Avro resolves every value of a writer's type (of before) to a reader's (of after)."""
        reader, writer = self._after.resolved(reader), self._before.resolved(writer)
        if isinstance(writer, list):
            return all(self._reads(reader, branch) for branch in writer)
        if isinstance(reader, list):
            return any(self._reads(branch, writer) for branch in reader)
        if _shape(reader) != _shape(writer):
            return _shape(reader) in _READ_AS.get(_shape(writer), ())
        return not any(each.direction is Direction.BACKWARD for each in self.types("", writer, reader))

    def _named_types(self, path: str, old: Schema, new: Schema) -> Iterator[Break]:
        if old["name"] != new["name"] or old.get("size") != new.get("size"):
            for direction in (Direction.BACKWARD, Direction.FORWARD):
                yield Break(path, *self._words(old, new), direction, f"keep the name {old['name']}")
        elif old["type"] == "enum":
            yield from _enums(path, old, new)
        elif old["type"] == "record" and old["name"] not in self._under_way:
            self._under_way.add(old["name"])
            try:
                yield from self._records(f"{path}." if path else "", old, new)
            finally:
                self._under_way.remove(old["name"])

    def _records(self, above: str, old: Schema, new: Schema) -> Iterator[Break]:
        before = {field["name"]: field for field in old["fields"]}
        after = {field["name"]: field for field in new["fields"]}
        for name, field in before.items():
            if name in after:
                yield from self._fields(above + name, field, after[name])
            elif "default" not in field:
                remedy = "keep it: a required field is for ever"
                yield Break(above + name, self._before.words(field["type"]), _NOTHING, Direction.FORWARD, remedy)
        for name, field in after.items():
            if name not in before and "default" not in field:
                said = self._after.words(field["type"])
                yield Break(above + name, _NOTHING, said, Direction.BACKWARD, "give it a default")

    def _fields(self, path: str, old: Schema, new: Schema) -> Iterator[Break]:
        yield from self.types(path, old["type"], new["type"])
        before, after = self._words(old["type"], new["type"])
        defaults = _default(old), _default(new)
        if before == after and defaults[0] != defaults[1]:
            yield Break(path, *defaults, Direction.MEANING, "keep the default")
        for limit in _tightened(old, new):
            remedy = "keep the limit: what older producers send within it must stay good"
            yield Break(path, _limit(old, limit), _limit(new, limit), Direction.MEANING, remedy)


def _enums(path: str, old: Schema, new: Schema) -> Iterator[Break]:
    gone = [symbol for symbol in old["symbols"] if symbol not in new["symbols"]]
    if gone:
        direction = Direction.MEANING if "default" in new else Direction.BACKWARD
        yield Break(path, _symbols(old), _symbols(new), direction, f"put {', '.join(gone)} back")
    if "default" not in old and set(new["symbols"]) - set(old["symbols"]):
        remedy = "add no symbol: old readers have no default to put in its place"
        yield Break(path, _symbols(old), _symbols(new), Direction.FORWARD, remedy)
    if "default" in old and old["default"] != new.get("default"):
        before, after = (f"enum {each['name']}, {_default(each)}" for each in (old, new))
        yield Break(path, before, after, Direction.MEANING, "keep the enum's default")


def _tightened(old: Schema, new: Schema) -> Iterator[str]:
    """Yield the limits of values by which the new field refuses what the old one took; any new pattern may."""
    for limit in ("maximum", "maxLength", "maxItems"):
        if limit in new and (limit not in old or new[limit] < old[limit]):
            yield limit
    if "minimum" in new and ("minimum" not in old or new["minimum"] > old["minimum"]):
        yield "minimum"
    if new.get("finite") and not old.get("finite"):
        yield "finite"
    if "pattern" in new and new["pattern"] != old.get("pattern"):
        yield "pattern"


def _pairs_of_branches(old: Any, new: Any) -> list[tuple[Any, Any]] | None:  # noqa: ANN401  # as above
    """Return the branches of two unions that answer to each other, in whatever order; None when they do not."""
    if not (isinstance(old, list) and isinstance(new, list)):
        return None
    before, after = ({_branch(each): each for each in union} for union in (old, new))
    if before.keys() == after.keys():
        return [(before[name], after[name]) for name in before]
    alone = [[each for name, each in union.items() if name != "null"] for union in (before, after)]
    if len(alone[0]) == len(alone[1]) == 1 and ("null" in before) == ("null" in after):
        return [(alone[0][0], alone[1][0])]
    return None


def _branch(kind: Any) -> str:  # noqa: ANN401  # as above
    return str(kind["name"] if isinstance(kind, Mapping) and "name" in kind else _shape(kind))


def _shape(kind: Any) -> str:  # noqa: ANN401  # as above
    if isinstance(kind, list):
        return "union"
    return str(kind["type"] if isinstance(kind, Mapping) else kind)


def _logical(kind: Any) -> str | None:  # noqa: ANN401  # as above
    return kind.get("logicalType") if isinstance(kind, Mapping) else None


def _words(kind: Any, named: Mapping[str, Any]) -> str:  # noqa: ANN401  # as above
    match kind:
        case ["null", inner] | [inner, "null"]:
            return f"nullable {_words(inner, named)}"
        case list():
            return " or ".join(_words(each, named) for each in kind)
        case {"type": "array", "items": inner}:
            return f"array of {_words(inner, named)}"
        case {"type": "map", "values": inner}:
            return f"map of {_words(inner, named)}"
        case {"type": shape, "name": name}:
            return f"{shape} {name}"
        case {"type": shape, "logicalType": logical}:
            return f"{shape} ({logical})"
        case str() if kind in named:
            return _words(named[kind], named)
    return _shape(kind)


def _symbols(enum: Schema) -> str:
    return f"enum {enum['name']} of {', '.join(enum['symbols'])}"


def _default(described: Schema) -> str:
    return f"default {json.dumps(described['default'])}" if "default" in described else "no default"


def _limit(field: Schema, name: str) -> str:
    return f"{name} {field[name]}" if name in field else f"no {name}"
