"""The work: events of the simulator, recorded once with its ledger, so that every contestant gets the same bytes."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from bench.line import running_line
from wattline_common import kafka
from wattline_common.errors import ResourceError
from wattline_common.registry import Registry

__all__ = ["LARGE_FLEET", "SMALL_FLEET", "Fleet", "Recording", "Sums", "chosen", "produce", "recording"]

_LENGTHS = struct.Struct("!II")
_DEADLINE_S = 600.0
Sums = Mapping[str, tuple[int, int]]
"""run_id -> events, millijoules."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is simulated: so many runs, from which ``keep`` are taken whose events come nearest to ``events``."""

    runs: int
    keep: int
    days: float
    events: int = 100_000
    interval_s: float = 5.0


# A sample and at most a step every 5 s, the tracker's default. Lengths are drawn, so few runs leave a choice.
SMALL_FLEET = Fleet(runs=75, keep=50, days=0.17)
LARGE_FLEET = Fleet(runs=5_000, keep=5_000, days=0.0019)


@dataclass(frozen=True)
class Recording:
    """Messages in the order of their times, and what they must add up to."""

    messages: list[tuple[bytes, bytes]]
    sums: Sums
    schemas: Mapping[str, str]  # by the id (as text) that stands in the messages

    def require_same_ids(self, registry: Registry) -> None:
        """Raise `ResourceError` where a registry gives another schema for an id of these messages."""
        for number, text in self.schemas.items():
            if registry.schema_text(int(number)) != text:
                raise ResourceError(f"the registry gives another schema for id {number}: remove the recordings")


def recording(fleet: Fleet, seed: int, folder: Path) -> Recording:
    """Return a recording from ``folder``, after making it there when it is missing."""
    place = folder / f"{fleet.runs}-{fleet.keep}-{fleet.days:g}-{fleet.interval_s:g}-{fleet.events}-{seed}"
    if not (place / "done").exists():
        place.mkdir(parents=True, exist_ok=True)
        _record(fleet, seed, place)
        (place / "done").touch()
    runs = json.loads((place / "ledger.json").read_text(encoding="utf-8"))["runs"]
    sums = {run_id: (run["events"], run["energy_millijoules"]) for run_id, run in runs.items()}
    kept = {run_id: sums[run_id] for run_id in chosen(sums, fleet)}
    messages = [(key, value) for key, value in _read(place / "messages.bin") if key.decode() in kept]
    if len(messages) != sum(events for events, _ in kept.values()):
        raise ResourceError(f"{place} does not hold what its ledger says: remove it")
    return Recording(messages, kept, json.loads((place / "schemas.json").read_text(encoding="utf-8")))


def produce(producer: Producer, messages: Sequence[tuple[bytes, bytes]]) -> None:
    """Write messages to the topic and wait for all acknowledgements."""
    for key, value in messages:
        while True:
            try:
                producer.produce(kafka.TRAINING_EVENTS, key=key, value=value)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    if producer.flush(60):
        raise ResourceError("Kafka did not take all messages within 60 s")


def chosen(sums: Sums, fleet: Fleet) -> list[str]:
    """Return runs next to each other by size whose events come nearest to the wanted number."""
    by_size = sorted(sums, key=lambda run_id: (sums[run_id][0], run_id))
    stretches = [by_size[k : k + fleet.keep] for k in range(max(1, len(by_size) - fleet.keep + 1))]
    return min(stretches, key=lambda runs: abs(sum(sums[run_id][0] for run_id in runs) - fleet.events))


def _record(fleet: Fleet, seed: int, place: Path) -> None:
    options = {
        "--runs": fleet.runs,
        "--days": fleet.days,
        "--history-interval": fleet.interval_s,
        "--seed": seed,
        "--start": f"2026-03-{seed:02d}T00:00:00Z",  # a day apart: the higher seed is later in event time
        "--ledger": place / "ledger.json",
    }
    command = ["wattline_trainer", "simulate", *(str(part) for option in options.items() for part in option)]
    with running_line(place / "line") as line:
        environment = {**os.environ, **line.endpoints.environment()}
        subprocess.run([sys.executable, "-m", *command], env=environment, check=True)
        with (place / "messages.bin").open("wb") as file:
            for key, value in _in_order(line.endpoints.kafka_bootstrap_servers):
                file.write(_LENGTHS.pack(len(key), len(value)) + key + value)
        ids = {
            str(number): text
            for number, text in Registry(line.endpoints.schema_registry_url).ids(kafka.TRAINING_EVENTS).items()
        }
        (place / "schemas.json").write_text(json.dumps(ids), encoding="utf-8")


def _in_order(servers: str) -> list[tuple[bytes, bytes]]:
    """Return all messages of the topic as they were appended, across its partitions."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "bench", "enable.auto.commit": False})
    ends = {number: after for number, (_, after) in kafka.offsets(servers, kafka.TRAINING_EVENTS).items()}
    consumer.assign([TopicPartition(kafka.TRAINING_EVENTS, number, 0) for number in ends])
    found: list[tuple[int, int, bytes, bytes]] = []
    end_s = time.monotonic() + _DEADLINE_S
    while len(found) < sum(ends.values()):
        if time.monotonic() > end_s:
            raise ResourceError(f"{kafka.TRAINING_EVENTS} did not give all of its messages")
        for message in consumer.consume(5_000, 0.5):
            if message.error() is None:
                offset = message.offset() or 0
                found.append((message.timestamp()[1], offset, message.key() or b"", message.value() or b""))
    consumer.close()
    return [(key, value) for _, _, key, value in sorted(found, key=lambda each: each[:2])]


def _read(path: Path) -> Iterator[tuple[bytes, bytes]]:
    data, at = path.read_bytes(), 0
    while at < len(data):
        key_length, value_length = _LENGTHS.unpack_from(data, at)
        at += _LENGTHS.size
        yield data[at : at + key_length], data[at + key_length : at + key_length + value_length]
        at += key_length + value_length
