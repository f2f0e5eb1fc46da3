"""One trial of speed: a cold backlog, then a warm one, each timed until all three outputs hold it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.contestants import Contestant, problems
from bench.line import Line, running_line
from bench.processes import cpu_seconds, frozen
from bench.recording import Recording, Sums, produce
from wattline_common import kafka
from wattline_common.errors import ResourceError
from wattline_common.registry import Registry

__all__ = ["Pass", "SpeedTrial", "speed_trial", "wait_until_stored"]

_DEADLINE_S = 900.0
_LOOK_S = 0.1


@dataclass(frozen=True)
class Pass:
    """A backlog that was worked off."""

    events: int
    seconds: float
    cpu_s: Mapping[str, float]  # by group, until stored
    settling_cpu_s: float = 0.0  # of all groups together, from then until nothing is left to settle

    @property
    def events_per_s(self) -> float:
        """The rate."""
        return self.events / self.seconds

    @property
    def cpu_s_per_100k(self) -> float:
        """CPU seconds of all processes per 100,000 events."""
        return sum(self.cpu_s.values()) * 1e5 / self.events


@dataclass(frozen=True)
class SpeedTrial:
    """What a contestant did in one trial, on checked results."""

    contestant: str
    fleet: str
    repeat: int
    cold: Pass
    warm: Pass
    load_average: float

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def speed_trial(
    contestant: Contestant, fleet: str, repeat: int, work: tuple[Recording, Recording], folder: Path
) -> SpeedTrial:
    """Run a trial on fresh servers; raise `ResourceError` when the store does not end as the ledger says."""
    cold, warm = work
    with running_line(folder / "line") as line:
        registry = Registry(line.endpoints.schema_registry_url)
        producer = kafka.producer(line.endpoints.kafka_bootstrap_servers)
        for recording in work:
            recording.require_same_ids(registry)
        produce(producer, cold.messages)
        started_s = time.monotonic()
        process = contestant.start(line)
        first = _worked_off(contestant, line, process, cold.sums, len(cold.messages), started_s)
        with frozen(process):
            produce(producer, warm.messages)
            before = cpu_seconds(line.servers(), process)
            started_s = time.monotonic()
        both = {**cold.sums, **warm.sums}
        second = _worked_off(contestant, line, process, both, len(warm.messages), started_s, before)
        return SpeedTrial(contestant.name, fleet, repeat, first, second, os.getloadavg()[0])


def _worked_off(
    contestant: Contestant,
    line: Line,
    process: psutil.Process,
    sums: Sums,
    events: int,
    started_s: float,
    before: Mapping[str, float] | None = None,
) -> Pass:
    if before is None:  # the servers' own start is nobody's work
        before = {name: sum(server.cpu_times()[:2]) for name, server in line.servers().items()}
    seconds = wait_until_stored(contestant, line, process, sums) - started_s
    stored = cpu_seconds(line.servers(), process)
    _wait(lambda: contestant.settled(line), line, process, contestant, "it does not come to rest")
    settled = cpu_seconds(line.servers(), process)
    found = problems(contestant, line, sums)
    if found:
        raise ResourceError(f"{contestant.name} did not store what the ledger says: {'; '.join(found)}")
    cpu_s = {name: spent - before.get(name, 0.0) for name, spent in stored.items()}
    return Pass(events, seconds, cpu_s, sum(settled.values()) - sum(stored.values()))


def wait_until_stored(contestant: Contestant, line: Line, process: psutil.Process, sums: Sums) -> float:
    """Return the moment (monotonic) at which raw events, summaries and windows held what ``sums`` say."""
    total = sum(events for events, _ in sums.values())
    _wait(lambda: contestant.stored(line) >= total, line, process, contestant, f"not all of {total} events are stored")
    looked_s = 0.0
    missing = dict.fromkeys((contestant.runs, contestant.windows), next(iter(sums)))

    def complete() -> bool:
        """Look at a run that was not complete, before all of them: that look costs the store much."""
        nonlocal looked_s
        looked_s = time.monotonic()
        for output, run_id in missing.items():
            if output.sums(line, contestant.database, run_id).get(run_id) != sums[run_id]:
                return False
            held = output.sums(line, contestant.database)
            if held != sums:
                missing[output] = next((each for each in sums if held.get(each) != sums[each]), run_id)
                return False
        return True

    _wait(complete, line, process, contestant, "its summaries and windows do not add up to the ledger")
    return looked_s


def _wait(ready: Callable[[], bool], line: Line, process: psutil.Process, contestant: Contestant, problem: str) -> None:
    """Poll until it is so; raise `ResourceError` after the deadline, or when the contestant has ended."""
    end_s = time.monotonic() + _DEADLINE_S
    while not ready():
        contestant.require_running(line, process)
        if time.monotonic() > end_s:
            raise ResourceError(f"{contestant.name}: {problem} within {_DEADLINE_S:.0f} s")
        time.sleep(_LOOK_S)
