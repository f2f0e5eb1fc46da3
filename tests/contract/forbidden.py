"""What the evolution rule forbids, as edits of a schema's tree: where each can be made, and what it breaks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tests.contract.avro_types import default_of
from tests.contract.schema_tree import Spot, field_paths, open_records, places, records, spots

__all__ = ["FORBIDDEN", "Breaks"]

Breaks = set[tuple[str, str]]  # path of a field, direction
_Tree = dict[str, Any]

_READ_AS = {  # what Avro lets a reader take for a writer's type
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}
_PRIMITIVES = ["boolean", "int", "long", "float", "double", "string", "bytes"]
_MISSING = object()


def _at(paths: list[str], *directions: str) -> Breaks:
    return {(path, direction) for path in paths for direction in directions}


def _open_fields(tree: _Tree) -> list[dict[str, Any]]:
    return [field for record in open_records(tree) for field in record["fields"]]


def _required(tree: _Tree) -> list[tuple[_Tree, dict[str, Any]]]:
    return [(each, field) for each in open_records(tree) for field in each["fields"] if "default" not in field]


def _open_spots(tree: _Tree) -> list[Spot]:
    """Return the places of types, each once, that can change while the defaults elsewhere stay valid."""
    fields = {id(field) for field in _open_fields(tree)}
    found: dict[tuple[int, Any], Spot] = {}
    for spot in spots(tree):
        inside_default = spot.key != "type" and bool(spot.field.get("default"))
        if id(spot.field) in fields and not inside_default:
            found.setdefault((id(spot.holder), spot.key), spot)
    return list(found.values())


def _spot_paths(tree: _Tree, spot: Spot) -> list[str]:
    return [each.path for each in spots(tree) if each.holder is spot.holder and each.key == spot.key]


def _put(draw: st.DrawFn, spot: Spot, kind: Any) -> None:
    """Put another type at a place, with a default that is valid for it where the field has one."""
    spot.holder[spot.key] = kind
    if spot.key == "type" and "default" in spot.field:
        spot.field["default"] = draw(default_of(kind))


def _named(tree: _Tree, kind: str) -> list[dict[str, Any]]:
    found = {id(spot.kind): spot.kind for spot in spots(tree) if isinstance(spot.kind, dict)}
    return [each for each in found.values() if each["type"] == kind]


def _add_required_field(draw: st.DrawFn, tree: _Tree, record: _Tree) -> Breaks:
    field = {"name": "forced", "type": draw(st.sampled_from(_PRIMITIVES)), "doc": "-"}
    record["fields"].insert(draw(st.integers(0, len(record["fields"]))), field)
    return _at(field_paths(tree, field), "backward")


def _remove_required_field(draw: st.DrawFn, tree: _Tree, site: tuple[_Tree, dict[str, Any]]) -> Breaks:
    record, field = site
    paths = field_paths(tree, field)
    record["fields"].remove(field)
    return _at(paths, "forward")


def _rename_required_field(draw: st.DrawFn, tree: _Tree, site: tuple[_Tree, dict[str, Any]]) -> Breaks:
    """Rename, sometimes with an alias: that helps new readers, and no old one."""
    _, field = site
    before = field_paths(tree, field)
    if draw(st.booleans()):
        field["aliases"] = [field["name"]]
    field["name"] += "_renamed"
    return _at(before, "forward") | _at(field_paths(tree, field), "backward")


def _rename_type(draw: st.DrawFn, tree: _Tree, kind: dict[str, Any]) -> Breaks:
    if draw(st.booleans()):
        kind["aliases"] = [kind["name"]]
    kind["name"] += "Renamed"
    return _at(places(tree, kind), "backward", "forward")


def _move_to_another_namespace(draw: st.DrawFn, tree: _Tree, kind: dict[str, Any]) -> Breaks:
    kind["namespace"] = "else.where"
    return _at(places(tree, kind), "backward", "forward")


def _change_primitive(draw: st.DrawFn, tree: _Tree, spot: Spot) -> Breaks:
    old = spot.kind
    new = draw(st.sampled_from([each for each in _PRIMITIVES if each != old]))
    paths = _spot_paths(tree, spot)
    _put(draw, spot, new)
    backward = [] if new in _READ_AS.get(old, ()) else ["backward"]
    forward = [] if old in _READ_AS.get(new, ()) else ["forward"]
    return _at(paths, *(backward + forward or ["meaning"]))


def _swap_collection(draw: st.DrawFn, tree: _Tree, spot: Spot) -> Breaks:
    paths = _spot_paths(tree, spot)
    match spot.kind:
        case {"type": "array", "items": inner}:
            _put(draw, spot, {"type": "map", "values": inner})
        case {"values": inner}:
            _put(draw, spot, {"type": "array", "items": inner})
    return _at(paths, "backward", "forward")


def _make_nullable(draw: st.DrawFn, tree: _Tree, spot: Spot) -> Breaks:
    paths = _spot_paths(tree, spot)
    null_first = draw(st.booleans())
    _put(draw, spot, ["null", spot.kind] if null_first else [spot.kind, "null"])
    return _at(paths, "forward")


def _make_non_null(draw: st.DrawFn, tree: _Tree, spot: Spot) -> Breaks:
    paths = _spot_paths(tree, spot)
    _put(draw, spot, next(each for each in spot.kind if each != "null"))
    return _at(paths, "backward")


def _spare_symbols(tree: _Tree, enum: dict[str, Any]) -> list[str]:
    """Return the symbols that no default names."""
    named = json.dumps([spot.field.get("default") for spot in spots(tree)])
    return [each for each in enum["symbols"] if each != enum.get("default") and f'"{each}"' not in named]


def _remove_symbol(draw: st.DrawFn, tree: _Tree, enum: dict[str, Any]) -> Breaks:
    enum["symbols"].remove(draw(st.sampled_from(_spare_symbols(tree, enum))))
    return _at(places(tree, enum), "meaning" if "default" in enum else "backward")


def _add_symbol_without_default(draw: st.DrawFn, tree: _Tree, enum: dict[str, Any]) -> Breaks:
    enum["symbols"].append("UNHEARD_OF")
    return _at(places(tree, enum), "forward")


def _drop_enum_default(draw: st.DrawFn, tree: _Tree, enum: dict[str, Any]) -> Breaks:
    del enum["default"]
    return _at(places(tree, enum), "meaning")


def _change_enum_default(draw: st.DrawFn, tree: _Tree, enum: dict[str, Any]) -> Breaks:
    enum["default"] = draw(st.sampled_from([each for each in enum["symbols"] if each != enum["default"]]))
    return _at(places(tree, enum), "meaning")


def _change_default(draw: st.DrawFn, tree: _Tree, field: dict[str, Any]) -> Breaks:
    """Change a default, drop it, or give one to a required field."""
    old = field.pop("default", _MISSING)
    one_value = old is None or len(_symbols(field)) == 1
    if old is _MISSING or not (one_value or draw(st.booleans())):
        field["default"] = draw(default_of(field["type"]).filter(lambda value: value != old))
    return _at(field_paths(tree, field), "meaning")


def _symbols(field: dict[str, Any]) -> list[str]:
    return field["type"].get("symbols", []) if isinstance(field["type"], dict) else []


def _change_logical_type(draw: st.DrawFn, tree: _Tree, spot: Spot) -> Breaks:
    spot.holder[spot.key] = draw(
        st.sampled_from(["long", {"type": "long"}, {"type": "long", "logicalType": "timestamp-millis"}])
    )
    return _at(_spot_paths(tree, spot), "meaning")


def _tighten_limit(draw: st.DrawFn, tree: _Tree, field: dict[str, Any]) -> Breaks:
    limit = draw(st.sampled_from(["minimum", "maximum", "maxLength", "maxItems", "pattern", "finite"]))
    if limit == "finite" and field.get("finite"):
        limit = "minimum"
    match limit:
        case "minimum":
            field[limit] = field.get(limit, -1) + 1
        case "maximum" | "maxLength" | "maxItems":
            field[limit] = field.get(limit, 1000) - 1
        case "pattern":
            field[limit] = "x" + field.get(limit, "+")
        case "finite":
            field[limit] = True
    return _at(field_paths(tree, field), "meaning")


def _type_named(name: str) -> Callable[[_Tree], list[Spot]]:
    return lambda tree: [
        each for each in _open_spots(tree) if isinstance(each.kind, dict) and each.kind["type"] == name
    ]


_Find = Callable[[_Tree], list[Any]]
_Make = Callable[[st.DrawFn, _Tree, Any], Breaks]
FORBIDDEN: dict[str, tuple[_Find, _Make]] = {
    "add a required field": (open_records, _add_required_field),
    "remove a required field": (_required, _remove_required_field),
    "rename a required field": (_required, _rename_required_field),
    "rename a record": (records, _rename_type),
    "rename an enum": (lambda tree: _named(tree, "enum"), _rename_type),
    "move to another namespace": (lambda tree: [tree, *_named(tree, "enum")], _move_to_another_namespace),
    "change a primitive type": (
        lambda tree: [each for each in _open_spots(tree) if each.kind in _PRIMITIVES],
        _change_primitive,
    ),
    "swap array and map": (lambda tree: _type_named("array")(tree) + _type_named("map")(tree), _swap_collection),
    "make nullable": (
        lambda tree: [e for e in _open_spots(tree) if not isinstance(e.kind, list) and not isinstance(e.holder, list)],
        _make_nullable,
    ),
    "make non-null": (lambda tree: [e for e in _open_spots(tree) if isinstance(e.kind, list)], _make_non_null),
    "remove a symbol": (
        lambda tree: [each for each in _named(tree, "enum") if len(_spare_symbols(tree, each)) > 0],
        _remove_symbol,
    ),
    "add a symbol to an enum without default": (
        lambda tree: [each for each in _named(tree, "enum") if "default" not in each],
        _add_symbol_without_default,
    ),
    "drop an enum's default": (
        lambda tree: [each for each in _named(tree, "enum") if "default" in each],
        _drop_enum_default,
    ),
    "change an enum's default": (
        lambda tree: [each for each in _named(tree, "enum") if "default" in each and len(each["symbols"]) > 1],
        _change_enum_default,
    ),
    "change, drop or give a default": (_open_fields, _change_default),
    "change a logical type": (
        lambda tree: [e for e in _open_spots(tree) if isinstance(e.kind, dict) and "logicalType" in e.kind],
        _change_logical_type,
    ),
    "tighten a limit": (_open_fields, _tighten_limit),
}
