"""Makes fastavro refuse what the Avro specification refuses and fastavro takes silently, at no cost worth naming.

Reading: a negative index of an enum or a union (Python counts it from the end), an int beyond 32 bits, a boolean that
is neither 0 nor 1. Writing: a float in an integer field, a number beyond its bits, a time without a zone,
a text for a list or a map.
"""

from __future__ import annotations

import copy
import datetime
import operator
from collections.abc import Mapping
from typing import Any, NoReturn

import fastavro.read

__all__ = ["refuse_silent_changes", "strict_writer_schema"]

_INT_BITS = 31
_INT = {"type": "int", "logicalType": "wattline-strict-int"}
_BOOLEAN = {"type": "fixed", "name": "wattline.strict.Boolean", "size": 1, "logicalType": "wattline-strict-boolean"}
_BOOLEANS = {b"\x00": False, b"\x01": True}


class _Indexed(list[Any]):
    """Branches or symbols. fastavro asks for the length only to count a negative index from the end."""

    def __len__(self) -> NoReturn:
        raise IndexError("a negative index of an enum or a union")


def strict_writer_schema(parsed: dict[str, Any]) -> dict[str, Any]:
    """Return a parsed schema by which fastavro reads the same bytes, but refuses what the specification refuses.

    For reading without a reader schema only.
    """
    schema = copy.deepcopy(parsed)
    for named in schema.get("__named_schemas", {}).values():
        _strict(named)
    return _strict(schema)  # type: ignore[no-any-return]  # a record stays the dict it is


def _strict(schema: Any) -> Any:  # noqa: ANN401  # an Avro schema is of any shape
    match schema:
        case _Indexed():
            return schema
        case "int":
            return _INT
        case "boolean":
            return _BOOLEAN
        case list():
            return _Indexed(map(_strict, schema))
        case {"type": "record", "fields": fields}:
            for entry in fields:
                entry["type"] = _strict(entry["type"])
        case {"type": "enum", "symbols": symbols}:
            schema["symbols"] = symbols if isinstance(symbols, _Indexed) else _Indexed(symbols)
        case {"type": "array", "items": items}:
            schema["items"] = _strict(items)
        case {"type": "map", "values": values}:
            schema["values"] = _strict(values)
    return schema


def _read_int(number: int, *_: object) -> int:
    if not -(2**_INT_BITS) <= number < 2**_INT_BITS:
        raise ValueError(f"{number} is no int: it has more than 32 bits")
    return number


def _read_boolean(byte: bytes, *_: object) -> bool:
    if byte not in _BOOLEANS:
        raise ValueError(f"{byte!r} is no boolean")
    return _BOOLEANS[byte]


fastavro.read.LOGICAL_READERS["int-wattline-strict-int"] = _read_int
fastavro.read.LOGICAL_READERS["fixed-wattline-strict-boolean"] = _read_boolean


def refuse_silent_changes(parsed: dict[str, Any], datum: dict[str, Any]) -> None:
    """Raise `TypeError` or `ValueError` where fastavro's writer would change a value, or take text for a list."""
    for entry in parsed["fields"]:
        kind = entry["type"]
        if isinstance(kind, dict):
            kind = kind.get("logicalType") or kind["type"]
        check = _WRITE_CHECKS.get(kind) if isinstance(kind, str) else None
        if check is not None:
            check(entry["name"], datum[entry["name"]])


def _check_time(name: str, value: object) -> None:
    if not isinstance(value, datetime.datetime) or value.tzinfo is None:
        raise TypeError(f"{name} is {value!r}, no time with a zone")


def _check_boolean(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}, neither true nor false")


def _check_long(_: str, value: Any) -> None:  # noqa: ANN401  # anything: that is what is checked
    operator.index(value)  # a TypeError for a float; fastavro itself refuses what has more than 64 bits


def _check_int(name: str, value: Any) -> None:  # noqa: ANN401  # as above
    number = operator.index(value)
    if not -(2**_INT_BITS) <= number < 2**_INT_BITS:
        raise ValueError(f"{name} is {number}, more than 32 bits hold")


def _check_map(name: str, value: object) -> None:
    if not isinstance(value, Mapping):  # fastavro takes the empty text for an empty map
        raise TypeError(f"{name} is {value!r}, no mapping")


def _check_array(name: str, value: object) -> None:
    if not isinstance(value, list | tuple):  # fastavro takes a text for the list of its letters
        raise TypeError(f"{name} is {value!r}, no list")


_WRITE_CHECKS = {
    "timestamp-micros": _check_time,
    "boolean": _check_boolean,
    "int": _check_int,
    "long": _check_long,
    "map": _check_map,
    "array": _check_array,
}
