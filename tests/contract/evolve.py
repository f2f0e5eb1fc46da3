"""Hypothesis strategies that evolve an Avro schema: by edits which the contract allows, and by one which it forbids.

Directions of a break: ``backward`` (new readers cannot read old events), ``forward`` (old readers cannot read new
ones), ``meaning`` (all is read, but says something else, or is refused as a value).
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Collection, Iterator
from typing import Any

from hypothesis import note
from hypothesis import strategies as st

from tests.contract.avro_types import default_of, types
from tests.contract.forbidden import FORBIDDEN, Breaks
from tests.contract.schema_tree import collapse, expand, field_paths, open_records, records, spots
from tests.contract.strategies import schema_versions

__all__ = ["Edit", "bases", "history", "illegal", "legal"]

_MOST_EDITS = 4
_Fresh = Iterator[int]


class Edit:
    """A forbidden edit: its name, and the breaks it must be found by, as path and direction."""

    def __init__(self, name: str, breaks: Breaks) -> None:
        self.name = name
        self.breaks = frozenset(breaks)

    def __repr__(self) -> str:
        """Return what a shrunk counterexample shows."""
        return f"Edit({self.name}: {sorted(self.breaks)})"


# What the contract's own schemas lack: named types used twice, an enum without default, records in maps and unions.
_UNLIKE_OURS: dict[str, Any] = {
    "type": "record",
    "name": "UnlikeOurs",
    "namespace": "wattline.events",
    "fields": [
        {"name": "id", "type": "string", "maxLength": 8, "pattern": "[a-z]*"},
        {"name": "count", "type": "int", "default": 3, "minimum": 0, "maximum": 9},
        {"name": "first", "type": {"type": "enum", "name": "Colour", "symbols": ["RED", "GREEN"], "default": "RED"}},
        {"name": "bare", "type": {"type": "enum", "name": "Bare", "symbols": ["X", "Y", "Z"]}, "default": "X"},
        {
            "name": "points",
            "type": {
                "type": "map",
                "values": {
                    "type": "record",
                    "name": "Point",
                    "fields": [
                        {"name": "at", "type": "long"},
                        {"name": "colour", "type": "Colour", "default": "GREEN"},
                        {"name": "names", "type": {"type": "array", "items": "string"}, "default": []},
                    ],
                },
            },
            "default": {},
        },
        {"name": "best", "type": ["null", "Point"], "default": None},
        {"name": "all", "type": {"type": "array", "items": ["null", "wattline.events.Point"]}, "default": []},
        {
            "name": "origin",
            "type": {
                "type": "record",
                "name": "Origin",
                "fields": [{"name": "at", "type": "long"}, {"name": "colour", "type": "Colour"}],
            },
            "default": {"at": 0, "colour": "RED"},
        },
    ],
}


def bases() -> st.SearchStrategy[dict[str, Any]]:
    """Return a small schema that has what the contract's lack, and all committed versions of those."""
    return st.sampled_from([_UNLIKE_OURS, *itertools.chain(*schema_versions().values())])


