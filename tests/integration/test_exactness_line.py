"""Exactness of the real parts, over generated histories: ledger, store, fold and settling, through crashes.

Many histories share a database and every Spark job, as each has runs of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import bson
import pyarrow as pa
import pytest
from hypothesis import settings
from pymongo import UpdateOne
from pymongo.database import Database
from pymongo.errors import AutoReconnect
from pyspark.sql import SparkSession

from tests.collections_equal import collections_difference, contents
from tests.contract.expected import TOTALS, Run, expected
from tests.contract.histories import Batch, History, Sent, histories, runs
from tests.contract.mongo_order import apply
from tests.differences import difference
from tests.events import START
from tests.integration.drawing import drawn
from wattline_common import store
from wattline_common.codec import encode_body, frame
from wattline_common.errors import StoreUnavailableError
from wattline_common.events import EVENT_TYPES, Event, StepCompleted
from wattline_common.schemas import VERSIONS
from wattline_common.store import Document
from wattline_streaming.acceptance import Acceptance
from wattline_streaming.audit import audit
from wattline_streaming.books import Books, Rejection
from wattline_streaming.decode import decode
from wattline_streaming.erasures import Erasures
from wattline_streaming.ledger import Ledger
from wattline_streaming.settle import Settler
from wattline_streaming.sink import update_window
from wattline_streaming.summary import source_updates
from wattline_streaming.typed import ARROW_SCHEMA, REJECTED_ROWS
from wattline_streaming.windows import fold

pytestmark = pytest.mark.timeout(900)

HISTORIES = max(settings().max_examples // 10, 10)
IDS = {kind: number for number, kind in enumerate(EVENT_TYPES.values(), start=1)}
TEXTS = {number: VERSIONS[kind.AVRO_NAME][-1] for kind, number in IDS.items()}
BRANCHES = {number: text for number, text in TEXTS.items() if number != IDS[StepCompleted]}  # as if registered later
DELAY, QUIET = datetime.timedelta(seconds=30), datetime.timedelta(seconds=5)
APPENDED = START + datetime.timedelta(days=1)
MESSAGES = (
    "key binary, value binary, headers array<struct<key:string,value:binary>>, "
    "partition int, offset long, timestamp timestamp"
)
PARTITIONS = 10  # a history's own
SPREADS = ("cpu_utilization_stddev_pct", "energy_cpu_utilization_corr")

FastState = dict[str, list[Document]]
"""Run -> the rows that the fast path has of it."""


class DyingStore:
    """A real database that goes away in the middle of a write: half of it is done, and nobody is told."""

    def __init__(self, database: Database[Document]) -> None:
        self._database = database
        self.writes_left: int | None = None
        self._totals: dict[str, Document] = {}

    def __getitem__(self, name: str) -> Any:
        """Return a collection that counts its writes."""
        return _DyingCollection(self, self._database[name])

    def half(self, operations: Sequence[Any]) -> Sequence[Any]:
        """Return the operations that are still done."""
        if self.writes_left is None:
            return operations
        self.writes_left -= 1
        return operations[: len(operations) // 2] if self.writes_left < 0 else operations

    def hold_totals(self) -> None:
        """Hold invariant 5 after each write, for whoever reads just then: every run has its totals, none is lower."""
        for run in self._database[store.TRAINING_RUN_SUMMARY].find({}, dict.fromkeys(TOTALS, 1)):
            before = self._totals.get(run["_id"], dict.fromkeys(TOTALS, 0.0))
            assert [name for name in TOTALS if run[name] < before[name]] == [], run["_id"]
            self._totals[run["_id"]] = run

    def die_if_due(self) -> None:
        """Raise what pymongo raises when the store goes away."""
        if self.writes_left is not None and self.writes_left < 0:
            raise AutoReconnect("killed")


class _DyingCollection:
    """Passes everything on; bulk writes may be the last."""

    def __init__(self, owner: DyingStore, collection: Any) -> None:
        self._owner, self._collection = owner, collection

    def find(self, *arguments: Any) -> Any:
        """Find."""
        return self._collection.find(*arguments)

    def insert_many(self, documents: Sequence[Any], **options: Any) -> None:
        """Insert all, or half and die."""
        self._write(self._collection.insert_many, documents, options)

    def bulk_write(self, operations: Sequence[Any], **options: Any) -> None:
        """Write all, or half and die."""
        self._write(self._collection.bulk_write, operations, options)

    def _write(self, write: Any, operations: Sequence[Any], options: Mapping[str, Any]) -> None:
        done = self._owner.half(operations)
        try:
            if done:
                write(done, **options)
        finally:
            if self._collection.name == store.TRAINING_RUN_SUMMARY:
                self._owner.hold_totals()
            self._owner.die_if_due()  # whatever the answer was, it does not arrive


class NoTopic:
    """No rejected topic is read here: what is rejected is in the store, too."""

    def send(self, rejections: Iterable[Rejection]) -> None:
        """Send nothing."""


class Line:
    """The real parts on one database, with a clock that the test sets."""

    def __init__(self, database: Database[Document], spark: SparkSession) -> None:
        self.database, self.spark = database, spark
        self.now = START + datetime.timedelta(minutes=2)
        self.dying = DyingStore(database)
        books = Books(
            cast(Database[Document], self.dying),
            NoTopic(),
            cluster_id="cluster",
            settle_delay=DELAY,
            quiet=QUIET,
            now=lambda: self.now,
        )
        acceptance = Acceptance(TEXTS.__getitem__, future_tolerance=datetime.timedelta(minutes=5), branches=BRANCHES)
        self.ledger = Ledger(acceptance, books, Erasures(database))
        self.settler = Settler(database, spark, self.write)

    def write(self, rows: list[Document], settlements: Mapping[str, int]) -> None:
        """Store folded rows as the sink does, without a broker."""
        if rows:
            self.database[store.AGGREGATED_METRICS].bulk_write([update_window(row, settlements) for row in rows])

    def book(self, batch: pa.RecordBatch, crashes: Iterable[int] = ()) -> list[Document]:
        """Book a batch, dying as often as told before; return the rows that are passed on."""
        for writes in crashes:
            self.dying.writes_left = writes
            with contextlib.suppress(StoreUnavailableError):
                list(self.ledger.run(iter([batch])))
            self.dying.writes_left = None
        rows = [row for passed in self.ledger.run(iter([batch])) for row in passed.to_pylist()]
        return [row for row in rows if row[REJECTED_ROWS] is None]

    def fold(self, rows: Sequence[Mapping[str, Any]]) -> list[Document]:
        """Write what the stream's fold makes of rows, as the fast path would, and return it."""
        if rows:
            table = pa.Table.from_pylist(
                [{name: row[name] for name in ARROW_SCHEMA.names} for row in rows], ARROW_SCHEMA
            )
            folded: list[Document] = fold(self.spark.createDataFrame(table), watermark_s=120).toArrow().to_pylist()
            self.write(folded, {})
            return folded
        return []

    def settle(self) -> None:
        """Settle what is due, and hold invariant 5: no window's revision, and no run's total, is lower than before."""
        before = self._monotone()
        self.settler.step(self.now)
        after = self._monotone()
        assert [key for key, value in before.items() if key not in after or after[key] < value] == []

    def _monotone(self) -> dict[str, float]:
        windows = self.database[store.AGGREGATED_METRICS].find({}, {"aggregate.revision": 1})
        found: dict[str, float] = {window["_id"]: window["aggregate"]["revision"] for window in windows}
        for run in self.database[store.TRAINING_RUN_SUMMARY].find({}, dict.fromkeys(TOTALS, 1)):
            found |= {f"{run['_id']} {name}": run[name] for name in TOTALS}
        return found


