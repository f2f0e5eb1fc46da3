"""What the tracker publishes on real Kafka is what the run believes it published, and every byte of it is good."""

from __future__ import annotations

import datetime
import json
import math
import os
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, Message

import wattline
from tests.integration.stack_helpers import only, running
from wattline.doctor_checks import ask_servers
from wattline.testing import ReplayMeter
from wattline_common import settings
from wattline_common.codec import Decoder
from wattline_common.events import Event, HardwareSampled, RunFinished, RunStarted, RunStatus, StepCompleted
from wattline_common.kafka import TRAINING_EVENTS, ensure_topics
from wattline_common.registry import Registry
from wattline_common.validate import validate

if TYPE_CHECKING:
    from wattline_stack import Endpoints, StackSettings

TIMEOUT_S = 60.0


@pytest.fixture
def ready(stack: Endpoints) -> Endpoints:
    """Give the session's servers with the topics and schemas of the contract."""
    ensure_topics(stack.kafka_bootstrap_servers)
    list(Registry(stack.schema_registry_url).register())
    return stack


@pytest.fixture
def environment(ready: Endpoints, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Point this process and the ones it starts at the servers."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", ready.kafka_bootstrap_servers)
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", ready.schema_registry_url)
    monkeypatch.setenv("WATTLINE_FLUSH_TIMEOUT_S", str(TIMEOUT_S))
    return dict(os.environ)


def _messages(servers: str, run_id: str, count: int) -> list[Message]:
    """Return the messages of a run: as many as are expected, and whatever comes within a second after them."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"})
    consumer.subscribe([TRAINING_EVENTS])
    found: list[Message] = []
    deadline = time.monotonic() + TIMEOUT_S
    try:
        while time.monotonic() < deadline:
            message = consumer.poll(1.0)
            if message is not None and message.error() is None and message.key() == run_id.encode():
                found.append(message)
            if message is None and len(found) >= count:
                return found
    finally:
        consumer.close()
    pytest.fail(f"{len(found)} of {count} messages of {run_id} after {TIMEOUT_S:g} s")


def _events(ready: Endpoints, messages: list[Message]) -> list[Event]:
    """Return the decoded and validated events, by seq."""
    decoder = Decoder(Registry(ready.schema_registry_url).schema_text)
    events = [decoder.event(message.value()) for message in messages]
    for event in events:
        validate(type(event).__name__, event.to_avro())
    return sorted(events, key=lambda event: event.seq)


def test_a_real_training_is_in_kafka_as_its_ledger_says(
    ready: Endpoints, environment: dict[str, str], tmp_path: Path
) -> None:
    """Every event once, decodable and valid; counts equal to the ledger, energies to 1e-9."""
    run_id, file = f"digits-{uuid.uuid4().hex[:8]}", tmp_path / "ledger.json"
    command = [sys.executable, "-m", "wattline_trainer", "digits", "--epochs", "3", "--emit-interval", "1"]
    command += ["--run-id", run_id, "--region", "FRA", "--ledger", str(file)]
    subprocess.run(command, env=environment, check=True, timeout=180)
    ledger = json.loads(file.read_text(encoding="utf-8"))
    messages = _messages(ready.kafka_bootstrap_servers, run_id, ledger["events_emitted"])
    events = _events(ready, messages)

    assert ledger["events_dropped"] == ledger["problems"] == 0
    assert [event.seq for event in events] == list(range(ledger["events_emitted"]))
    assert {event.source_id for event in events} == {ledger["source_id"]}
    assert Counter(type(event).__name__ for event in events) == ledger["events_by_type"]
    assert len({message.partition() for message in messages}) == 1
    assert {message.timestamp()[0] for message in messages} == {TIMESTAMP_LOG_APPEND_TIME}

    samples = [event for event in events if isinstance(event, HardwareSampled)]
    steps = [event for event in events if isinstance(event, StepCompleted)]
    finished = events[-1]
    assert isinstance(events[0], RunStarted)
    assert isinstance(finished, RunFinished)
    assert finished.status is RunStatus.COMPLETED
    assert math.fsum(s.energy_kwh for s in samples) == pytest.approx(ledger["energy_kwh"], rel=1e-9)
    assert math.fsum(s.emissions_kg for s in samples) == pytest.approx(ledger["emissions_kg"], rel=1e-9)
    assert finished.source_energy_kwh == ledger["energy_kwh"] > 0
    assert sum(step.steps_covered for step in steps) == ledger["steps"] == 3 * 64
    assert sum(step.samples or 0 for step in steps) == ledger["samples"]
    assert {step.epoch for step in steps if step.accuracy is not None} == {1, 2, 3}


def test_a_series_of_ones_own_prices_each_sample_at_its_moment(
    ready: Endpoints, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the middle of its interval, in Kafka as in the run's totals; meanwhile the planned end is foretold.

    The series changes every second, so the samples of a few seconds have several prices.
    """
    begin = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    moments = ((begin + datetime.timedelta(seconds=s), 100 + s) for s in range(-1, 120))
    lines = ["datetime_utc,grid_intensity_g_per_kwh,source", *(f"{at.isoformat()},{g},ours" for at, g in moments)]
    file = tmp_path / "grid.csv"
    file.write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setenv("WATTLINE_GRID_INTENSITY_FILE", str(file))
    run = wattline.track(
        model_name="priced", region_iso="FRA", meters=[ReplayMeter([36.0])], emit_interval_s=0.25, planned_epochs=100
    )
    told, epoch, deadline = {run.summary().energy_kwh}, 0, time.monotonic() + TIMEOUT_S
    while len(told) < 12:
        assert time.monotonic() < deadline, "no samples"
        if run.summary().energy_kwh not in told:
            epoch += 1
            run.step(epoch=epoch, step=epoch)
            told.add(run.summary().energy_kwh)
    forecast = run.summary().forecast
    run.stop()
    summary = run.summary()
    events = _events(ready, _messages(ready.kafka_bootstrap_servers, run.run_id, summary.events_emitted))

    samples = [event for event in events if isinstance(event, HardwareSampled)]
    for sample in samples:
        middle = sample.timestamp - datetime.timedelta(seconds=sample.interval_s / 2)
        wanted = 100 + math.floor((middle - begin).total_seconds())
        assert (sample.grid_intensity_g_per_kwh, sample.grid_intensity_source) == (wanted, f"FRA: ours {begin.year}")
        assert sample.emissions_kg == pytest.approx(sample.energy_kwh * wanted / 1000, rel=1e-12)
    assert len({sample.grid_intensity_g_per_kwh for sample in samples}) > 2
    assert summary.emissions_kg == pytest.approx(math.fsum(sample.emissions_kg for sample in samples), rel=1e-9)
    assert forecast is not None
    assert forecast.energy_kwh == pytest.approx(summary.energy_kwh * 100 / epoch, rel=0.5)


