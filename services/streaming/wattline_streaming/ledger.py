"""Exactly-once effect: every good event is stored once, counted once, and every bad one is kept aside, once.

Runs on the executors, one call a Spark task, as `mapInArrow`. Whatever it writes is idempotent, so a batch that is
repeated after a crash ends in the same collections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from wattline_streaming.acceptance import Acceptance
from wattline_streaming.books import Books, KafkaPosition, Message, RawEvent, Rejection
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
        good: dict[int, RawEvent] = {}
        rejections: list[Rejection] = []
        unread = frozenset(i for i, read in enumerate(batch.column("run_id").is_valid().to_pylist()) if not read)
        for index, verdict in enumerate(self.acceptance.judge(_messages(batch), unread=unread)):
            if isinstance(verdict, RawEvent):
                good[index] = verdict
            else:
                rejections.append(verdict)
        self.books.reject(rejections)
        fresh = self.books.book(list(good.values()))
        yield _typed(batch, {index: event for index, event in good.items() if event.position in fresh})
        if rejections:
            yield _told(rejections)


def _messages(batch: pa.RecordBatch) -> Iterator[Message]:
    columns = [batch.column(name).to_pylist() for name in ("key", "value", "headers", "partition", "offset")]
    # Messages come many to an append time, and a date costs more than all else here: made once each.
    times = batch.column("timestamp").dictionary_encode()
    dates = times.dictionary.to_pylist()
    for key, value, headers, partition, offset, date in zip(*columns, times.indices.to_pylist(), strict=True):
        pairs = [(header["key"], header["value"]) for header in headers or ()]
        yield Message(key, value, pairs, KafkaPosition(partition, offset, dates[date]))


def _typed(batch: pa.RecordBatch, fresh: dict[int, RawEvent]) -> pa.RecordBatch:
    """Return the typed columns of the fresh rows, filling those whose schema id was registered while running."""
    typed = batch.select(ARROW_SCHEMA.names)
    if len(fresh) < batch.num_rows:
        typed = typed.take(pa.array(sorted(fresh), pa.int64()))
    filled = typed.column("run_id").is_null()
    unread = filled.to_pylist()
    if not any(unread):
        none = {
            name: pa.nulls(len(filled), BOOKED_SCHEMA.field(name).type) for name in (REJECTED_REASON, REJECTED_ROWS)
        }
        columns = [*typed.columns, filled, *none.values()]
        return pa.RecordBatch.from_arrays(columns, schema=BOOKED_SCHEMA)
    rows: list[dict[str, Any]] = typed.to_pylist()
    for place, index in enumerate(sorted(fresh)):
        if unread[place]:
            rows[place] = typed_row(fresh[index].fields)
        rows[place][FILLED] = unread[place]
    return pa.RecordBatch.from_pylist(rows, schema=BOOKED_SCHEMA)


def _told(rejections: list[Rejection]) -> pa.RecordBatch:
    """Return a row for each reason: how many messages were rejected for it."""
    reasons = Counter(rejection.reason for rejection in rejections)
    rows = [{REJECTED_REASON: reason, REJECTED_ROWS: count} for reason, count in reasons.items()]
    return pa.RecordBatch.from_pylist(rows, schema=BOOKED_SCHEMA)