class Decoded:
    """Messages as Spark's `decode` hands them over, decoded all at once."""

    def __init__(self, spark: SparkSession, sent: Sequence[Sent]) -> None:
        self._places = {(one.partition, one.offset): index for index, one in enumerate(sent)}
        rows = [
            (one.event.run_id.encode(), message(one.event), None, one.partition, one.offset, APPENDED) for one in sent
        ]
        table = decode(spark.createDataFrame(rows, MESSAGES), BRANCHES).toArrow().combine_chunks()
        order = {
            place: index
            for index, place in enumerate(zip(*(table[n].to_pylist() for n in ("partition", "offset")), strict=True))
        }
        self._table = table.take(pa.array([order[one.partition, one.offset] for one in sent])).combine_chunks()

    def batch(self, sent: Sequence[Sent]) -> pa.RecordBatch:
        """Return the messages as one Arrow batch."""
        indexes = pa.array([self._places[one.partition, one.offset] for one in sent], pa.int64())
        return self._table.take(indexes).combine_chunks().to_batches()[0]


def event_id(sent: Sent) -> tuple[str, str, int]:
    """Return the identity of a message's event."""
    return sent.event.run_id, sent.event.source_id, sent.event.seq


def place(sent: Sent) -> tuple[int, int]:
    """Return where a message lies."""
    return sent.partition, sent.offset