def test_servers_that_come_late_get_everything(
    ready: Endpoints,
    stack_settings: StackSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A run that begins before Kafka is up delivers from its first event, once Kafka is there."""
    late = only("kafka", stack_settings, tmp_path)
    with running(late) as stack:  # once, to have its port
        servers = next(each.endpoint for each in stack.status() if each.name == "kafka")
        ensure_topics(servers)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", servers)
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", ready.schema_registry_url)
    monkeypatch.setenv("WATTLINE_FLUSH_TIMEOUT_S", str(TIMEOUT_S))
    run = wattline.track(model_name="late", meters=[ReplayMeter([10.0])], emit_interval_s=5)
    run.step(epoch=1, loss=1.0)
    with running(late):
        _messages(servers, run.run_id, 1)
        run.stop()
        summary = run.summary()
        events = _events(ready, _messages(servers, run.run_id, summary.events_emitted))
    assert summary.events_dropped == 0
    assert [event.seq for event in events] == list(range(summary.events_emitted))
    assert caplog.records == []


def test_a_registry_without_our_schemas_is_told_with_the_remedy(
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    stack_settings: StackSettings,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The training goes on, the events are kept, and one warning names the command that helps."""
    monkeypatch.setenv("WATTLINE_FLUSH_TIMEOUT_S", "20")
    with running(only("registry", stack_settings, tmp_path)) as stack:
        url = next(each.endpoint for each in stack.status() if each.name == "registry")
        monkeypatch.setenv("SCHEMA_REGISTRY_URL", url)
        with wattline.track(model_name="unregistered", meters=[]) as run:
            run.step(loss=1.0)
    summary = run.summary()
    assert summary.events_dropped == 0 < summary.events_emitted
    assert f"{summary.events_emitted} events are kept in" in caplog.text
    (waiting,) = [record.message for record in caplog.records if "events wait" in record.message]
    assert "python -m wattline_common.registry register" in waiting


def test_the_doctor_finds_what_is_ready_and_what_is_missing(
    ready: Endpoints, stack_settings: StackSettings, tmp_path: Path
) -> None:
    """Topics and schemas that are there; and a Kafka that answers but has no topics, with the remedy."""
    both = settings.Endpoints(ready.kafka_bootstrap_servers, ready.schema_registry_url)
    assert [(each.name, each.is_ready, each.reason) for each in ask_servers(both, timeout_s=TIMEOUT_S)] == [
        ("kafka", True, ""),
        ("registry", True, ""),
    ]
    with running(only("kafka", stack_settings, tmp_path)) as stack:
        bare = next(each.endpoint for each in stack.status() if each.name == "kafka")
        kafka, _ = ask_servers(settings.Endpoints(bare, ready.schema_registry_url), timeout_s=TIMEOUT_S)
    assert not kafka.is_ready
    assert "python -m wattline_common.kafka" in kafka.reason
