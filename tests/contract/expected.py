"""What the store must end in, by the plainest means: a dict of the events that count, summed with `math.fsum`."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.contract.histories import Sent
from wattline_common.events import Event, HardwareSampled, RunFinished, StepCompleted

__all__ = ["TOTALS", "Expected", "Run", "expected"]

TOTALS = ("energy_kwh", "energy_low_kwh", "energy_high_kwh", "measured_energy_kwh", "emissions_kg")
_MINUTE_US = 60_000_000
_WORST_FIRST = ("RUNNING", "FAILED", "STOPPED", "UNKNOWN", "COMPLETED")


@dataclass(slots=True)
class Run:
    """One run's events that count, by source and seq."""

    sources: dict[str, dict[int, Event]] = field(default_factory=lambda: defaultdict(dict))

    @property
    def events(self) -> list[Event]:
        """Return all of them."""
        return [event for source in self.sources.values() for event in source.values()]

    @property
    def samples(self) -> list[HardwareSampled]:
        """Return those that feed totals."""
        return [event for event in self.events if isinstance(event, HardwareSampled)]

    @property
    def status(self) -> str:
        """Return RUNNING while a source has no end, else the worst end."""
        ends = {_end(source) for source in self.sources.values()}
        return next(status for status in _WORST_FIRST if status in ends)

    @property
    def events_expected(self) -> int:
        """Return how many events the sources are known to have emitted."""
        return sum(_numbered(source) for source in self.sources.values())

    @property
    def whole(self) -> bool:
        """Return whether no source is known to lack an event."""
        return all(_numbered(source) == len(source) for source in self.sources.values())

    def said(self, name: str) -> float:
        """Return the sum of a figure as each source's last sample gave it, gaps or not."""
        last = [
            max((s for s in source.values() if isinstance(s, HardwareSampled)), key=lambda s: s.seq, default=None)
            for source in self.sources.values()
        ]
        return math.fsum(getattr(sample, f"cumulative_{name}") for sample in last if sample is not None)

    def summed(self, name: str) -> float:
        """Return the sum of a figure over the samples that came."""
        return math.fsum(getattr(sample, name) for sample in self.samples)

    def last_told(self, name: str) -> Any:
        """Return a step's figure as the source that spoke last gave it last; None where nobody did."""
        told = None
        for _, source in sorted(
            self.sources.items(), key=lambda item: (_last_us(item[1]), _first_us(item[1]), item[0])
        ):
            for seq in sorted(source):
                value = getattr(source[seq], name) if isinstance(source[seq], StepCompleted) else None
                told = told if value is None else value
        return told

    def first_said(self, name: str) -> Any:
        """Return what the first of its sources that knows calls the run; the first one's word where none does."""
        in_order = sorted(self.sources.items(), key=lambda item: (_first_us(item[1]), item[0]))
        values = [getattr(next(iter(source.values())), name) for _, source in in_order]
        return next((value for value in values if value not in {None, "unknown"}), values[0])

    @property
    def power_w(self) -> float | None:
        """Return what the sources that still run drew by their last samples; None without any."""
        live = [source for source in self.sources.values() if _finish(source) is None]
        samples = [[event for event in source.values() if isinstance(event, HardwareSampled)] for source in live]
        powers = [max(each, key=lambda sample: sample.seq).power_avg_w for each in samples if each]
        return math.fsum(powers) if powers else None

    def windows(self) -> dict[int, dict[str, Any]]:
        """Return start in microseconds -> figures of each minute that has events."""
        minutes: dict[int, list[Event]] = defaultdict(list)
        for event in self.events:
            minutes[_us(event) // _MINUTE_US * _MINUTE_US].append(event)
        return {start_us: _figures(events) for start_us, events in minutes.items()}


@dataclass(frozen=True, slots=True)
class Expected:
    """The events that count, by id, and their runs."""

    events: dict[str, Event]
    runs: dict[str, Run]
    rejected: set[tuple[int, int]]


def expected(log: Iterable[Sent]) -> Expected:
    """Return what a topic's messages come to, whatever their order."""
    events: dict[str, Event] = {}
    runs: dict[str, Run] = defaultdict(Run)
    rejected = set()
    for sent in log:
        event = sent.event
        if not sent.good:
            rejected.add((sent.partition, sent.offset))
        elif events.setdefault("|".join((event.run_id, event.source_id, str(event.seq))), event) is event:
            runs[event.run_id].sources[event.source_id][event.seq] = event
    return Expected(events, dict(runs), rejected)


def _us(event: Event) -> int:
    moment = event.timestamp
    return int(moment.replace(microsecond=0).timestamp()) * 1_000_000 + moment.microsecond


def _first_us(source: dict[int, Event]) -> int:
    return min(_us(event) for event in source.values())


def _last_us(source: dict[int, Event]) -> int:
    return max(_us(event) for event in source.values())


def _finish(source: dict[int, Event]) -> RunFinished | None:
    return next((event for event in source.values() if isinstance(event, RunFinished)), None)


def _end(source: dict[int, Event]) -> str:
    finish = _finish(source)
    return str(finish.status) if finish else "RUNNING"


def _numbered(source: dict[int, Event]) -> int:
    finish = _finish(source)
    return finish.events_emitted if finish else max(source) + 1


def _figures(events: Sequence[Event]) -> dict[str, Any]:
    samples = [event for event in events if isinstance(event, HardwareSampled)]
    steps = [event for event in events if isinstance(event, StepCompleted)]
    energies = [sample.energy_kwh for sample in samples]
    cpu = _given(samples, "cpu_utilization_pct")
    seconds = math.fsum(sample.interval_s for sample in samples)
    return {
        "events": len(events),
        "samples": len(samples),
        **{name: math.fsum(getattr(sample, name) for sample in samples) for name in TOTALS},
        **{f"energy_{kind.lower()}_kwh": _of_kind(samples, kind) for kind in ("CPU", "GPU", "MEMORY", "OTHER")},
        "power_avg_w": math.fsum(energies) * 3.6e6 / seconds if seconds else None,
        "power_max_w": max((sample.power_max_w for sample in samples), default=None),
        **{f"energy_p{share}_kwh": _percentile(energies, share / 100) for share in (50, 90, 99)},
        "cpu_utilization_avg_pct": _mean(cpu),
        "cpu_utilization_stddev_pct": statistics.pstdev(cpu) if cpu else None,
        "gpu_utilization_avg_pct": _mean(_given(samples, "gpu_utilization_pct")),
        "loss_avg": _mean(_given(steps, "loss")),
        "accuracy_avg": _mean(_given(steps, "accuracy")),
        "energy_cpu_utilization_corr": _correlation(samples),
    }


def _of_kind(samples: Sequence[HardwareSampled], kind: str) -> float:
    return math.fsum(device.energy_kwh for sample in samples for device in sample.devices if device.kind == kind)


def _given(events: Sequence[Event], name: str) -> list[float]:
    values = [getattr(event, name) for event in events]
    return [value for value in values if value is not None]


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _percentile(values: Sequence[float], share: float) -> float | None:
    """Return the percentile between the two values nearest to it."""
    if not values:
        return None
    ordered, place = sorted(values), share * (len(values) - 1)
    below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
    return below + (above - below) * (place - math.floor(place))


def _correlation(samples: Sequence[HardwareSampled]) -> float | None:
    """Return Pearson's correlation of energy and CPU use; None where either is constant."""
    pairs = [(s.energy_kwh, s.cpu_utilization_pct) for s in samples if s.cpu_utilization_pct is not None]
    if len({energy for energy, _ in pairs}) < 2 or len({cpu for _, cpu in pairs}) < 2:
        return None
    return statistics.correlation([energy for energy, _ in pairs], [cpu for _, cpu in pairs])
