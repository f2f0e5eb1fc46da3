"""Hypothesis strategies of whole histories: what runs emit, consistent in itself, and how a bad day delivers it."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.events import START
from wattline_common.events import (
    DeviceKind,
    DeviceReading,
    Event,
    HardwareSampled,
    Method,
    RunFinished,
    RunStarted,
    RunStatus,
    StepCompleted,
)

__all__ = ["BREAKS", "Batch", "History", "Sent", "histories", "runs"]

_MILLIJOULES_PER_KWH = 3.6e9
_ONE_DAY_MS = 86_400_000
_CUMULATIVE = ("energy_kwh", "energy_low_kwh", "energy_high_kwh", "measured_energy_kwh", "emissions_kg")

# How a sample comes to break invariant 4, each by far more than a rounding.
BREAKS: dict[str, Callable[[HardwareSampled], dict[str, float]]] = {
    "negative energy": lambda _: {"energy_kwh": -1.0, "energy_low_kwh": 0.0},
    "negative low end": lambda _: {"energy_low_kwh": -1e-9},
    "low end above the energy": lambda sample: {"energy_low_kwh": sample.energy_kwh + 1e-3},
    "high end below the energy": lambda sample: {"energy_kwh": sample.energy_high_kwh + 1e-3},
    "more measured than there was": lambda sample: {"measured_energy_kwh": sample.energy_kwh + 1e-3},
    "emissions of another energy": lambda sample: {"emissions_kg": sample.emissions_kg + 1e-3},
    "a PUE that was not applied": lambda sample: {"pue": sample.pue + 0.5, "emissions_kg": sample.emissions_kg + 1e-6},
}


@dataclass(frozen=True, slots=True)
class Sent:
    """A message in the topic; one that is not good breaks the contract, whoever's name it bears."""

    event: Event
    partition: int
    offset: int
    good: bool = True


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages that are read at once, and what happens to them."""

    messages: tuple[Sent, ...]
    crashes: tuple[int, ...]  # tries that die, each after so many writes to the store
    fast_path: str  # "right", "behind" (misses rows), "wrong" (miscounts energy) or "absent"
    pause_s: int  # that passes on the wall clock before the next batch


@dataclass(frozen=True, slots=True)
class History:
    """What was emitted, and how it was delivered: lost, twice, late, in disorder, in batches that are repeated."""

    emitted: tuple[Event, ...]
    batches: tuple[Batch, ...]

    @property
    def log(self) -> list[Sent]:
        """Return the messages of the topic, each once, in the order in which they were first read."""
        seen = {(sent.partition, sent.offset): sent for batch in self.batches for sent in batch.messages}
        return list(seen.values())


class _Source:
    """Emits the events of one process with running sums, as a tracker does."""

    def __init__(self, head: dict[str, Any], start: datetime.datetime) -> None:
        self.head, self.now, self.start = head, start, start
        self.events: list[Event] = []
        self.sums = dict.fromkeys(_CUMULATIVE, 0.0)

    def emit(self, kind: type[Event], **fields: Any) -> None:
        self.events.append(kind(**self.head, seq=len(self.events), timestamp=self.now, **fields))

    def pass_by(self, milliseconds: int) -> None:
        self.now += datetime.timedelta(milliseconds=milliseconds, microseconds=len(self.events))

    def tick(self, rng: random.Random) -> None:
        """Emit a sample or a step; figures are often missing, alike or at an end of their range."""
        if rng.random() < 0.4:
            told = {"epoch": rng.choice([None, 0, 3]), "step": rng.choice([None, 0, 9])}
            sums = {f"cumulative_{name}": self.sums[name] for name in ("energy_kwh", "emissions_kg")}
            self.emit(StepCompleted, loss=_some(rng, -7.0, 7.0), accuracy=_some(rng, 0.0, 1.0), **told, **sums)
            return
        kinds = rng.sample(list(DeviceKind), rng.randint(0, 2))
        self.sample(
            energies=[(kind, rng.choice([0, 7_000, rng.randint(0, 50_000_000)])) for kind in kinds],
            part=(rng.choice([0.0, 0.5, 1.0]), rng.choice([1.0, 2.0]), rng.choice([0.0, 0.3, 1.0])),
            interval_s=rng.choice([1.0, 5.0, 30.0]),
            pue=rng.choice([1.0, 1.2]),
            grid_intensity_g_per_kwh=rng.choice([0.0, 56.0, 381.7]),
            cpu_utilization_pct=_some(rng, 0.0, 100.0),
            gpu_utilization_pct=_some(rng, 0.0, 100.0),
        )

    def sample(self, energies: Sequence[tuple[DeviceKind, int]], part: tuple[float, float, float], **more: Any) -> None:
        devices = [_device(kind, millijoules / _MILLIJOULES_PER_KWH) for kind, millijoules in energies]
        energy, (low, high, measured) = math.fsum(device.energy_kwh for device in devices), part
        figures = {
            "energy_kwh": energy,
            "energy_low_kwh": energy * low,
            "energy_high_kwh": energy * high,
            "measured_energy_kwh": energy * measured,
            "emissions_kg": energy * more["pue"] * more["grid_intensity_g_per_kwh"] / 1000,
        }
        self.sums = {name: self.sums[name] + figures[name] for name in _CUMULATIVE}
        sums = {f"cumulative_{name}": value for name, value in self.sums.items()}
        power_w = energy * 3.6e6 / more["interval_s"]
        powers = {"power_avg_w": power_w, "power_max_w": power_w * 1.5}
        self.emit(HardwareSampled, devices=devices, **figures, **sums, **powers, **more)

    def finish(self, status: RunStatus) -> None:
        energy_kwh, emissions_kg = self.sums["energy_kwh"], self.sums["emissions_kg"]
        said = {"source_energy_kwh": energy_kwh, "source_emissions_kg": emissions_kg}
        duration_s = (self.now - self.start).total_seconds()
        self.emit(RunFinished, status=status, duration_s=duration_s, events_emitted=len(self.events) + 1, **said)


def _some(rng: random.Random, low: float, high: float) -> float | None:
    return rng.choice([None, low, high, rng.uniform(low, high), rng.uniform(low, high)])


def _device(kind: DeviceKind, energy_kwh: float) -> DeviceReading:
    method = Method.COUNTER if kind is DeviceKind.GPU else Method.MODELLED
    return DeviceReading(
        device_id=kind.value,
        kind=kind,
        energy_kwh=energy_kwh,
        energy_low_kwh=energy_kwh / 2,
        energy_high_kwh=energy_kwh * 2,
        method=method,
    )


_HEADS = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from(["ada", "grace", "unknown"]),
        "model_name": st.sampled_from(["mlp", "ResNet", "ö"]),
        "project": st.sampled_from([None, "thesis", ""]),
        "host": st.sampled_from(["a", "b"]),
        "rank": st.sampled_from([None, 0, 1]),
        "simulated": st.booleans(),
    }
)
# Each figure by a seed of its own: to draw every one from Hypothesis takes ten times as long.
_TICKS = st.lists(st.tuples(st.integers(0, 45_000), st.integers(0, 9_999)), max_size=10)
# Sources start together, one after the other (a restart), or bear the date of yesterday.
_STARTS_MS = st.one_of(st.just(0), st.integers(0, 180_000), st.just(-_ONE_DAY_MS))


@st.composite
def _source(draw: st.DrawFn, run_id: str, source_id: str) -> list[Event]:
    start = START + datetime.timedelta(milliseconds=draw(_STARTS_MS))
    source = _Source({"run_id": run_id, "source_id": source_id, **draw(_HEADS)}, start)
    source.emit(RunStarted, hyperparameters={"a.b": "$1"}, planned_epochs=draw(st.none() | st.integers(0, 5)))
    for milliseconds, seed in draw(_TICKS):
        source.pass_by(milliseconds)
        source.tick(random.Random(seed))
    if draw(st.booleans()):
        source.finish(draw(st.sampled_from(RunStatus)))
    return source.events


@st.composite
def runs(draw: st.DrawFn, most: int = 3) -> list[Event]:
    """Return what one to three runs emit, each by one to three sources: ranks at once, or starts after a crash."""
    events: list[Event] = []
    for run in range(draw(st.integers(1, most))):
        for source in range(draw(st.integers(1, 3))):
            events += draw(_source(f"run-{run}", f"source-{source}"))
    return events


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Return what runs emit, and a delivery of it."""
    emitted = draw(runs())
    rng = random.Random(draw(st.integers(0, 2**32 - 1)))
    lost, twice, broken = draw(st.tuples(*[st.sampled_from([0.0, share]) for share in (0.1, 0.4, 0.2)]))
    delivered = [event for event in _disordered(draw, emitted, rng) if rng.random() >= lost]
    entries = [(event, True) for event in delivered]
    _scatter(entries, [(event, True) for event in delivered if rng.random() < twice], rng)
    samples = [event for event in emitted if isinstance(event, HardwareSampled)]
    _scatter(entries, [(_broken(event, rng), False) for event in samples if rng.random() < broken], rng)
    log = _log(entries)
    batches = draw(_batches(log, most=3))
    if draw(st.booleans()):  # a lost checkpoint: the topic is read again from its start, in other batches
        batches += draw(_batches(log, most=2))
    return History(tuple(emitted), tuple(batches))


