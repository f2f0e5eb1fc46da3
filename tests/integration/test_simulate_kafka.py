"""What a simulated fleet writes to real Kafka is what its ledger says, faults on the way included."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer

from wattline_common.codec import Decoder
from wattline_common.events import Event, HardwareSampled, RunFinished
from wattline_common.kafka import TRAINING_EVENTS, ensure_topics
from wattline_common.registry import Registry
from wattline_common.validate import validate

if TYPE_CHECKING:
    from wattline_stack import Endpoints

TIMEOUT_S = 90.0


@pytest.fixture
def ready(stack: Endpoints) -> Endpoints:
    """Give the session's servers with the topics and schemas of the contract."""
    ensure_topics(stack.kafka_bootstrap_servers)
    list(Registry(stack.schema_registry_url).register())
    return stack


def _start(ready: Endpoints, ledger: Path, *arguments: str) -> subprocess.Popen[str]:
    servers = {
        "KAFKA_BOOTSTRAP_SERVERS": ready.kafka_bootstrap_servers,
        "SCHEMA_REGISTRY_URL": ready.schema_registry_url,
    }
    command = [sys.executable, "-m", "wattline_trainer", "simulate", *arguments, "--ledger", str(ledger)]
    return subprocess.Popen(command, env={**os.environ, **servers}, stderr=subprocess.PIPE, text=True)


def _events(ready: Endpoints, run_ids: set[str], count: int) -> list[Event]:
    """Return the valid events of some runs, decoded: as many as are expected, and any that come within 2 s more."""
    decoder = Decoder(Registry(ready.schema_registry_url).schema_text)
    consumer = Consumer(
        {
            "bootstrap.servers": ready.kafka_bootstrap_servers,
            "group.id": uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([TRAINING_EVENTS])
    found: list[Event] = []
    deadline = time.monotonic() + TIMEOUT_S
    try:
        while time.monotonic() < deadline:
            messages = consumer.consume(1000, 2.0)
            if not messages and len(found) >= count:
                return found
            for message in messages:
                assert message.error() is None
                if (message.key() or b"").decode() in run_ids:
                    event = decoder.event(message.value())
                    validate(type(event).__name__, event.to_avro())
                    assert event.run_id.encode() == message.key()
                    found.append(event)
    finally:
        consumer.close()
    pytest.fail(f"{len(found)} of {count} events after {TIMEOUT_S:g} s")


def _check(events: list[Event], books: dict[str, Any]) -> None:
    """Compare the distinct events, source by source, with the ledger."""
    distinct = {(event.run_id, event.source_id, event.seq): event for event in events}
    assert len(distinct) == books["totals"]["events"]
    assert len(events) == books["totals"]["messages_delivered"]
    by_source: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in distinct.values():
        assert event.simulated
        by_source[event.run_id, event.source_id].append(event)
    assert {run_id for run_id, _ in by_source} == set(books["runs"])
    for (run_id, source_id), own in by_source.items():
        entry = books["runs"][run_id]["sources"][source_id]
        own.sort(key=lambda event: event.seq)
        assert [event.seq for event in own] == list(range(entry["events_emitted"]))
        samples = [event for event in own if isinstance(event, HardwareSampled)]
        assert sum(round(sample.energy_kwh * 3.6e9) for sample in samples) == entry["energy_millijoules"]
        finished = own[-1]
        assert isinstance(finished, RunFinished)
        assert (finished.status, finished.source_energy_kwh) == (entry["status"], entry["energy_kwh"])
    for run_id, run in books["runs"].items():
        names = Counter(type(event).__name__ for key, event in distinct.items() if key[0] == run_id)
        assert names == run["events_by_type"]


def test_a_history_with_faults_is_in_kafka_as_the_ledger_says(ready: Endpoints, tmp_path: Path) -> None:
    """Each event once or twice, all valid; counts, sequences and millijoules are the ledger's."""
    file = tmp_path / "fleet.json"
    arguments = ["--runs", "6", "--days", "0.25", "--seed", "11", "--duplicates", "0.05", "--disorder-s", "600"]
    process = _start(ready, file, *arguments)
    _, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, err
    books = json.loads(file.read_text(encoding="utf-8"))
    assert books["complete"]
    assert len(books["runs"]) == 6
    assert books["totals"]["messages_delivered"] > books["totals"]["events"] > 500
    _check(_events(ready, set(books["runs"]), books["totals"]["messages_delivered"]), books)


def test_live_runs_end_whole_on_a_signal(ready: Endpoints, tmp_path: Path) -> None:
    """SIGTERM: exit code 143, every run STOPPED with its last event in Kafka, the ledger complete, no traceback."""
    file = tmp_path / "fleet.json"
    process = _start(ready, file, "--runs", "0", "--live", "20", "--emit-interval", "1", "--speed", "10")
    deadline = time.monotonic() + TIMEOUT_S
    while not (file.exists() and json.loads(file.read_text(encoding="utf-8"))["totals"]["events"] > 200):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 143, err
    assert "Traceback" not in err
    books = json.loads(file.read_text(encoding="utf-8"))
    assert books["complete"]
    assert "RUNNING" not in {run["status"] for run in books["runs"].values()}
    _check(_events(ready, set(books["runs"]), books["totals"]["messages_delivered"]), books)
