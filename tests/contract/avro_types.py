"""Hypothesis strategies of Avro types as the contract uses them, and of defaults that are valid for a type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from tests.contract.schema_tree import spots

__all__ = ["default_of", "types"]

_TIMESTAMP = {"type": "long", "logicalType": "timestamp-micros"}
_PRIMITIVES = ["boolean", "int", "long", "double", "string"]
_DEFAULTS: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False, allow_infinity=False, width=32),
    "double": st.floats(allow_nan=False, allow_infinity=False),
    "string": st.text(max_size=5),
    "bytes": st.text(st.characters(max_codepoint=255), max_size=5),
}


@st.composite
def types(draw: st.DrawFn, tree: dict[str, Any], fresh: Iterator[int]) -> Any:
    """Return a type for a new field: a scalar, a collection, a new enum or record, or an enum the schema has."""
    enums = {id(each.kind): each.kind for each in spots(tree) if isinstance(each.kind, dict) and "symbols" in each.kind}
    shape = draw(
        st.sampled_from(["scalar", "array", "map", "enum", "record", "records", *(["known"] if enums else [])])
    )
    match shape:
        case "array":
            return {"type": "array", "items": draw(_scalars())}
        case "map":
            return {"type": "map", "values": draw(_scalars())}
        case "enum":
            return draw(_enums(fresh))
        case "record":
            return draw(_records(fresh))
        case "records":
            return {"type": "array", "items": draw(_records(fresh))}
        case "known":
            return draw(st.sampled_from(list(enums.values())))
    return draw(_scalars())


def _scalars() -> st.SearchStrategy[Any]:
    return st.one_of(st.sampled_from(_PRIMITIVES), st.builds(dict, st.just(_TIMESTAMP)))


@st.composite
def _enums(draw: st.DrawFn, fresh: Iterator[int]) -> dict[str, Any]:
    symbols = [f"S{number}" for number in range(draw(st.integers(1, 3)))]
    default = draw(st.sampled_from(symbols))
    return {"type": "enum", "name": f"Added{next(fresh)}", "symbols": symbols, "default": default}


@st.composite
def _records(draw: st.DrawFn, fresh: Iterator[int]) -> dict[str, Any]:
    name = f"Added{next(fresh)}"
    fields = []
    for number, kind in enumerate(draw(st.lists(st.one_of(_scalars(), _enums(fresh)), min_size=1, max_size=3))):
        field = {"name": f"part_{number}", "type": kind, "doc": "-"}
        if draw(st.booleans()):
            field["default"] = draw(default_of(kind))
        fields.append(field)
    return {"type": "record", "name": name, "doc": "-", "fields": fields}


@st.composite
def default_of(draw: st.DrawFn, kind: Any) -> Any:
    """Return a default that is valid for a type, as the schema's JSON spells it; a whole value for a record."""
    match kind:
        case [first, *_]:
            return draw(default_of(first))
        case {"logicalType": _}:
            return draw(st.integers(0, 2**50))  # a time that every reader's calendar knows
        case {"type": "enum", "symbols": symbols}:
            return draw(st.sampled_from(symbols))
        case {"type": "record", "fields": fields}:
            return {field["name"]: draw(default_of(field["type"])) for field in fields}
        case {"type": "array", "items": items}:
            return draw(st.lists(default_of(items), max_size=2))
        case {"type": "map", "values": values}:
            return draw(st.dictionaries(st.text(max_size=3), default_of(values), max_size=2))
        case {"type": str(name)} | str(name):
            return draw(_DEFAULTS[name])
    raise TypeError(f"no default is known for {kind!r}")
