"""What the Avro specification refuses is refused, at every place of a schema; what it allows reads as before."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import pytest

from wattline_common.strict import refuse_silent_changes, strict_writer_schema

SCHEMA = fastavro.parse_schema(
    {
        "type": "record",
        "name": "Everything",
        "fields": [
            {"name": "flag", "type": "boolean"},
            {"name": "number", "type": "int"},
            {"name": "maybe", "type": ["null", "int"]},
            {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}},
            {"name": "kinds", "type": {"type": "array", "items": "Kind"}},
            {"name": "flags", "type": {"type": "map", "values": "boolean"}},
        ],
    }
)
STRICT = strict_writer_schema(SCHEMA)  # type: ignore[arg-type]  # a record's schema is a dict
GOOD = [b"\x01", b"\x02", b"\x02\x04", b"\x02", b"\x04\x00\x02\x00", b"\x02\x02k\x01\x00"]
DATUM = {"flag": True, "number": 1, "maybe": 2, "kind": "B", "kinds": ["A", "B"], "flags": {"k": True}}
TOO_LONG = b"\x80\x80\x80\x80\x10"  # 2**31, zigzag


def _read(parts: list[bytes], schema: Any) -> Any:
    return fastavro.schemaless_reader(io.BytesIO(b"".join(parts)), schema, None)


def test_good_bytes_read_the_same() -> None:
    """Strictness changes nothing but refusals, and leaves the schema it was made from alone."""
    assert _read(GOOD, STRICT) == _read(GOOD, SCHEMA) == DATUM


@pytest.mark.parametrize(
    ("place", "bad"),
    [
        (0, b"\x02"),
        (1, TOO_LONG),
        (2, b"\x02" + TOO_LONG),
        (2, b"\x01\x04"),  # branch -1
        (2, b"\x03"),  # branch -2
        (3, b"\x01"),  # symbol -1
        (3, b"\x04"),
        (4, b"\x02\x03\x00"),
        (5, b"\x02\x02k\x07\x00"),
    ],
)
def test_what_the_specification_refuses_is_refused(place: int, bad: bytes) -> None:
    """Negative indexes, ints of more than 32 bits, odd booleans: at the top, in unions, arrays, maps, by reference."""
    parts = [bad if index == place else good for index, good in enumerate(GOOD)]
    with pytest.raises((IndexError, ValueError)):
        _read(parts, STRICT)


@pytest.mark.parametrize(
    "values",
    [{"flag": 1}, {"number": 1.0}, {"number": 2**31}, {"number": None}, {"flags": ""}, {"flags": []}, {"kinds": "AB"}],
)
def test_writing_refuses_what_would_change_silently(values: dict[str, Any]) -> None:
    """A truth for a number, a number too long for its field, a text for a list: each is an error of the writer."""
    refuse_silent_changes(SCHEMA, DATUM)  # type: ignore[arg-type]  # as above
    with pytest.raises((TypeError, ValueError)):
        refuse_silent_changes(SCHEMA, {**DATUM, **values})  # type: ignore[arg-type]  # as above