def _disordered(draw: st.DrawFn, emitted: Sequence[Event], rng: random.Random) -> list[Event]:
    """Return events in order of their time, held back by up to so many seconds, or in no order at all."""
    held_back_s = draw(st.sampled_from([0.0, 60.0, math.inf]))
    in_time = sorted(emitted, key=lambda event: (event.timestamp, event.run_id, event.source_id, event.seq))
    if math.isinf(held_back_s):
        rng.shuffle(in_time)
        return in_time
    return sorted(in_time, key=lambda event: event.timestamp.timestamp() + rng.uniform(0.0, held_back_s))


def _scatter(entries: list[tuple[Event, bool]], more: list[tuple[Event, bool]], rng: random.Random) -> None:
    for entry in more:
        entries.insert(rng.randint(0, len(entries)), entry)


def _broken(sample: HardwareSampled, rng: random.Random) -> HardwareSampled:
    return dataclasses.replace(sample, **BREAKS[rng.choice(sorted(BREAKS))](sample))  # type: ignore[arg-type]  # floats


def _log(entries: Sequence[tuple[Event, bool]]) -> list[Sent]:
    """Return the entries as messages: a run is a partition, as its id is the key."""
    offsets: Counter[int] = Counter()
    log = []
    for event, good in entries:
        partition = int(event.run_id.rpartition("-")[2])
        log.append(Sent(event, partition, offsets[partition], good))
        offsets[partition] += 1
    return log


@st.composite
def _batches(draw: st.DrawFn, log: list[Sent], most: int) -> list[Batch]:
    cuts = sorted(draw(st.sets(st.integers(0, len(log)), max_size=most - 1)))
    return [
        Batch(
            messages=tuple(log[first:last]),
            crashes=tuple(draw(st.lists(st.integers(0, 4), max_size=2))),
            fast_path=draw(st.sampled_from(["right", "behind", "wrong", "absent"])),
            pause_s=draw(st.sampled_from([0, 5, 70, 600])),
        )
        for first, last in itertools.pairwise([0, *cuts, len(log)])
        if first < last
    ]
