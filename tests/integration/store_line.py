"""A line without Kafka: ledger, books, settler and retainer on one real store, with a clock that a test sets."""

from __future__ import annotations

import datetime
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping

import pyarrow as pa
from pymongo.database import Database
from pyspark.sql import SparkSession

from tests.events import START
from wattline_common import store
from wattline_common.codec import encode_body, frame
from wattline_common.errors import ContractError
from wattline_common.events import EVENT_TYPES, Event
from wattline_common.schemas import VERSIONS
from wattline_common.store import Document
from wattline_streaming.acceptance import Acceptance
from wattline_streaming.books import Books, KafkaPosition, RawEvent, Rejection
from wattline_streaming.erasures import Erasures
from wattline_streaming.ledger import Ledger
from wattline_streaming.settle import Settler
from wattline_streaming.sink import update_window
from wattline_streaming.typed import ARROW_SCHEMA, REJECTED_REASON, REJECTED_ROWS

__all__ = ["DELAY", "QUIET", "Line", "ListTopic", "acceptance", "message", "raw"]

IDS = {kind: number for number, kind in enumerate(EVENT_TYPES.values(), start=1)}
ENVELOPE = pa.schema(
    [
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("headers", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("timestamp", pa.timestamp("us", tz="UTC")),
        *ARROW_SCHEMA,
    ]
)

DELAY = datetime.timedelta(seconds=30)
QUIET = datetime.timedelta(seconds=5)


class ListTopic:
    """The rejected topic as a list."""

    def __init__(self) -> None:
        self.sent: list[Rejection] = []

    def send(self, rejections: Iterable[Rejection]) -> None:
        """Keep the rejections."""
        self.sent += rejections


class Line:
    """Books and settler on one database, with a clock that a test sets."""

    def __init__(self, database: Database[Document], spark: SparkSession | None = None) -> None:
        self.database = database
        self.now = START
        self.topic = ListTopic()
        self.books = Books(
            database,
            self.topic,
            cluster_id="cluster",
            settle_delay=DELAY,
            quiet=QUIET,
            now=lambda: self.now,
        )
        self.erasures = Erasures(database)
        self.rejected: Counter[str] = Counter()  # by reason, as the ledger tells
        self._offsets = itertools.count()
        if spark is not None:
            self.settler = Settler(database, spark, self.write)

    def write(self, rows: list[Document], settlements: Mapping[str, int]) -> None:
        """Store folded rows as the sink does, without a broker."""
        self.database[store.AGGREGATED_METRICS].bulk_write([update_window(row, settlements) for row in rows])

    def deliver(self, events: Iterable[Event], *, offset: int | None = None) -> int:
        """Book events at the next offsets, or from the given one on; return how many were fresh."""
        offsets = self._offsets if offset is None else itertools.count(offset)
        return len(self.books.book([raw(event, KafkaPosition(0, next(offsets), self.now)) for event in events]))

    def consume(self, events: Iterable[Event], *, offset: int | None = None) -> int:
        """Let the ledger have the events as messages; return how many passed on."""
        offsets = self._offsets if offset is None else itertools.count(offset)
        return self._consume((event.run_id.encode(), message(event), next(offsets)) for event in events)

    def consume_bytes(self, values: Iterable[bytes], *, offset: int) -> int:
        """Let the ledger have messages without a key, from the given offset on; return how many passed on."""
        return self._consume((None, value, place) for place, value in enumerate(values, start=offset))

    def _consume(self, messages: Iterable[tuple[bytes | None, bytes, int]]) -> int:
        rows = [
            {"key": key, "value": value, "headers": None} | {"partition": 0, "offset": offset, "timestamp": self.now}
            for key, value, offset in messages
        ]
        batch = pa.RecordBatch.from_pylist(rows, schema=ENVELOPE)
        passed = 0
        for row in (
            row for out in Ledger(acceptance(), self.books, self.erasures).run(iter([batch])) for row in out.to_pylist()
        ):
            passed += row[REJECTED_REASON] is None
            self.rejected[row[REJECTED_REASON] or ""] += row[REJECTED_ROWS] or 0
        return passed


def raw(event: Event, position: KafkaPosition) -> RawEvent:
    """Return the event as the ledger hands it to the books."""
    timestamp_us = round(event.timestamp.timestamp() * 1_000_000)
    return RawEvent(
        id=store.event_id(event.run_id, event.source_id, event.seq),
        record_name=type(event).__name__,
        schema_id=1,
        fields=event.to_avro(),
        timestamp_us=timestamp_us,
        window_id=store.window_id(event.run_id, store.window_start_us(timestamp_us)),
        position=position,
    )


def schema_text(schema_id: int) -> str:
    """Return the schemas by id, as a registry would."""
    for kind, number in IDS.items():
        if number == schema_id:
            return VERSIONS[kind.AVRO_NAME][-1]
    raise ContractError("unknown_schema_id", str(schema_id))


def acceptance() -> Acceptance:
    """Return what judges the messages."""
    return Acceptance(schema_text, future_tolerance=datetime.timedelta(minutes=5))


def message(event: Event) -> bytes:
    """Return the event as a producer writes it."""
    return frame(IDS[type(event)], encode_body(event))
