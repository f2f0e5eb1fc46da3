"""A trial at the pace of live traffic: how old an event is when it can be read, and whether memory stays flat."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import OFFSET_END, Consumer, TopicPartition

from bench.contestants import Contestant, problems
from bench.line import Line, running_line
from bench.processes import cpu_seconds, resident_mb
from bench.speed import wait_until_stored
from wattline_common import kafka
from wattline_common.codec import Decoder
from wattline_common.errors import ResourceError
from wattline_common.registry import Registry
from wattline_common.store import event_id

__all__ = ["SteadyTrial", "steady_trial"]

_INTERVAL_S = 5.0
_EVENTS_PER_INTERVAL = 2  # a sample and a step
_PROBE_EVERY = 10  # of the events, one is looked for in the store
_LOOK_S = 0.02
_MEMORY_LOOK_S = 2.0
_MOST_PROBES = 500  # of a look, the oldest


@dataclass(frozen=True)
class SteadyTrial:
    """Seconds from the broker's append time to the first look that finds a raw event in the store, and memory in MB."""

    contestant: str
    events: int
    seconds: float
    probes: int
    p50_s: float
    p95_s: float
    p99_s: float
    cpu_s_per_100k: float
    memory_mb: dict[str, list[float]]  # by part of the contestant, every few seconds
    load_average: float

    def thirds_mb(self) -> tuple[float, float]:
        """Return the contestant's mean memory in the first and in the last third."""
        looks = [sum(parts) for parts in zip(*self.memory_mb.values(), strict=True)]
        third = max(1, len(looks) // 3)
        return statistics.fmean(looks[:third]), statistics.fmean(looks[-third:])

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self) | {"thirds_mb": self.thirds_mb()}


@dataclass
class _Probes:
    """Events that were read from the topic's end and not yet found in the store, and the ages of those found."""

    line: Line
    contestant: Contestant
    missing: dict[str, float] = field(default_factory=dict)  # event id -> append time
    ages_s: list[float] = field(default_factory=list)
    _read: int = 0

    def __post_init__(self) -> None:
        """Begin at the topic's end."""
        at = self.line.endpoints
        self._consumer = Consumer({"bootstrap.servers": at.kafka_bootstrap_servers, "group.id": "bench"})
        partitions = kafka.offsets(at.kafka_bootstrap_servers, kafka.TRAINING_EVENTS)
        self._consumer.assign([TopicPartition(kafka.TRAINING_EVENTS, number, OFFSET_END) for number in partitions])
        self._decoder = Decoder(Registry(at.schema_registry_url).schema_text)

    def look(self) -> None:
        """Read what is new, and look for what is missing."""
        for message in self._consumer.consume(5_000, _LOOK_S):
            self._read += 1
            if message.error() is None and self._read % _PROBE_EVERY == 0:
                fields = self._decoder.datum(message.value()).fields
                key = event_id(fields["run_id"], fields["source_id"], fields["seq"])
                self.missing[key] = message.timestamp()[1] / 1000
        collection = self.line.client[self.contestant.database][self.contestant.raw.collection]
        wanted = list(self.missing)[:_MOST_PROBES]
        if wanted:
            found = [document["_id"] for document in collection.find({"_id": {"$in": wanted}}, {"_id": 1})]
            now_s = time.time()
            self.ages_s += [now_s - self.missing.pop(key) for key in found]

    def close(self) -> None:
        """End reading."""
        self._consumer.close()


def steady_trial(
    contestant: Contestant, folder: Path, *, events_per_s: float, warm_up_s: float, seconds: float
) -> SteadyTrial:
    """Keep simulated runs alive beside a contestant, and measure once it is warm."""
    folder.mkdir(parents=True, exist_ok=True)
    runs = round(events_per_s * _INTERVAL_S / _EVENTS_PER_INTERVAL)
    ledger = folder / "ledger.json"
    with running_line(folder / "line") as line:
        process = contestant.start(line)
        fleet = _fleet(line, runs, warm_up_s + seconds, ledger)
        for _ in _until(time.monotonic() + warm_up_s, line, process, contestant):
            time.sleep(_LOOK_S)
        probes, before, load = _Probes(line, contestant), cpu_seconds(line.servers(), process), os.getloadavg()[0]
        stored, looks = contestant.stored(line), [resident_mb(process)]
        looked_s = time.monotonic()
        for now_s in _until(looked_s + seconds, line, process, contestant):
            probes.look()
            if now_s - looked_s >= _MEMORY_LOOK_S:
                looks.append(resident_mb(process))
                looked_s = now_s
        events = contestant.stored(line) - stored
        spent_s = sum(cpu_seconds(line.servers(), process).values()) - sum(before.values())
        probes.close()
        if fleet.wait(120) != 0:
            raise ResourceError("the simulated runs did not end well")
        _verify(contestant, line, process, ledger)
    cuts = statistics.quantiles(probes.ages_s, n=100)
    figures = (events, seconds, len(probes.ages_s), cuts[49], cuts[94], cuts[98], spent_s * 1e5 / events)
    return SteadyTrial(contestant.name, *figures, _series(looks), load)


def _fleet(line: Line, runs: int, seconds: float, ledger: Path) -> subprocess.Popen[bytes]:
    options = {"--runs": "0", "--live": runs, "--for": seconds, "--emit-interval": _INTERVAL_S, "--ledger": ledger}
    command = ["wattline_trainer", "simulate", *(str(part) for option in options.items() for part in option)]
    environment = {**os.environ, **line.endpoints.environment()}
    with (line.data_dir / "fleet.log").open("wb") as log:
        return subprocess.Popen([sys.executable, "-m", *command], env=environment, stdout=log, stderr=log)


def _until(end_s: float, line: Line, process: psutil.Process, contestant: Contestant) -> Iterator[float]:
    """Yield the time until it is over; raise `ResourceError` when the contestant has ended."""
    while (now_s := time.monotonic()) < end_s:
        contestant.require_running(line, process)
        yield now_s


def _verify(contestant: Contestant, line: Line, process: psutil.Process, ledger: Path) -> None:
    runs = json.loads(ledger.read_text(encoding="utf-8"))["runs"]
    sums = {run_id: (run["events"], run["energy_millijoules"]) for run_id, run in runs.items()}
    wait_until_stored(contestant, line, process, sums)
    if found := problems(contestant, line, sums):
        raise ResourceError(f"{contestant.name} did not store what the ledger says: {'; '.join(found)}")


def _series(looks: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    parts = sorted({part for look in looks for part in look})
    return {part: [round(look.get(part, 0.0), 1) for look in looks] for part in parts}
