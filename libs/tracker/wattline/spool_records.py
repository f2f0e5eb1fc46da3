"""What a segment file of the spool holds: records, each framed so that damage to one costs that one only.

A frame is the mark ``WLS1``, length and CRC-32 of the payload (both four bytes, big-endian), and the payload: record
name and key (each with its length in two bytes), schema version (two bytes), Avro body. No schema id: a registry is
needed to publish, not to record.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

from wattline_common.events import Event

__all__ = ["Record", "Scan", "scan"]

_MARK = b"WLS1"
_HEAD = struct.Struct(">4sII")
_LENGTHS = struct.Struct(">HHH")


@dataclass(frozen=True, slots=True)
class Record:
    """An event as it is kept: full record name, version of its schema from 1 on, key, Avro body."""

    name: str
    version: int
    key: str
    body: bytes

    @classmethod
    def of(cls, event: Event) -> Record:
        """Return the record of an event; raise `ContractError` when it cannot be encoded."""
        from wattline_common.codec import encode_body  # loads fastavro, which no import of ours may wait for
        from wattline_common.schemas import VERSIONS

        return cls(event.AVRO_NAME, len(VERSIONS[event.AVRO_NAME]), event.run_id, encode_body(event))

    def frame(self) -> bytes:
        """Return the bytes to append to a segment."""
        name, key = self.name.encode(), self.key.encode()
        payload = _LENGTHS.pack(len(name), len(key), self.version) + name + key + self.body
        return _HEAD.pack(_MARK, len(payload), zlib.crc32(payload)) + payload


@dataclass(slots=True)
class Scan:
    """The records of some bytes; how often they were damaged; and how many of the bytes are done with."""

    records: list[Record] = field(default_factory=list)
    damaged: int = 0
    end: int = 0


def scan(data: bytes, *, complete: bool) -> Scan:
    """Read records; step over damage to the next whole one.

    While a file still grows (not ``complete``), a last record that is cut short is no damage: it is left for later.
    """
    found = Scan()
    while found.end < len(data):
        record, end = _read(data, found.end)
        if record is not None:
            found.records.append(record)
            found.end = end
            continue
        following = _next_whole(data, found.end + 1)
        if following is None and not complete:
            break
        found.damaged += 1
        found.end = len(data) if following is None else following
    return found


def _next_whole(data: bytes, begin: int) -> int | None:
    """Return where the next record that is whole begins."""
    while (begin := data.find(_MARK, begin)) >= 0:
        if _read(data, begin)[0] is not None:
            return begin
        begin += 1
    return None


def _read(data: bytes, begin: int) -> tuple[Record | None, int]:
    """Return the record at a place and where it ends; None when there is no whole one."""
    if len(data) - begin < _HEAD.size:
        return None, begin
    mark, length, crc = _HEAD.unpack_from(data, begin)
    begin += _HEAD.size
    payload = data[begin : begin + length] if mark == _MARK and begin + length <= len(data) else b""
    if len(payload) < _LENGTHS.size or zlib.crc32(payload) != crc:
        return None, begin
    name, key, version = _LENGTHS.unpack_from(payload)
    texts = payload[_LENGTHS.size : _LENGTHS.size + name + key]
    try:
        record = Record(texts[:name].decode(), version, texts[name:].decode(), payload[_LENGTHS.size + name + key :])
    except UnicodeDecodeError:
        return None, begin
    return record, begin + length
