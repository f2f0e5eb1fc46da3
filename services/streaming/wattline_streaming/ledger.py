"""Exactly-once effect: every good event is stored once, counted once, and every bad one is kept aside, once.

Runs on the executors, one call a Spark task, as `mapInArrow`. Whatever it writes is idempotent, so a batch that is
repeated after a crash ends in the same collections.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from wattline_common.errors import StopError, UnavailableError
from wattline_streaming.acceptance import INTERNAL_ERROR, Acceptance
from wattline_streaming.books import Books, KafkaPosition, Message, RawEvent, Rejection
from wattline_streaming.retention import AFTER_RETENTION, after_retention, is_too_late
from wattline_streaming.typed import ARROW_SCHEMA, BOOKED_SCHEMA, FILLED, REJECTED_REASON, REJECTED_ROWS, typed_row

__all__ = ["Ledger"]


@dataclass(frozen=True, slots=True)
class Ledger:
    """Books what Kafka delivered; `run` is what Spark calls."""

    acceptance: Acceptance
    books: Books

    def run(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the typed columns of the first-seen good events of each batch, after booking all of it.

        A further column says of each row whether it had to be filled here, as `decode` does not know its schema id yet.
        Rows without an event tell how many messages were rejected, and for which reason.
        """
        for batch in batches:
            yield from self._book(batch)

    def _book(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        messages = list(_messages(batch))
        good, rejections = self._judge(batch, messages)
        rejections += self._take_closed(good, messages)
        self.books.reject(rejections)
        try:
            passed = self._pass_on(batch, good)
        except (UnavailableError, StopError):
            raise
        except Exception:
            broken = list(self._take_broken(good, messages))
            if not broken:
                raise  # it is no event's fault
            self.books.reject(broken)
            rejections += broken
            passed = self._pass_on(batch, good)
        yield passed
        if rejections:
            yield _told(rejections)

    def _judge(self, batch: pa.RecordBatch, messages: list[Message]) -> tuple[dict[int, RawEvent], list[Rejection]]:
        good: dict[int, RawEvent] = {}
        rejections: list[Rejection] = []
        unread = frozenset(i for i, read in enumerate(batch.column("run_id").is_valid().to_pylist()) if not read)
        for index, verdict in enumerate(self.acceptance.judge(messages, unread=unread)):
            if isinstance(verdict, RawEvent):
                good[index] = verdict
            else:
                rejections.append(verdict)
        return good, rejections

    def _pass_on(self, batch: pa.RecordBatch, good: dict[int, RawEvent]) -> pa.RecordBatch:
        read = batch.column("run_id").is_valid().to_pylist()
        filled = {index: typed_row(event.fields) for index, event in good.items() if not read[index]}
        fresh = self.books.book(list(good.values()))
        return _typed(batch, [index for index, event in good.items() if event.position in fresh], filled)

    def _take_broken(self, good: dict[int, RawEvent], messages: list[Message]) -> Iterator[Rejection]:
        """Take out the events on which our own code fails: one of them must not stop all others."""
        for index, event in list(good.items()):
            try:
                self.books.rehearse(event)
                typed_row(event.fields)
            except Exception:  # noqa: BLE001  # whatever it is, its trace is told
                del good[index]
                yield Rejection(messages[index], INTERNAL_ERROR, traceback.format_exc(limit=8))

    def _take_closed(self, good: dict[int, RawEvent], messages: list[Message]) -> Iterator[Rejection]:
        """Take out what belongs to runs whose raw events are deleted: it was counted before, or comes too late."""
        closed = self.books.retentions({event.fields["run_id"] for event in good.values()})
        for index, event in list(good.items()) if closed else ():
            run_id = event.fields["run_id"]
            if run_id in closed:
                del good[index]
            if is_too_late(closed, event.fields):
                yield Rejection(messages[index], AFTER_RETENTION, after_retention(closed[run_id]))


def _messages(batch: pa.RecordBatch) -> Iterator[Message]:
    columns = [batch.column(name).to_pylist() for name in ("key", "value", "headers", "partition", "offset")]
    # Messages come many to an append time, and a date costs more than all else here: made once each.
    times = batch.column("timestamp").dictionary_encode()
    dates = times.dictionary.to_pylist()
    for key, value, headers, partition, offset, date in zip(*columns, times.indices.to_pylist(), strict=True):
        pairs = [(header["key"], header["value"]) for header in headers or ()]
        yield Message(key, value, pairs, KafkaPosition(partition, offset, dates[date]))


def _typed(batch: pa.RecordBatch, fresh: list[int], filled: Mapping[int, dict[str, Any]]) -> pa.RecordBatch:
    """Return the typed columns of the fresh rows; ``filled`` has those whose schema id was registered while running."""
    typed = batch.select(ARROW_SCHEMA.names)
    if len(fresh) < batch.num_rows:
        typed = typed.take(pa.array(fresh, pa.int64()))
    is_filled = pa.array([index in filled for index in fresh], pa.bool_())
    if not filled:
        none = {name: pa.nulls(len(fresh), BOOKED_SCHEMA.field(name).type) for name in (REJECTED_REASON, REJECTED_ROWS)}
        return pa.RecordBatch.from_arrays([*typed.columns, is_filled, *none.values()], schema=BOOKED_SCHEMA)
    rows: list[dict[str, Any]] = typed.to_pylist()
    for place, index in enumerate(fresh):
        rows[place] = {**filled.get(index, rows[place]), FILLED: index in filled}
    return pa.RecordBatch.from_pylist(rows, schema=BOOKED_SCHEMA)


def _told(rejections: list[Rejection]) -> pa.RecordBatch:
    """Return a row for each reason: how many messages were rejected for it."""
    reasons = Counter(rejection.reason for rejection in rejections)
    rows = [{REJECTED_REASON: reason, REJECTED_ROWS: count} for reason, count in reasons.items()]
    return pa.RecordBatch.from_pylist(rows, schema=BOOKED_SCHEMA)
