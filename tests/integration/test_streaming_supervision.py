"""Promises of supervision on real Spark and Kafka: a failing batch is never skipped, stopping drains, all is told."""

from __future__ import annotations

import datetime
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database
from pyspark.sql import SparkSession

from tests.erasing import eraser_of
from tests.events import run_events
from tests.integration.store_line import Line
from tests.line import wait_for
from wattline_common import kafka, store
from wattline_common.codec import encode_body, frame
from wattline_common.errors import StopError, StoreUnavailableError
from wattline_common.events import Event
from wattline_common.registry import Registry
from wattline_common.settings import Endpoints as Addresses
from wattline_common.store import Document
from wattline_stack import Endpoints
from wattline_streaming import job as streaming_job
from wattline_streaming import summary
from wattline_streaming.backlog import Backlog, batch_under_way, committed_offsets, is_committed, unread
from wattline_streaming.figures import Figures
from wattline_streaming.job import Job
from wattline_streaming.report import Report
from wattline_streaming.retention import Retainer
from wattline_streaming.settings import StreamingSettings
from wattline_streaming.settle import Settler
from wattline_streaming.upkeep import Upkeep
from wattline_streaming.vitals import QUERY, Vitals

pytestmark = pytest.mark.timeout(600)  # a query is started up to six times, with back-off between


class Sink:
    """Takes windows, after it has failed as often as it is told to, and while it may go on."""

    def __init__(self, failures: int = 0, outages: int = 0) -> None:
        self.failures, self.outages = failures, outages
        self.rows: list[Document] = []
        self.called = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, rows: list[Document], _settlements: Mapping[str, int]) -> None:
        """Take the rows, or fail."""
        if not rows:
            return
        self.called.set()
        assert self.go_on.wait(120)
        if self.outages:
            self.outages -= 1
            raise StoreUnavailableError("the store is away")
        if self.failures:
            self.failures -= 1
            raise ZeroDivisionError("a fault of ours")
        self.rows += rows


class Driver:
    """A job on a thread of its own."""

    def __init__(self, stack: Endpoints, spark: SparkSession, database: Database[Document], folder: Path) -> None:
        self.at = Addresses(stack.kafka_bootstrap_servers, stack.schema_registry_url, stack.mongodb_uri)
        kafka.ensure_topics(self.at.kafka_bootstrap_servers)
        self.registry = Registry(self.at.schema_registry_url)
        list(self.registry.register())
        self.spark, self.database, self.folder = spark, database, folder
        self.figures, self.vitals = Figures(), Vitals(300)
        self.raised: list[StopError] = []

    def produce(self, run_id: str) -> None:
        """Produce a run."""
        producer = kafka.producer(self.at.kafka_bootstrap_servers)
        for event in run_events(run_id, samples=2):
            value = frame(self.registry.schema_id(type(event)), encode_body(event))
            producer.produce(kafka.TRAINING_EVENTS, key=run_id.encode(), value=value)
        assert producer.flush(30) == 0

    def start(self, sink: Sink, **settings: Any) -> tuple[Job, threading.Event, threading.Thread]:
        """Start a job."""
        stop = threading.Event()
        settler, retainer = Settler(self.database, self.spark, sink), Retainer(self.database, age=None)
        job = Job(
            StreamingSettings(endpoints=self.at, checkpoint_dir=self.folder, settle_interval_s=0.5, **settings),
            spark=self.spark,
            cluster_id=kafka.cluster_id(self.at.kafka_bootstrap_servers),
            writers=lambda: self.registry.ids(kafka.TRAINING_EVENTS),
            sink=sink,
            upkeep=Upkeep(settler, retainer, eraser_of(self.database, self.at, sink), self.figures, self.vitals),
            health=self.database[store.PIPELINE_HEALTH],
            figures=self.figures,
            vitals=self.vitals,
        )

        def run() -> None:
            try:
                job.run(stop)
            except StopError as error:
                self.raised.append(error)

        running = threading.Thread(target=run)
        running.start()
        return job, stop, running

    def left(self, job: Job) -> dict[int, tuple[int, int]]:
        """Return what is left in Kafka."""
        offsets = kafka.offsets(self.at.kafka_bootstrap_servers, kafka.TRAINING_EVENTS)
        return unread(offsets, committed_offsets(job.checkpoint))


@pytest.fixture
def driver(stack: Endpoints, spark: SparkSession, database: Database[Document], tmp_path: Path) -> Driver:
    """Give a driver with a checkpoint of its own."""
    return Driver(stack, spark, database, tmp_path)


def test_a_batch_that_fails_five_times_stops_loudly_and_is_repeated_after_the_cure(driver: Driver) -> None:
    """The message has batch, offsets, cause and remedy; nothing is skipped."""
    run_id = f"failing-{uuid.uuid4().hex}"
    driver.produce(run_id)
    sink = Sink(failures=5)
    job, stop, running = driver.start(sink)
    running.join(240)
    stop.set()
    assert not running.is_alive()
    (error,) = driver.raised
    assert "failed 5 times: batch 0, training.events partition:offsets 0:0-" in str(error)
    assert "mend the cause and start again" in str(error)
    assert "ZeroDivisionError: a fault of ours" in str(error)
    assert "ZeroDivisionError" in driver.vitals.errors[QUERY][1]
    assert (sink.failures, driver.figures.query_failures, committed_offsets(job.checkpoint)) == (0, 5, {})
    job, stop, running = driver.start(sink)
    try:
        wait_for(lambda: not driver.left(job), lambda: str(driver.left(job)), 120)
    finally:
        stop.set()
        running.join(60)
    assert run_id in {row["run_id"] for row in sink.rows}


