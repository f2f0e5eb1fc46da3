"""The whole line once, on real servers and real processes, through a SIGKILL of the stream: then the invariants."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from pymongo.database import Database

from tests.events import run_events
from wattline_common import kafka, store
from wattline_common.codec import Decoder, encode_body, frame
from wattline_common.errors import ContractError
from wattline_common.events import EVENT_TYPES, Event, WindowAggregated
from wattline_common.registry import Registry
from wattline_stack import Endpoints, Stack, StackSettings
from wattline_stack.demo import FAST_START_JAVA_OPTIONS
from wattline_stack.services import Services
from wattline_streaming.audit import Audit, audit

pytestmark = pytest.mark.timeout(600)

KILL_AFTER_EVENTS = 30
DEADLINE_S = 240.0
GARBAGE = [b"", b"garbage", frame(1_000_000, b"x"), None]


@dataclass
class Line:
    """What the line was fed with, and what it ended in."""

    endpoints: Endpoints
    database: Database[dict[str, Any]]
    ledger: dict[str, Any]
    kill_code: int | None
    exit_code: int | None
    audit: Audit
    fed: list[Event] = field(default_factory=list)


def wait_for(ready: Callable[[], bool], what: str) -> None:
    """Poll until it is so; fail naming what never was."""
    end_s = time.monotonic() + DEADLINE_S
    while not ready():
        if time.monotonic() > end_s:
            pytest.fail(f"{what} within {DEADLINE_S:.0f} s")
        time.sleep(0.2)


def feed(endpoints: Endpoints) -> list[Event]:
    """Produce two runs out of order, every tenth event twice, and some garbage; return the runs' events."""
    registry = Registry(endpoints.schema_registry_url)
    producer = kafka.producer(endpoints.kafka_bootstrap_servers)
    ids = {kind: registry.schema_id(kind) for kind in EVENT_TYPES.values()}
    events = run_events("fed-a", samples=40, seed=1) + run_events("fed-b", samples=90, seed=2)
    disordered = sorted(events, key=lambda event: (event.seq * 7919) % 101)
    for event in [*disordered, *events[::10]]:
        value = frame(ids[type(event)], encode_body(event))
        producer.produce(kafka.TRAINING_EVENTS, key=event.run_id.encode(), value=value)
    for garbage in GARBAGE:
        producer.produce(kafka.TRAINING_EVENTS, key=b"garbage", value=garbage)
    assert producer.flush(30) == 0
    return events


