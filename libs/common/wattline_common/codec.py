"""The one place where bytes become events and back: Confluent wire format, any schema version.

A message is a zero byte, the schema id as four bytes big-endian, and the Avro body.
"""

from __future__ import annotations

import copy
import functools
import io
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import fastavro

from wattline_common.errors import ContractError
from wattline_common.events import EPOCH, EVENT_TYPES, Event
from wattline_common.readable import parse_readable
from wattline_common.schemas import VERSIONS
from wattline_common.strict import refuse_silent_changes, strict_writer_schema

__all__ = ["Datum", "Decoder", "encode_body", "frame", "newest_schema", "unframe"]

_HEAD = struct.Struct(">BI")
_MAGIC = 0
_TYPES_BY_FULL_NAME = {kind.AVRO_NAME: kind for kind in EVENT_TYPES.values()}


@dataclass(frozen=True, slots=True)
class Datum:
    """A decoded event as plain data, with all fields of its writer's schema."""

    record_name: str
    schema_id: int
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Writer:
    """A writer's schema: as fastavro resolves it to a reader's, and as it reads it strictly."""

    full_name: str
    record_name: str
    parsed: dict[str, Any]
    strict: dict[str, Any]


@functools.cache
def newest_schema(full_name: str) -> Any:  # noqa: ANN401  # fastavro's parsed schemas are of any shape
    """Return the parsed newest schema of a record."""
    return fastavro.parse_schema(json.loads(VERSIONS[full_name][-1]))


def encode_body(event: Event) -> bytes:
    """Return the Avro body of an event, written by the newest schema.

    Raises `ContractError` (``not_encodable``) when a value does not fit its field.
    """
    buffer = io.BytesIO()
    try:
        datum = event.to_avro()
        schema = newest_schema(event.AVRO_NAME)
        refuse_silent_changes(schema, datum)
        fastavro.schemaless_writer(buffer, schema, datum, strict=True)
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise ContractError("not_encodable", f"{event.AVRO_NAME}: {error}") from error
    return buffer.getvalue()


def frame(schema_id: int, body: bytes) -> bytes:
    """Return a message of the Confluent wire format."""
    return _HEAD.pack(_MAGIC, schema_id) + body


def unframe(message: bytes | None) -> tuple[int, bytes]:
    """Return schema id and body; raise `ContractError` (``no_value``, ``short_frame``, ``wrong_magic_byte``)."""
    if message is None:
        raise ContractError("no_value", "the message has no value")
    if len(message) < _HEAD.size:
        raise ContractError("short_frame", f"{len(message)} bytes are too few for a schema id")
    magic, schema_id = _HEAD.unpack_from(message)
    if magic != _MAGIC:
        raise ContractError("wrong_magic_byte", f"the first byte is {magic}, not {_MAGIC}")
    return schema_id, message[_HEAD.size :]


class Decoder:
    """Decodes messages with their writers' schemas, which ``schema_text`` gives by id (as JSON).

    ``schema_text`` is asked once an id. What it raises passes through.
    """

    def __init__(self, schema_text: Callable[[int], str]) -> None:
        self._schema_text = schema_text
        self._writers: dict[int, _Writer] = {}

    def datum(self, message: bytes | None) -> Datum:
        """Return the event with all fields of its writer's schema; raise `ContractError` when it cannot be read."""
        schema_id, body = unframe(message)
        writer = self._writer(schema_id)
        return Datum(writer.record_name, schema_id, _read(body, writer.strict, None))

    def event(self, message: bytes | None) -> Event:
        """Return the event in its newest version; raise `ContractError` when it cannot be read."""
        schema_id, body = unframe(message)
        writer = self._writer(schema_id)
        _read(body, writer.strict, None)
        fields = _read(body, writer.parsed, _reader_schema(writer.full_name))
        return _TYPES_BY_FULL_NAME[writer.full_name].from_avro(fields)

    def _writer(self, schema_id: int) -> _Writer:
        writer = self._writers.get(schema_id)
        if writer is None:
            parsed = _parse(schema_id, self._schema_text(schema_id))
            name = parsed["name"]
            writer = _Writer(name, name.rpartition(".")[2], parsed, strict_writer_schema(parsed))
            self._writers[schema_id] = writer
        return writer


@functools.cache
def _reader_schema(full_name: str) -> Any:  # noqa: ANN401  # as above
    """Return the newest schema as fastavro reads by it: it hands out a timestamp's default as it stands, an int."""
    schema = copy.deepcopy(newest_schema(full_name))
    for entry in schema["fields"]:
        if isinstance(entry["type"], dict) and entry["type"].get("logicalType") and "default" in entry:
            entry["default"] = EPOCH
    return schema


def _parse(schema_id: int, text: str) -> dict[str, Any]:
    try:
        parsed = parse_readable(text)
    except ValueError as error:
        raise ContractError("foreign_schema", f"schema id {schema_id} is none that we read by: {error}") from error
    if not isinstance(parsed, dict) or parsed["type"] != "record" or parsed["name"] not in _TYPES_BY_FULL_NAME:
        name = parsed.get("name") if isinstance(parsed, dict) else parsed
        raise ContractError("foreign_schema", f"schema id {schema_id} is of {name}, which is no event of ours")
    return parsed


def _read(body: bytes, writer: Any, reader: Any) -> dict[str, Any]:  # noqa: ANN401  # as above
    buffer = io.BytesIO(body)
    try:
        fields = fastavro.schemaless_reader(buffer, writer, reader)
    except Exception as error:  # fastavro raises whatever the damaged bytes lead it into
        if isinstance(error, EOFError) or (buffer.tell() == len(body) and "string index" in str(error)):  # in a number
            raise ContractError("truncated", f"{writer['name']}: the body of {len(body)} bytes ends early") from error
        raise ContractError("undecodable", f"{writer['name']}: {type(error).__name__}: {error}") from error
    if buffer.tell() != len(body):
        raise ContractError("trailing_bytes", f"{writer['name']}: {len(body) - buffer.tell()} bytes behind the body")
    return cast(dict[str, Any], fields)