def test_an_outage_is_no_failure_of_the_batch(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a server was away: what fails once after it is tried again as ever."""
    monkeypatch.setattr(streaming_job, "_LONGEST_WAIT_S", 0.1)
    run_id = f"outage-{uuid.uuid4().hex}"
    driver.produce(run_id)
    sink = Sink(outages=5, failures=1)
    job, stop, running = driver.start(sink)
    try:
        wait_for(lambda: not driver.left(job) or not running.is_alive(), lambda: str(driver.left(job)), 240)
    finally:
        stop.set()
        running.join(60)
    assert driver.raised == []
    assert (sink.outages, sink.failures, driver.figures.query_failures) == (0, 0, 6)
    assert run_id in {row["run_id"] for row in sink.rows}


def test_stopping_ends_the_batch_under_way_first(driver: Driver) -> None:
    """So that a restart has nothing to repeat."""
    driver.produce(f"draining-{uuid.uuid4().hex}")
    sink = Sink()
    sink.go_on.clear()
    job, stop, running = driver.start(sink)
    assert sink.called.wait(120), "no batch has come"
    assert "batch 0, " in batch_under_way(job.checkpoint)
    stop.set()
    wait_for(lambda: driver.vitals.problems()[QUERY] == "stopping", lambda: str(driver.vitals), 60)
    assert not sink.rows
    sink.go_on.set()
    running.join(60)
    assert not running.is_alive()
    assert sink.rows
    assert "none is planned" in batch_under_way(job.checkpoint)
    assert driver.left(job) == {}
    assert driver.vitals.errors == {}, "stopping is no error"


def test_a_query_that_is_always_busy_stops_after_its_batch(driver: Driver) -> None:
    """It has no rest between two batches to be stopped in, and is not waited for until it has."""
    driver.produce(f"busy-{uuid.uuid4().hex}")
    sink, over = Sink(), threading.Event()
    job, stop, running = driver.start(sink, trigger_interval_ms=1)

    def keep_busy() -> None:
        while not over.wait(0.05):
            driver.produce(f"busy-{uuid.uuid4().hex}")

    feeding = threading.Thread(target=keep_busy)
    feeding.start()
    try:
        wait_for(lambda: is_committed(job.checkpoint, 3), lambda: batch_under_way(job.checkpoint), 120)
        stop.set()
        running.join(15)
        assert not running.is_alive()
    finally:
        over.set()
        stop.set()
        feeding.join(30)
        running.join(60)
    assert driver.vitals.errors == {}, "stopping is no error"


def test_the_lag_is_told_in_messages_and_seconds_and_all_of_it_in_the_store(driver: Driver, tmp_path: Path) -> None:
    """The age of the oldest message that is left, by the broker's clock; a report has it for who has no Prometheus."""
    driver.produce(f"lagging-{uuid.uuid4().hex}")
    before_s = time.time()
    to_kafka = (driver.at.kafka_bootstrap_servers, kafka.TRAINING_EVENTS)
    offsets = kafka.offsets(*to_kafka)

    def appended_at(places: Mapping[int, int]) -> datetime.datetime | None:
        return kafka.appended_at(*to_kafka, driver.at.kafka_security, places)

    newest = {partition: after - 1 for partition, (first, after) in offsets.items() if after > first}
    at = appended_at(newest)
    assert at is not None
    assert at.timestamp() < before_s + 1
    Backlog(lambda: offsets, appended_at, tmp_path, driver.database, driver.figures, driver.vitals).step()
    assert driver.figures.lag_messages == sum(after - first for first, after in offsets.values())
    assert driver.figures.lag_s is not None
    assert 0 <= driver.figures.lag_s < 24 * 3600
    driver.vitals.note(QUERY, "the store is away")
    driver.vitals.note(QUERY, None)
    driver.figures.messages_read = 100
    seconds = iter([10.0, 12.0])
    health = driver.database[store.PIPELINE_HEALTH]
    report = Report(health, driver.figures, driver.vitals, clock_s=lambda: next(seconds))
    report.step()
    driver.figures.messages_read = 110
    report.step()
    kept: Any = health.find_one({"_id": store.STREAMING})
    told = kept["figures"]
    assert (told["messages_per_s"], told["lag_messages"], told["lag_s"]) == (
        5.0,
        driver.figures.lag_messages,
        driver.figures.lag_s,
    )
    assert (told["last_error"]["part"], told["last_error"]["problem"]) == (QUERY, "the store is away")
    Backlog(lambda: {0: (3, 3)}, appended_at, tmp_path, driver.database, driver.figures, driver.vitals).step()
    assert (driver.figures.lag_messages, driver.figures.lag_s) == (0, 0.0)


def test_an_event_that_breaks_our_code_is_kept_aside_with_its_trace(
    database: Database[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the store, once, and all others are booked; with the code mended it is accepted."""
    gather = summary.source_updates

    def breaking(record_name: str, fields: Mapping[str, Any], timestamp_us: int) -> tuple[Document, Document]:
        if fields["seq"] == 7:
            raise ZeroDivisionError("a fault of ours")
        return gather(record_name, fields, timestamp_us)

    line = Line(database)
    events: list[Event] = run_events("run", samples=10)
    monkeypatch.setattr(summary, "source_updates", breaking)
    for _ in range(2):
        assert line.consume(events, offset=0) == len(events) - 1
    (kept,) = database[store.REJECTED_EVENTS].find()
    assert (kept["reason"], kept["offset"]) == ("internal_error", 7)
    assert "ZeroDivisionError: a fault of ours" in kept["detail"]
    assert "breaking" in kept["detail"], "the trace"
    assert database[store.TRAINING_METRICS].count_documents({}) == len(events) - 1, "nothing of it is left behind"
    monkeypatch.undo()
    assert line.consume([events[7]], offset=500) == 1