@pytest.fixture(scope="module")
def line(stack_settings: StackSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """Run the line: servers, stream, a real training, a feed; kill the stream in mid-run, start it again, stop all."""
    data_dir = tmp_path_factory.mktemp("line")
    stack = Stack(StackSettings.from_environment({**os.environ, "WATTLINE_DATA_DIR": str(data_dir)}))
    endpoints = stack.start()
    settings = {
        "WATTLINE_CHECKPOINT_DIR": str(data_dir / "checkpoint"),
        "WATTLINE_SPARK_DRIVER_JAVA_OPTIONS": FAST_START_JAVA_OPTIONS,
        "WATTLINE_SETTLE_DELAY_S": "2",
        "WATTLINE_SETTLE_INTERVAL_S": "2",
    }
    services = Services(data_dir, {**endpoints.environment(), **settings})
    try:
        yield run_line(endpoints, services, data_dir / "ledger.json")
    finally:
        for service in list(services.started):
            services.end(service, 30)
        stack.stop()


def run_line(endpoints: Endpoints, services: Services, ledger: Path) -> Line:
    """Do what the fixture promises and return all that the tests compare."""
    kafka.ensure_topics(endpoints.kafka_bootstrap_servers)
    list(Registry(endpoints.schema_registry_url).register())
    database = store.connect(endpoints.mongodb_uri)
    metrics = database[store.TRAINING_METRICS]
    first = services.start("streaming", ["wattline_streaming"])
    options = ["--minutes", "1.2", "--emit-interval", "1", "--run-id", "digits", "--ledger", str(ledger)]
    training = services.start("training", ["wattline_trainer", "digits", *options])
    wait_for(lambda: metrics.count_documents({}) >= KILL_AFTER_EVENTS, "no events of the training in the store")
    in_mid_run = training.exit_code is None
    assert in_mid_run, "the training must still run when the stream is killed"
    fed = feed(endpoints)
    first.signal(signal.SIGKILL)
    assert first.wait(10)
    services.started.remove(first)
    second = services.start("streaming-again", ["wattline_streaming"])
    assert training.wait(DEADLINE_S), "the training did not end"
    assert training.exit_code == 0, training.tail()
    expected = json.loads(ledger.read_text())["events_emitted"] + len(fed)

    def settled() -> bool:
        found = audit(database)
        return found.clean and found.open_windows == 0 and found.counts[store.TRAINING_METRICS] == expected

    wait_for(
        settled, f"the three collections did not agree, or hold not {expected} events: {audit(database).as_text()}"
    )
    second.signal(signal.SIGTERM)
    assert second.wait(60), "SIGTERM did not stop the stream"
    return Line(
        endpoints, database, json.loads(ledger.read_text()), first.exit_code, second.exit_code, audit(database), fed
    )


def topic_messages(endpoints: Endpoints, topic: str) -> list[Any]:
    """Return every message of a topic."""
    consumer = Consumer(
        {"bootstrap.servers": endpoints.kafka_bootstrap_servers, "group.id": "line", "enable.auto.commit": False}
    )
    partitions = consumer.list_topics(topic, timeout=20).topics[topic].partitions
    ends = {number: consumer.get_watermark_offsets(TopicPartition(topic, number))[1] for number in partitions}
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    found: list[Any] = []
    end_s = time.monotonic() + 60
    while len(found) < sum(ends.values()):
        assert time.monotonic() < end_s, f"{topic} did not give all of its messages"
        found += [message for message in consumer.consume(500, 0.5) if message.error() is None]
    consumer.close()
    return found


def test_the_stream_was_killed_and_stopped_cleanly(line: Line) -> None:
    """The first stream died by SIGKILL in mid-run; the second obeyed SIGTERM with exit code 0."""
    assert line.kill_code == -signal.SIGKILL
    assert line.exit_code == 0


def test_the_audit_is_clean(line: Line) -> None:
    """Raw events, summaries and windows agree for every run, and none is still open."""
    assert line.audit.clean, line.audit.as_text()
    assert {run.run_id for run in line.audit.runs} == {"digits", "fed-a", "fed-b"}
    assert all(run.missing_events == 0 for run in line.audit.runs)


def test_counts_and_energies_equal_the_trainings_own_ledger(line: Line) -> None:
    """Events by type exactly, energy and emissions to 1e-9, in raw, summary and windows."""
    raw = list(line.database[store.TRAINING_METRICS].find({"run_id": "digits"}))
    by_type: dict[str, int] = {}
    for event in raw:
        by_type[event["event_type"]] = by_type.get(event["event_type"], 0) + 1
    assert by_type == line.ledger["events_by_type"]
    assert by_type["HardwareSampled"] > 30
    summary = line.database[store.TRAINING_RUN_SUMMARY].find_one({"_id": "digits"})
    assert summary is not None
    assert summary["status"] == "COMPLETED"
    windows = [w["aggregate"] for w in line.database[store.AGGREGATED_METRICS].find({"run_id": "digits"})]
    for name in ("energy_kwh", "emissions_kg"):
        measured = line.ledger[name]
        assert measured > 0
        assert math.fsum(event.get(name) or 0.0 for event in raw) == pytest.approx(measured, rel=1e-9)
        assert summary[name] == pytest.approx(measured, rel=1e-9)
        assert math.fsum(window[name] for window in windows) == pytest.approx(measured, rel=1e-9)


def test_raw_ids_are_the_acknowledged_ids_less_the_rejected(line: Line) -> None:
    """Invariant 1: every event in the topic stands in the store once, or is rejected, once."""
    decoder = Decoder(Registry(line.endpoints.schema_registry_url).schema_text)
    good: set[str] = set()
    bad: list[tuple[int, int]] = []
    for message in topic_messages(line.endpoints, kafka.TRAINING_EVENTS):
        try:
            fields = decoder.datum(message.value()).fields
            good.add(store.event_id(fields["run_id"], fields["source_id"], fields["seq"]))
        except ContractError:
            bad.append((message.partition(), message.offset()))
    assert {event["_id"] for event in line.database[store.TRAINING_METRICS].find({}, {"_id": 1})} == good
    rejected = list(line.database[store.REJECTED_EVENTS].find())
    assert len(bad) == len(GARBAGE) == len(rejected)
    assert {event["_id"].rpartition("training.events:")[2] for event in rejected} == {f"{p}:{o}" for p, o in bad}
    assert {event["value"] for event in rejected} == set(GARBAGE)
    told = topic_messages(line.endpoints, kafka.TRAINING_EVENTS_REJECTED)
    assert {message.value() for message in told} == set(GARBAGE)
    assert all("wattline.reason" in dict(message.headers()) for message in told)


def test_parts_sum_to_the_whole(line: Line) -> None:
    """Invariant 3: a run's total is the sum of its samples, of its windows, and of its sources' last words."""
    for summary in line.database[store.TRAINING_RUN_SUMMARY].find():
        said = math.fsum(source["finished"]["source_energy_kwh"] for source in summary["sources"].values())
        assert summary["energy_kwh"] == pytest.approx(said, rel=1e-9)
        assert summary["settled"]["difference_kwh"] == pytest.approx(0.0, abs=1e-12)
        assert summary["settled"]["energy_kwh"] == pytest.approx(said, rel=1e-9)


def test_every_sample_keeps_the_arithmetic_of_carbon(line: Line) -> None:
    """Invariant 4: emissions = energy x PUE x intensity, energies >= 0, low <= value <= high, measured <= total."""
    samples = list(line.database[store.TRAINING_METRICS].find({"event_type": "HardwareSampled"}))
    assert len(samples) > 130
    for event in samples:
        expected = event["energy_kwh"] * event["pue"] * event["grid_intensity_g_per_kwh"] / 1000
        assert event["emissions_kg"] == pytest.approx(expected, rel=1e-9)
        assert 0 <= event["energy_low_kwh"] <= event["energy_kwh"] <= event["energy_high_kwh"]
        assert 0 <= event["measured_energy_kwh"] <= event["energy_kwh"]
        assert math.fsum(device["energy_kwh"] for device in event["devices"]) == pytest.approx(event["energy_kwh"])


def test_the_aggregates_topic_ends_in_what_the_store_has(line: Line) -> None:
    """The event of the highest revision of each window on training.aggregates equals the stored window."""
    decoder = Decoder(Registry(line.endpoints.schema_registry_url).schema_text)
    newest: dict[str, WindowAggregated] = {}
    for message in topic_messages(line.endpoints, kafka.TRAINING_AGGREGATES):
        event = decoder.event(message.value())
        assert isinstance(event, WindowAggregated)
        key = message.key().decode()
        if key not in newest or event.revision > newest[key].revision:
            newest[key] = event
    stored = {window["_id"]: window["aggregate"] for window in line.database[store.AGGREGATED_METRICS].find()}
    assert set(newest) == set(stored)
    for key, event in newest.items():
        assert (event.revision, event.events) == (stored[key]["revision"], stored[key]["events"])
        assert event.energy_kwh == pytest.approx(stored[key]["energy_kwh"], rel=1e-9)