def message(event: Event) -> bytes:
    """Return the event as its producer writes it."""
    return frame(IDS[type(event)], encode_body(event))


def apart(drawn_histories: Sequence[History]) -> list[History]:
    """Return the histories with runs and partitions of their own."""

    def event_of(number: int, event: Event) -> Event:
        return dataclasses.replace(event, run_id=f"h{number}-{event.run_id}")

    found = []
    for number, history in enumerate(drawn_histories):
        emitted = {id(event): event_of(number, event) for event in history.emitted}
        sent = {
            (one.partition, one.offset): dataclasses.replace(
                one,
                event=emitted.get(id(one.event)) or event_of(number, one.event),
                partition=number * PARTITIONS + one.partition,
            )
            for one in history.log
        }
        batches = [
            dataclasses.replace(batch, messages=tuple(sent[one.partition, one.offset] for one in batch.messages))
            for batch in history.batches
        ]
        found.append(History(tuple(emitted.values()), tuple(batches)))
    return found


@pytest.fixture
def other_database(database: Database[Document]) -> Iterator[Database[Document]]:
    """Give a second empty database beside the first."""
    other = database.client[f"{database.name}_other"]
    store.ensure(other)
    yield other
    database.client.drop_database(other.name)


def deliver_crookedly(line: Line, decoded: Decoded, delivered: Sequence[History]) -> None:
    """Deliver the histories' batches round by round, with crashes, and a fast path that is wrong or late.

    Whatever died or was read before, the ledger passes on each event by its first message only, and always by that.
    """
    states: list[FastState] = [{} for _ in delivered]
    stale: list[Document] = []
    log = [one for history in delivered for one in history.log]
    first = {event_id(one): place(one) for one in reversed(log) if one.good}
    for batches in itertools.zip_longest(*(history.batches for history in delivered)):
        folded: list[Document] = []
        for number, batch in enumerate(batches):
            if batch is None:
                continue
            if batch.messages[0] is delivered[number].log[0]:
                states[number] = {}  # from the start of the topic on, the fast path has nothing yet
            passed = line.book(decoded.batch(batch.messages), batch.crashes)
            assert len(passed) == sum(first.get(event_id(one)) == place(one) for one in batch.messages if one.good)
            folded += fast_path(batch, passed, states[number])
        written = line.fold(folded)
        line.now += datetime.timedelta(seconds=max(batch.pause_s for batch in batches if batch is not None))
        line.settle()
        line.write(stale, {})  # a zombie's, after settling
        stale = written
    line.now += datetime.timedelta(hours=1)
    line.settle()
    line.write(stale, {})


def fast_path(batch: Batch, passed: list[Document], state: FastState) -> list[Document]:
    """Return the rows that the fast path folds after a batch: all it has of these runs, some of it, or wrong ones."""
    if batch.fast_path == "absent":
        return []
    if batch.fast_path == "behind":
        passed = passed[::2]
    if batch.fast_path == "wrong":
        passed = [row | {"energy_kwh": row["energy_kwh"] and row["energy_kwh"] * 2} for row in passed]
    for row in passed:
        state.setdefault(row["run_id"], []).append(row)
    return [row for run_id in {row["run_id"] for row in passed} for row in state[run_id]]


def deliver_straight(line: Line, decoded: Decoded, log: Sequence[Sent]) -> None:
    """Deliver each event once, in order, at once, with a fast path that misses nothing."""
    once = {event_id(one): one for one in reversed(log) if one.good}
    in_order = [once[key] for key in sorted(once)]
    line.fold(line.book(decoded.batch(in_order)))
    line.now += datetime.timedelta(hours=3)
    line.settle()


def test_any_delivery_ends_in_what_was_emitted(
    database: Database[Document], other_database: Database[Document], spark: SparkSession
) -> None:
    """Invariants 1, 2, 3 and 5 on the real ledger, store, fold and settler, in disorder, repeated, through crashes."""
    delivered = apart(drawn(histories(), HISTORIES))
    log = [sent for history in delivered for sent in history.log]
    decoded = Decoded(spark, log)
    crooked, straight = Line(database, spark), Line(other_database, spark)
    deliver_crookedly(crooked, decoded, delivered)
    deliver_straight(straight, decoded, log)
    model = expected(log)
    stored = {document["_id"] for document in database[store.TRAINING_METRICS].find({}, {"_id": 1})}
    assert stored == set(model.events), "invariant 1: raw ids are the acknowledged less the rejected"
    kept = database[store.REJECTED_EVENTS].find({}, {"partition": 1, "offset": 1})
    assert {(one["partition"], one["offset"]) for one in kept} == model.rejected
    found = contents(database, same_topic=False)
    assert collections_difference(found, contents(other_database, same_topic=False)) is None
    for run_id, run in model.runs.items():
        check_summary(found[store.TRAINING_RUN_SUMMARY][run_id], run)
        check_windows(found[store.AGGREGATED_METRICS], run_id, run)
    told = audit(database)
    assert told.clean, told.as_text()
    assert told.open_windows == 0
    missing = {one.run_id: one.missing_events for one in told.runs}
    assert missing == {run_id: run.events_expected - len(run.events) for run_id, run in model.runs.items()}


