"""The whole line once, on real servers and real processes, through a SIGKILL of the stream: then the invariants."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pymongo.database import Database

from tests.events import run_events
from tests.line import DEADLINE_S, Line, running_line, topic_messages, wait_for
from wattline_common import kafka, store
from wattline_common.codec import Decoder, encode_body, frame
from wattline_common.errors import ContractError
from wattline_common.events import EVENT_TYPES, Event, WindowAggregated
from wattline_common.registry import Registry
from wattline_stack import Endpoints, StackSettings
from wattline_streaming.audit import Audit, audit

pytestmark = pytest.mark.timeout(1200)

KILL_AFTER_EVENTS = 30
GARBAGE = [b"", b"garbage", frame(1_000_000, b"x"), None]


@dataclass
class Outcome:
    """What the line was fed with, and what it ended in."""

    line: Line
    ledger: dict[str, Any]
    kill_code: int | None
    exit_code: int | None
    audit: Audit

    @property
    def database(self) -> Database[dict[str, Any]]:
        """Return the line's store."""
        return self.line.database

    @property
    def endpoints(self) -> Endpoints:
        """Return where the line's servers are."""
        return self.line.endpoints


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
def outcome(stack_settings: StackSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """Run the line: servers, stream, a real training, a feed; kill the stream in mid-run, start it again, stop both."""
    with running_line(tmp_path_factory.mktemp("line")) as line:
        yield run(line)


def run(line: Line) -> Outcome:
    """Do what the fixture promises and return all that the tests compare."""
    ledger = line.data_dir / "ledger.json"
    first = line.start_stream()
    options = ["--minutes", "60", "--emit-interval", "1", "--run-id", "digits", "--ledger", str(ledger)]
    training = line.services.start("training", ["wattline_trainer", "digits", *options])
    wait_for(lambda: line.stored() >= KILL_AFTER_EVENTS, lambda: "events of the training in the store")
    fed = feed(line.endpoints)
    kill_code, stored = line.kill(first), line.stored()
    in_mid_run = training.exit_code is None
    assert in_mid_run, "the training must still run when the stream is killed"
    second = line.start_stream()
    wait_for(lambda: line.stored() > stored, lambda: f"the second stream at work: {second.tail()}")
    training.signal(signal.SIGTERM)
    assert training.wait(DEADLINE_S), "SIGTERM did not stop the training"
    assert training.exit_code == 128 + signal.SIGTERM, training.tail()
    expected = json.loads(ledger.read_text())["events_emitted"] + len(fed)

    def settled() -> bool:
        found = audit(line.database)
        return found.clean and found.open_windows == 0 and found.counts[store.TRAINING_METRICS] == expected

    wait_for(settled, lambda: f"{expected} events, settled: {audit(line.database).as_text()}")
    second.signal(signal.SIGTERM)
    assert second.wait(DEADLINE_S), "SIGTERM did not stop the stream"
    return Outcome(line, json.loads(ledger.read_text()), kill_code, second.exit_code, audit(line.database))


def test_the_stream_was_killed_and_stopped_cleanly(outcome: Outcome) -> None:
    """The first stream died by SIGKILL in mid-run; the second obeyed SIGTERM with exit code 0."""
    assert outcome.kill_code == -signal.SIGKILL
    assert outcome.exit_code == 0


def test_the_audit_is_clean(outcome: Outcome) -> None:
    """Raw events, summaries and windows agree for every run, and none is still open."""
    assert outcome.audit.clean, outcome.audit.as_text()
    assert {run.run_id for run in outcome.audit.runs} == {"digits", "fed-a", "fed-b"}
    assert all(run.missing_events == 0 for run in outcome.audit.runs)


def test_counts_and_energies_equal_the_trainings_own_ledger(outcome: Outcome) -> None:
    """Events by type exactly, energy and emissions to 1e-9, in raw, summary and windows."""
    raw = list(outcome.database[store.TRAINING_METRICS].find({"run_id": "digits"}))
    by_type: dict[str, int] = {}
    for event in raw:
        by_type[event["event_type"]] = by_type.get(event["event_type"], 0) + 1
    assert by_type == outcome.ledger["events_by_type"]
    assert by_type["HardwareSampled"] > 30
    summary = outcome.database[store.TRAINING_RUN_SUMMARY].find_one({"_id": "digits"})
    assert summary is not None
    assert summary["status"] == "STOPPED"
    windows = [w["aggregate"] for w in outcome.database[store.AGGREGATED_METRICS].find({"run_id": "digits"})]
    for name in ("energy_kwh", "emissions_kg"):
        measured = outcome.ledger[name]
        assert measured > 0
        assert math.fsum(event.get(name) or 0.0 for event in raw) == pytest.approx(measured, rel=1e-9)
        assert summary[name] == pytest.approx(measured, rel=1e-9)
        assert math.fsum(window[name] for window in windows) == pytest.approx(measured, rel=1e-9)


def test_raw_ids_are_the_acknowledged_ids_less_the_rejected(outcome: Outcome) -> None:
    """Invariant 1: every event in the topic stands in the store once, or is rejected, once."""
    decoder = Decoder(Registry(outcome.endpoints.schema_registry_url).schema_text)
    good: set[str] = set()
    bad: list[tuple[int, int]] = []
    for message in topic_messages(outcome.endpoints, kafka.TRAINING_EVENTS):
        try:
            fields = decoder.datum(message.value()).fields
            good.add(store.event_id(fields["run_id"], fields["source_id"], fields["seq"]))
        except ContractError:
            bad.append((message.partition(), message.offset()))
    assert {event["_id"] for event in outcome.database[store.TRAINING_METRICS].find({}, {"_id": 1})} == good
    rejected = list(outcome.database[store.REJECTED_EVENTS].find())
    assert len(bad) == len(GARBAGE) == len(rejected)
    assert {event["_id"].rpartition("training.events:")[2] for event in rejected} == {f"{p}:{o}" for p, o in bad}
    assert {event["value"] for event in rejected} == set(GARBAGE)
    told = topic_messages(outcome.endpoints, kafka.TRAINING_EVENTS_REJECTED)
    assert {message.value() for message in told} == set(GARBAGE)
    assert all("wattline.reason" in dict(message.headers()) for message in told)


def test_parts_sum_to_the_whole(outcome: Outcome) -> None:
    """Invariant 3: a run's total is the sum of its samples, of its windows, and of its sources' last words."""
    for summary in outcome.database[store.TRAINING_RUN_SUMMARY].find():
        said = math.fsum(source["finished"]["source_energy_kwh"] for source in summary["sources"].values())
        assert summary["energy_kwh"] == pytest.approx(said, rel=1e-9)
        assert summary["settled"]["difference_kwh"] == pytest.approx(0.0, abs=1e-12)
        assert summary["settled"]["energy_kwh"] == pytest.approx(said, rel=1e-9)


def test_every_sample_keeps_the_arithmetic_of_carbon(outcome: Outcome) -> None:
    """Invariant 4: emissions = energy x PUE x intensity, energies >= 0, low <= value <= high, measured <= total."""
    samples = list(outcome.database[store.TRAINING_METRICS].find({"event_type": "HardwareSampled"}))
    assert len(samples) > 130
    for event in samples:
        expected = event["energy_kwh"] * event["pue"] * event["grid_intensity_g_per_kwh"] / 1000
        assert event["emissions_kg"] == pytest.approx(expected, rel=1e-9)
        assert 0 <= event["energy_low_kwh"] <= event["energy_kwh"] <= event["energy_high_kwh"]
        assert 0 <= event["measured_energy_kwh"] <= event["energy_kwh"]
        assert math.fsum(device["energy_kwh"] for device in event["devices"]) == pytest.approx(event["energy_kwh"])


def test_the_aggregates_topic_ends_in_what_the_store_has(outcome: Outcome) -> None:
    """The event of the highest revision of each window on training.aggregates equals the stored window."""
    registry = Registry(outcome.endpoints.schema_registry_url)
    decoder = Decoder(lambda schema_id: registry.schema_text(schema_id, kafka.TRAINING_AGGREGATES))
    newest: dict[str, WindowAggregated] = {}
    for message in topic_messages(outcome.endpoints, kafka.TRAINING_AGGREGATES):
        event = decoder.event(message.value())
        assert isinstance(event, WindowAggregated)
        key = message.key().decode()
        if key not in newest or event.revision > newest[key].revision:
            newest[key] = event
    stored = {window["_id"]: window["aggregate"] for window in outcome.database[store.AGGREGATED_METRICS].find()}
    assert set(newest) == set(stored)
    for key, event in newest.items():
        assert (event.revision, event.events) == (stored[key]["revision"], stored[key]["events"])
        assert event.energy_kwh == pytest.approx(stored[key]["energy_kwh"], rel=1e-9)
