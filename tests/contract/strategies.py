"""Hypothesis strategies made from the Avro schemas themselves, so that a new field or version is tried unasked."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

__all__ = ["FULL_NAMES", "SCHEMAS_FOLDER", "TIMESTAMPS", "data", "schema_versions"]

SCHEMAS_FOLDER = Path(__file__).resolve().parents[2] / "schemas"
TIMESTAMPS = st.datetimes(timezones=st.just(datetime.UTC))

_PRIMITIVES: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False, width=32),
    "double": st.floats(allow_nan=False),  # infinities, subnormals and both zeros; NaN equals nothing, not even itself
    "string": st.text(max_size=20),
    "bytes": st.binary(max_size=20),
}


def schema_versions() -> dict[str, list[dict[str, Any]]]:
    """Return full name -> schemas of versions 1, 2, ..., read from schemas/ without the generator."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(SCHEMAS_FOLDER.glob("*/*/v*.avsc"), key=lambda each: (each.parent, int(each.stem[1:]))):
        schema = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault(f"{schema['namespace']}.{schema['name']}", []).append(schema)
    return found


FULL_NAMES = sorted(schema_versions())


def data(schema: Any, named: dict[str, st.SearchStrategy[Any]] | None = None) -> st.SearchStrategy[Any]:
    """Return a strategy of all data that a schema allows, in the shape in which fastavro reads them back."""
    known = {} if named is None else named
    match schema:
        case list():
            return st.one_of(*(data(branch, known) for branch in schema))
        case {"logicalType": "timestamp-micros"}:
            return TIMESTAMPS
        case {"type": "array", "items": items}:
            return st.lists(data(items, known), max_size=3)
        case {"type": "map", "values": values}:
            return st.dictionaries(st.text(max_size=8), data(values, known), max_size=3)
        case {"type": "enum", "name": name, "symbols": symbols}:
            known[name] = st.sampled_from(symbols)
            return known[name]
        case {"type": "record", "name": name, "fields": fields}:
            known[name] = st.fixed_dictionaries({entry["name"]: data(entry["type"], known) for entry in fields})
            return known[name]
        case str() if schema in _PRIMITIVES:
            return _PRIMITIVES[schema]
        case str() if schema in known:
            return known[schema]
    raise TypeError(f"the contract does not allow {schema!r}")
