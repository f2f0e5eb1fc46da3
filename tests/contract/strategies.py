"""Hypothesis strategies made from the Avro schemas themselves, so that a new field or version is tried unasked."""

from __future__ import annotations

import datetime
import decimal
import functools
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from hypothesis import strategies as st

__all__ = ["FULL_NAMES", "SCHEMAS_FOLDER", "TIMESTAMPS", "data", "schema_versions"]

SCHEMAS_FOLDER = Path(__file__).resolve().parents[2] / "schemas"
TIMESTAMPS = st.datetimes(timezones=st.just(datetime.UTC))

_BITS = {"int": 31, "long": 63}
_LONGEST_TEXT = 20
_MOST_ITEMS = 3
_LIMITS = ("minimum", "maximum", "finite", "maxLength", "maxItems", "pattern")


def _whole_millis(moment: Any) -> Any:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


_LOGICAL: dict[str, st.SearchStrategy[Any]] = {
    "date": st.dates(),
    "time-millis": st.times().map(_whole_millis),
    "time-micros": st.times(),
    "timestamp-millis": TIMESTAMPS.map(_whole_millis),
    "timestamp-micros": TIMESTAMPS,
    "local-timestamp-millis": st.datetimes().map(_whole_millis),
    "local-timestamp-micros": st.datetimes(),
    "uuid": st.uuids(),
}


@functools.cache
def schema_versions() -> dict[str, list[dict[str, Any]]]:
    """Return full name -> schemas of versions 1, 2, ... as schemas/ has them, without the generator; change none."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(SCHEMAS_FOLDER.glob("*/*/v*.avsc"), key=lambda each: (each.parent, int(each.stem[1:]))):
        schema = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault(f"{schema['namespace']}.{schema['name']}", []).append(schema)
    return found


FULL_NAMES = sorted(schema_versions())


def data(schema: Any, *, valid: bool = False) -> st.SearchStrategy[Any]:
    """Return a strategy of all data that a schema allows, in the shape in which fastavro reads them back.

    Bounds are Avro's own; with ``valid`` also those that the fields declare (`minimum`, `maxLength`, ...). A Python
    value does not name the branch of its union, so a schema's unions should hold branches that their types tell apart.
    """
    return _data(json.dumps(schema), valid)


@functools.lru_cache(maxsize=512)  # to build the strategy of a large record costs more than to draw from it
def _data(schema_text: str, valid: bool) -> st.SearchStrategy[Any]:
    return _Builder(valid).of(json.loads(schema_text), "", {})


class _Builder:
    """Builds the strategy of one schema; ``limits`` are those of the field, and hold for all that it contains."""

    def __init__(self, valid: bool) -> None:
        self._valid = valid
        self._named: dict[str, st.SearchStrategy[Any]] = {}

    def of(self, schema: Any, namespace: str, limits: Mapping[str, Any]) -> st.SearchStrategy[Any]:
        match schema:
            case list():
                return st.one_of(*(self.of(branch, namespace, limits) for branch in schema))
            case {"type": "record" | "enum" | "fixed", "name": name}:
                return self._define(schema, _full_name(name, schema.get("namespace", namespace)))
            case {"type": "array", "items": items}:
                return st.lists(self.of(items, namespace, limits), max_size=_most(limits))
            case {"type": "map", "values": values}:
                return st.dictionaries(_texts(limits), self.of(values, namespace, limits), max_size=_most(limits))
            case {"type": "bytes", "logicalType": "decimal"}:
                return _decimals(schema, 10 ** schema["precision"] - 1)
            case {"logicalType": name}:
                return _LOGICAL[name]
            case {"type": inner}:
                return self.of(inner, namespace, limits)
            case "string" | "double" | "float" | "int" | "long" | "bytes" | "boolean" | "null":
                return _primitive(schema, limits)
            case str():
                full_name = _full_name(schema, namespace)
                return st.deferred(lambda: self._named[full_name])  # it may be within its own definition
        raise TypeError(f"{schema!r} is no Avro type")

    def _define(self, schema: dict[str, Any], full_name: str) -> st.SearchStrategy[Any]:
        self._named[full_name] = self._named_type(schema, full_name.rpartition(".")[0])
        return self._named[full_name]

    def _named_type(self, schema: dict[str, Any], namespace: str) -> st.SearchStrategy[Any]:
        match schema:
            case {"symbols": symbols}:
                return st.sampled_from(symbols)
            case {"size": size, "logicalType": "decimal"}:
                return _decimals(schema, min(10 ** schema["precision"], 256**size // 2) - 1)
            case {"size": _, "logicalType": "uuid"}:
                return _LOGICAL["uuid"]
            case {"size": size}:
                return st.binary(min_size=size, max_size=size)
        fields = {entry["name"]: self.of(entry["type"], namespace, self._limits(entry)) for entry in schema["fields"]}
        return st.fixed_dictionaries(fields)

    def _limits(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        return {name: entry[name] for name in _LIMITS if name in entry} if self._valid else {}


def _full_name(name: str, namespace: str) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"


def _most(limits: Mapping[str, Any]) -> int:
    return min(_MOST_ITEMS, int(limits.get("maxItems", _MOST_ITEMS)))


def _texts(limits: Mapping[str, Any]) -> st.SearchStrategy[str]:
    if "pattern" in limits:
        pattern = st.from_regex(limits["pattern"], fullmatch=True, alphabet=st.characters(codec="utf-8"))
        return pattern.filter(lambda text: len(text) <= limits.get("maxLength", sys.maxsize))
    return st.text(max_size=min(_LONGEST_TEXT, limits.get("maxLength", _LONGEST_TEXT)))


def _primitive(name: str, limits: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    lowest, highest = limits.get("minimum"), limits.get("maximum")
    match name:
        case "string":
            return _texts(limits)
        case "double" | "float":
            bounded = lowest is not None and highest is not None
            infinity = None if bounded else not limits.get("finite")  # Hypothesis takes no word on it between bounds
            width: Literal[32, 64] = 64 if name == "double" else 32
            return st.floats(lowest, highest, allow_nan=False, allow_infinity=infinity, width=width)  # NaN != NaN
        case "int" | "long":
            bound = 2 ** _BITS[name]
            return st.integers(-bound if lowest is None else lowest, bound - 1 if highest is None else highest)
        case "bytes":
            return st.binary(max_size=_LONGEST_TEXT)
        case "boolean":
            return st.booleans()
    return st.none()


def _decimals(schema: Mapping[str, Any], highest: int) -> st.SearchStrategy[decimal.Decimal]:
    scale = schema.get("scale", 0)

    def scaled(number: int) -> decimal.Decimal:
        return decimal.Decimal((number < 0, tuple(map(int, str(abs(number)))), -scale))  # exact at any precision

    return st.integers(-highest, highest).map(scaled)
