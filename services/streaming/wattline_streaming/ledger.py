"""Exactly-once effect: every good event is stored once, counted once, and every bad one is kept aside, once.

Runs on the executors, one call a Spark task, as `mapInArrow`. Whatever it writes is idempotent, so a batch that is
repeated after a crash ends in the same collections.
"""

from __future__ import annotations

import datetime
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from wattline_common.codec import Datum, Decoder
from wattline_common.errors import ContractError, StopError, UnavailableError
from wattline_common.events import WindowAggregated
from wattline_common.store import Document, event_id, window_id, window_start_us
from wattline_common.validate import validate
from wattline_streaming.books import Books, KafkaPosition, RawEvent, Rejection
from wattline_streaming.typed import ARROW_SCHEMA, typed_row

__all__ = ["Ledger"]

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Ledger:
    """Books what Kafka delivered; `run` is what Spark calls."""

    decoder: Decoder
    books: Books
    future_tolerance: datetime.timedelta

    def run(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the typed columns of the first-seen good events of each batch, after booking all of it."""
        for batch in batches:
            yield self._book(batch)

    def _book(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        good: dict[int, RawEvent] = {}
        rejections: list[Rejection] = []
        for index, message in enumerate(_messages(batch)):
            try:
                good[index] = self._accept(message)
            except ContractError as error:
                rejections.append(_rejection(message, error.reason, error.detail))
            except (UnavailableError, StopError):
                raise
            except Exception:  # noqa: BLE001  # a row that breaks our own code must not stop all others
                rejections.append(_rejection(message, "internal_error", traceback.format_exc(limit=8)))
        self.books.reject(rejections)
        fresh = self.books.book(list(good.values()))
        return _typed(batch, {index: event for index, event in good.items() if event.position in fresh})

    def _accept(self, message: Document) -> RawEvent:
        datum = self.decoder.datum(message["value"])
        if datum.record_name == WindowAggregated.__name__:
            raise ContractError("foreign_schema", f"{datum.record_name} does not belong on this topic")
        validate(datum.record_name, datum.fields)
        ahead = datum.fields["timestamp"] - message["timestamp"]
        if ahead > self.future_tolerance:
            raise ContractError("timestamp_in_future", f"event time is {ahead} ahead of the broker's append time")
        return _raw_event(datum, message)


def _messages(batch: pa.RecordBatch) -> Iterator[Document]:
    names = ["key", "value", "headers", "partition", "offset", "timestamp"]
    yield from batch.select(names).to_pylist()


def _raw_event(datum: Datum, message: Document) -> RawEvent:
    fields = datum.fields
    timestamp_us = (fields["timestamp"] - _EPOCH) // _MICROSECOND
    run_id = fields["run_id"]
    return RawEvent(
        id=event_id(run_id, fields["source_id"], fields["seq"]),
        record_name=datum.record_name,
        schema_id=datum.schema_id,
        fields=fields,
        timestamp_us=timestamp_us,
        window_id=window_id(run_id, window_start_us(timestamp_us)),
        position=_position(message),
    )


def _position(message: Document) -> KafkaPosition:
    return KafkaPosition(message["partition"], message["offset"], message["timestamp"])


def _rejection(message: Document, reason: str, detail: str) -> Rejection:
    headers = [(header["key"], header["value"]) for header in message["headers"] or ()]
    return Rejection(reason, detail, message["key"], message["value"], headers, _position(message))


def _typed(batch: pa.RecordBatch, fresh: dict[int, RawEvent]) -> pa.RecordBatch:
    """Return the typed columns of the fresh rows, filling those that `decode` could not read yet."""
    typed = batch.select(ARROW_SCHEMA.names).take(pa.array(sorted(fresh), pa.int64()))
    known = typed.column("run_id").is_valid().to_pylist()
    if all(known):
        return typed
    rows: list[dict[str, Any]] = typed.to_pylist()
    for place, index in enumerate(sorted(fresh)):
        if not known[place]:
            rows[place] = typed_row(fresh[index].fields)
    return pa.RecordBatch.from_pylist(rows, schema=typed.schema)
