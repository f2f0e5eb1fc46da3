"""Avro's binary encoding in pieces, so that a test can spoil one of them knowingly; shares nothing with our codec."""

from __future__ import annotations

import datetime
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["Piece", "pieces", "varint", "zigzag"]

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Piece:
    """The bytes of one primitive value, index or count.

    ``kind`` is its Avro type, or what the bytes are: enum (``choices`` symbols), union (``choices`` branches), count.
    """

    kind: str
    data: bytes
    choices: int = 0


def varint(number: int) -> bytes:
    """Return a number from 0 up, seven bits a byte, the lowest first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def zigzag(number: int) -> bytes:
    """Return a number of any size and sign as Avro writes ints and longs."""
    return varint(number * 2 if number >= 0 else -number * 2 - 1)


def pieces(schema: Any, value: Any, names: dict[str, Any] | None = None) -> Iterator[Piece]:
    """Yield the pieces of a value; joined they are its encoding."""
    names = {} if names is None else names
    if isinstance(schema, list):
        yield from _union(schema, value, names)
        return
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(schema, dict) and "name" in schema:
        names[schema["name"]] = schema
    match kind:
        case "record":
            for entry in schema["fields"]:
                yield from pieces(entry["type"], value[entry["name"]], names)
        case "array":
            yield from _blocks(value, [list(pieces(schema["items"], item, names)) for item in value])
        case "map":
            rows = [[*pieces("string", key), *pieces(schema["values"], item, names)] for key, item in value.items()]
            yield from _blocks(value, rows)
        case "enum":
            yield Piece("enum", zigzag(schema["symbols"].index(value)), len(schema["symbols"]))
        case _ if kind in names:
            yield from pieces(names[kind], value, names)
        case _:
            yield Piece(kind, _primitive(kind, value))


def _union(branches: list[Any], value: Any, names: dict[str, Any]) -> Iterator[Piece]:
    index = branches.index("null") if value is None else next(i for i, one in enumerate(branches) if one != "null")
    yield Piece("union", zigzag(index), len(branches))
    if value is not None:
        yield from pieces(branches[index], value, names)


def _blocks(values: Any, rows: list[list[Piece]]) -> Iterator[Piece]:
    if values:
        yield Piece("count", zigzag(len(values)))
        for row in rows:
            yield from row
    yield Piece("count", zigzag(0))


def _primitive(kind: str, value: Any) -> bytes:
    match kind:
        case "string":
            text: bytes = value.encode()
            return zigzag(len(text)) + text
        case "double":
            return struct.pack("<d", value)
        case "boolean":
            return bytes([value])
        case "int" | "long":
            number = (value - _EPOCH) // _MICROSECOND if isinstance(value, datetime.datetime) else value
            return zigzag(number)
    raise ValueError(f"no field of ours is of type {kind}")
