"""An Avro schema as a tree to walk and edit: a named type is one node at all its places, whatever text defines it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

__all__ = ["Spot", "collapse", "expand", "field_paths", "open_records", "places", "records", "spots"]


@dataclass(frozen=True, slots=True)
class Spot:
    """A place where a type stands: ``holder[key]``, somewhere within the type of ``field``."""

    path: str
    field: dict[str, Any]
    holder: Any
    key: Any

    @property
    def kind(self) -> Any:
        """Return the type that stands here."""
        return self.holder[self.key]


def expand(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a copy in which every reference by name is the very node that defines it; no type may hold itself."""
    tree = copy.deepcopy(schema)
    _expanded(tree, {}, "")  # in place
    return tree


def _expanded(kind: Any, known: dict[str, Any], namespace: str) -> Any:
    match kind:
        case str():
            return known.get(kind) or known.get(f"{namespace}.{kind}", kind)
        case list():
            kind[:] = [_expanded(branch, known, namespace) for branch in kind]
        case {"type": "array" | "map" as name}:
            inner = "items" if name == "array" else "values"
            kind[inner] = _expanded(kind[inner], known, namespace)
        case {"type": "record" | "enum", "name": name}:
            own = kind.get("namespace", namespace)
            known[f"{own}.{name}"] = kind
            for field in kind.get("fields", []):
                field["type"] = _expanded(field["type"], known, own)
    return kind


def collapse(tree: dict[str, Any]) -> dict[str, Any]:
    """Return a tree as a schema again: a named type is defined where it first stands, and then named."""
    return cast(dict[str, Any], _collapsed(tree, set()))


def _collapsed(kind: Any, seen: set[int]) -> Any:
    match kind:
        case list():
            return [_collapsed(branch, seen) for branch in kind]
        case {"type": "array", "items": inner}:
            return {**kind, "items": _collapsed(inner, seen)}
        case {"type": "map", "values": inner}:
            return {**kind, "values": _collapsed(inner, seen)}
        case {"type": "record" | "enum", "name": name} if id(kind) in seen:
            return f"{kind['namespace']}.{name}" if "namespace" in kind else name
        case {"type": "enum"}:
            seen.add(id(kind))
        case {"type": "record", "fields": fields}:
            seen.add(id(kind))
            return {**kind, "fields": [{**each, "type": _collapsed(each["type"], seen)} for each in fields]}
    return copy.deepcopy(kind)


def spots(tree: dict[str, Any], above: str = "") -> Iterator[Spot]:
    """Yield every place of a type: ``name``, ``name[]`` in an array, ``name{}`` in a map, ``name[].inner``."""
    for field in tree["fields"]:
        yield from _spots_of(Spot(above + field["name"], field, field, "type"))


def _spots_of(spot: Spot) -> Iterator[Spot]:
    yield spot
    match spot.kind:
        case list() as union:
            for place in range(len(union)):
                yield from _spots_of(Spot(spot.path, spot.field, union, place))
        case {"type": "array"} as array:
            yield from _spots_of(Spot(f"{spot.path}[]", spot.field, array, "items"))
        case {"type": "map"} as mapping:
            yield from _spots_of(Spot(f"{spot.path}{{}}", spot.field, mapping, "values"))
        case {"type": "record"} as record:
            yield from spots(record, f"{spot.path}.")


def records(tree: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the record and every record in it, each once."""
    found = {id(tree): tree}
    for spot in spots(tree):
        if isinstance(spot.kind, dict) and spot.kind["type"] == "record":
            found[id(spot.kind)] = spot.kind
    return list(found.values())


def places(tree: dict[str, Any], node: Any) -> list[str]:
    """Return the paths at which a node stands; that of the whole is empty."""
    own = [""] if node is tree else []
    return own + [spot.path for spot in spots(tree) if spot.kind is node]


def field_paths(tree: dict[str, Any], field: dict[str, Any]) -> list[str]:
    """Return the paths at which a field stands: several when its record is used in several places."""
    return [spot.path for spot in spots(tree) if spot.holder is field]


def open_records(tree: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the records whose fields may be edited alone: those of which no default elsewhere spells out a value."""
    closed: set[int] = set()
    for record in records(tree):
        for field in record["fields"]:
            if field.get("default") and not isinstance(field["type"], str):
                closed |= {id(each) for each in records({"fields": [field]})}
    return [each for each in records(tree) if id(each) not in closed]