@st.composite
def legal(draw: st.DrawFn, schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema after a few allowed edits, at the top and in nested records. For several in a row: `history`."""
    tree = expand(schema)
    _edit_legally(draw, tree, _fresh(schema), set(), draw(st.integers(1, _MOST_EDITS)))
    return collapse(tree)


@st.composite
def illegal(
    draw: st.DrawFn, schema: dict[str, Any], among: Collection[str] = frozenset(FORBIDDEN)
) -> tuple[dict[str, Any], Edit]:
    """Return a schema after one forbidden edit (of those named) among some allowed ones, and that edit."""
    tree = expand(schema)
    name = draw(st.sampled_from(sorted(among)).filter(lambda name: FORBIDDEN[name][0](tree)))
    sites, edit = FORBIDDEN[name][0](tree), FORBIDDEN[name][1]
    found = Edit(name, edit(draw, tree, draw(st.sampled_from(sites))))
    note(repr(found))
    _edit_legally(draw, tree, _fresh(schema), {path for path, _ in found.breaks}, draw(st.integers(0, _MOST_EDITS)))
    return collapse(tree), found


@st.composite
def history(draw: st.DrawFn, schema: dict[str, Any], max_versions: int = 4) -> list[dict[str, Any]]:
    """Return a schema and versions after it, each an allowed change against all before."""
    fresh = _fresh(schema)
    versions = [schema]
    for _ in range(draw(st.integers(1, max_versions - 1))):
        tree = expand(versions[-1])
        _edit_legally(draw, tree, fresh, set(), draw(st.integers(1, _MOST_EDITS)))
        versions.append(collapse(tree))
    return versions


def _fresh(schema: dict[str, Any]) -> _Fresh:
    """Return numbers that make new names: higher than any that an evolution has put into the schema."""
    used = re.findall(r"[Aa](?:dded|DDED)_?(\d+)", json.dumps(schema))
    return itertools.count(max(map(int, used), default=-1) + 1)


def _edit_legally(draw: st.DrawFn, tree: dict[str, Any], fresh: _Fresh, kept: set[str], count: int) -> None:
    for _ in range(count):
        edit = draw(st.sampled_from(_ALLOWED))
        note(f"{edit.__name__.strip('_')}: {edit(draw, tree, fresh, kept)}")


def _add_nullable_field(draw: st.DrawFn, tree: dict[str, Any], fresh: _Fresh, kept: set[str]) -> str:
    kind = ["null", draw(types(tree, fresh))]
    return _insert(draw, tree, {"name": f"added_{next(fresh)}", "type": kind, "doc": "-", "default": None})


def _add_field_with_default(draw: st.DrawFn, tree: dict[str, Any], fresh: _Fresh, kept: set[str]) -> str:
    kind = draw(types(tree, fresh))
    default = draw(default_of(kind))
    return _insert(draw, tree, {"name": f"added_{next(fresh)}", "type": kind, "doc": "-", "default": default})


def _insert(draw: st.DrawFn, tree: dict[str, Any], field: dict[str, Any]) -> str:
    record = draw(st.sampled_from(open_records(tree)))
    record["fields"].insert(draw(st.integers(0, len(record["fields"]))), field)
    return f"{record['name']}.{field['name']} {field['type']}"


def _remove_field_with_default(draw: st.DrawFn, tree: dict[str, Any], fresh: _Fresh, kept: set[str]) -> str:
    candidates = [
        (record, field)
        for record in open_records(tree)
        for field in record["fields"]
        if len(record["fields"]) > 1  # a list of records without a field is no schema that is read by
        and "default" in field
        and not any(_holds(path, kept) for path in field_paths(tree, field))
    ]
    if not candidates:
        return "none"
    record, field = draw(st.sampled_from(candidates))
    record["fields"].remove(field)
    return f"{record['name']}.{field['name']}"


def _holds(path: str, kept: set[str]) -> bool:
    """Return whether a path is one of those to keep, or leads to one."""
    return any(each == path or each.startswith((f"{path}.", f"{path}[", f"{path}{{")) for each in kept)


def _add_symbol(draw: st.DrawFn, tree: dict[str, Any], fresh: _Fresh, kept: set[str]) -> str:
    enums = {id(each.kind): each.kind for each in spots(tree) if isinstance(each.kind, dict) and "symbols" in each.kind}
    open_to_more = [each for each in enums.values() if "default" in each]
    if not open_to_more:
        return "none"
    enum = draw(st.sampled_from(open_to_more))
    symbol = f"ADDED_{next(fresh)}"
    enum["symbols"].insert(draw(st.integers(0, len(enum["symbols"]))), symbol)
    return f"{enum['name']}.{symbol}"


def _change_doc(draw: st.DrawFn, tree: dict[str, Any], fresh: _Fresh, kept: set[str]) -> str:
    record = draw(st.sampled_from(records(tree)))
    described = draw(st.sampled_from([record, *record["fields"]]))
    described["doc"] = f"Said otherwise {next(fresh)}."
    return f"{record['name']}, {described['name']}"


def _move_field(draw: st.DrawFn, tree: dict[str, Any], fresh: _Fresh, kept: set[str]) -> str:
    record = draw(st.sampled_from([each for each in records(tree) if each["fields"]]))
    field = record["fields"].pop(draw(st.integers(0, len(record["fields"]) - 1)))
    record["fields"].insert(draw(st.integers(0, len(record["fields"]))), field)
    return f"{record['name']}.{field['name']}"


def _loosen_limit(draw: st.DrawFn, tree: dict[str, Any], fresh: _Fresh, kept: set[str]) -> str:
    limited = [
        (field, limit)
        for record in records(tree)
        for field in record["fields"]
        for limit in ("minimum", "maximum", "maxLength", "maxItems", "finite", "pattern")
        if limit in field and not kept & set(field_paths(tree, field))
    ]
    if not limited:
        return "none"
    field, limit = draw(st.sampled_from(limited))
    if limit in {"finite", "pattern"} or draw(st.booleans()):
        del field[limit]
    else:
        field[limit] += -1 if limit == "minimum" else 1
    return f"{field['name']}: {limit}"


_ALLOWED = [
    _add_nullable_field,
    _add_field_with_default,
    _remove_field_with_default,
    _add_symbol,
    _change_doc,
    _move_field,
    _loosen_limit,
]