def check_summary(summary: Document, run: Run) -> None:
    """Hold invariant 3: totals are the samples' sums; with a gap, the summary states by how much they are not."""
    for name in TOTALS:
        assert summary[name] == pytest.approx(run.said(name), rel=1e-9)
    assert (summary["status"], summary["events_expected"]) == (run.status, run.events_expected)
    if run.status != "RUNNING":
        gap_kwh, slack_kwh = run.said("energy_kwh") - run.summed("energy_kwh"), 1e-9 * run.said("energy_kwh")
        assert summary["settled"]["difference_kwh"] == pytest.approx(gap_kwh, rel=1e-9, abs=slack_kwh)
        assert summary["settled"]["energy_kwh"] == pytest.approx(run.summed("energy_kwh"), rel=1e-9)
        assert not run.whole or abs(gap_kwh) <= slack_kwh


def check_windows(windows: Mapping[str, Document], run_id: str, run: Run) -> None:
    """Hold every figure of every window to the model's: counts exactly, sums to 1e-9, spreads to 1e-6."""
    wanted = {store.window_id(run_id, start_us): figures for start_us, figures in run.windows().items()}
    assert {key for key, window in windows.items() if window["run_id"] == run_id} == set(wanted)
    for key, figures in wanted.items():
        found = {name: windows[key]["aggregate"][name] for name in figures}
        for name, value in figures.items():
            assert alike(found[name], value, 1e-6 if name in SPREADS else 1e-9), (
                f"{key}: {name}: {found[name]}, {value}"
            )


def alike(found: float | None, wanted: float | None, tolerance: float) -> bool:
    """Return whether counts and nulls are the same, and other figures as close as that."""
    if wanted is None or found is None or isinstance(wanted, int):
        return found == wanted
    return math.isclose(found, wanted, rel_tol=tolerance, abs_tol=tolerance if tolerance > 1e-9 else 1e-18)


def test_a_constant_correlates_with_nothing_however_its_rows_are_spread(spark: SparkSession) -> None:
    """A load that does not change has no correlation, and not one of its rounding errors, in any partial sums."""
    empty = dict.fromkeys(ARROW_SCHEMA.names)
    rows = [
        empty
        | {"run_id": f"{power_w} W", "event_time": START, "energy_kwh": power_w / 3.6e6, "cpu_utilization_pct": cpu}
        for power_w in range(1, 40)
        for cpu in range(1, 60)
    ]
    frame = spark.createDataFrame(pa.Table.from_pylist(rows, ARROW_SCHEMA))
    for partitions in (1, 7):
        found = fold(frame.repartition(partitions), watermark_s=120).toArrow().to_pylist()
        assert [row["run_id"] for row in found if row["energy_cpu_utilization_corr"] is not None] == []


def test_the_stores_maxima_and_minima_are_the_models(database: Database[Document]) -> None:
    """What the pure properties take for `$max` and `$min` is what the store does, for each update that we write."""
    collection = database[store.TRAINING_RUN_SUMMARY]
    model: dict[str, Document] = {}
    writes = []
    for number, emitted in enumerate(drawn(runs(), HISTORIES)):
        backwards = sorted(emitted, key=lambda event: (event.seq * 7919) % 101)
        for event in backwards:
            key = f"{number}-{event.run_id}"
            timestamp_us = round(event.timestamp.timestamp() * 1_000_000)
            raised, lowered = source_updates(type(event).__name__, event.to_avro(), timestamp_us)
            apply(model.setdefault(key, {"_id": key}), raised, lowered)
            writes.append(UpdateOne({"_id": key}, {"$max": raised, "$min": lowered}, upsert=True))
    collection.bulk_write(writes, ordered=True)
    for key, wanted in model.items():
        found = collection.find_one({"_id": key})
        assert found is not None
        assert difference(found, bson.decode(bson.encode(wanted))) is None
