"""A run's curves from raw events or from windows, its sources added up; pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from wattline_common.store import Aggregate, WindowDocument
from wattline_dashboard.curves import KINDS, Banded, Learning, Power, RunSeries
from wattline_dashboard.history import Sample, Step

__all__ = ["from_events", "from_windows"]

_MAX_LEARNING_CURVES = 8  # of sources, the newest
_HOLD_INTERVALS = 2.5  # a source not heard of for so many of its intervals draws no power any more
_HOLD_INTERVALS_THINNED = 6.0  # for gaps of random length


def from_events(samples: Sequence[Sample], steps: Sequence[Step], *, thinning: int = 1) -> RunSeries:
    """Return the curves of raw events in order of time; ``thinning`` events stand behind each."""
    energy = _running_total(samples, lambda each: (each.energy_kwh, each.energy_low_kwh, each.energy_high_kwh))
    split: Counter[str] = Counter()
    for sample in samples:
        split.update(sample.kind_energy_kwh)
    return RunSeries(
        power=_power(samples, thinning).thinned(),
        energy_kwh=energy.thinned(),
        emissions_kg=_running_total(samples, _emissions_band).thinned(),
        loss=_learning(steps, lambda step: step.loss),
        accuracy=_learning(steps, lambda step: step.accuracy),
        kind_energy=split,
        grain="each sample" if thinning == 1 else f"1 of {thinning} samples",
    )


def from_windows(windows: Sequence[WindowDocument], *, until: datetime) -> RunSeries:
    """Return the curves of windows in order of time: one point a window, at its end or at the run's."""
    points = [(_us(min(each["window_end"], until)), each["aggregate"]) for each in windows]
    sampled = [(end_us, aggregate) for end_us, aggregate in points if aggregate.get("samples")]
    energy, emissions = _window_totals(sampled)
    power = _window_power(sampled)
    split = {kind: sum(_kind_kwh(aggregate, kind) for _, aggregate in sampled) for kind in power.watts}
    return RunSeries(
        power=power.thinned(),
        energy_kwh=energy.thinned(),
        emissions_kg=emissions.thinned(),
        loss=_window_learning(points, lambda aggregate: aggregate.get("loss_avg")),
        accuracy=_window_learning(points, lambda aggregate: aggregate.get("accuracy_avg")),
        kind_energy=split,
        grain="1-minute windows",
    )


def _power(samples: Sequence[Sample], thinning: int) -> Power:
    """At each sample's time: the sum over sources of what each last drew, if it was heard of lately."""
    kinds = [kind for kind in KINDS if any(kind in sample.power_w for sample in samples)]
    hold = _HOLD_INTERVALS if thinning == 1 else _HOLD_INTERVALS_THINNED * thinning
    power = Power(watts={kind: [] for kind in kinds})
    latest: dict[str, Sample] = {}
    for sample in samples:
        latest[sample.source_id] = sample
        for other in list(latest.values()):
            if sample.timestamp_us - other.timestamp_us > hold * max(other.interval_s, 1.0) * 1e6:
                del latest[other.source_id]
        power.times_us.append(sample.timestamp_us)
        for kind in kinds:
            power.watts[kind].append(sum(other.power_w.get(kind, 0.0) for other in latest.values()))
    return power


def _running_total(samples: Sequence[Sample], read: Callable[[Sample], tuple[float, float, float]]) -> Banded:
    """At each sample's time: the sum over sources of each one's own running total."""
    total = Banded()
    latest: dict[str, tuple[float, float, float]] = {}
    for sample in samples:
        latest[sample.source_id] = read(sample)
        total.times_us.append(sample.timestamp_us)
        total.append(*(sum(column) for column in zip(*latest.values(), strict=True)))
    return total


def _emissions_band(sample: Sample) -> tuple[float, float, float]:
    return _scaled_band(sample.emissions_kg, sample.energy_kwh, sample.energy_low_kwh, sample.energy_high_kwh)


def _scaled_band(value: float, energy: float, low: float, high: float) -> tuple[float, float, float]:
    """Give emissions the relative band of their energy: PUE and intensity are taken as they are."""
    return (value, value * low / energy, value * high / energy) if energy else (value, value, value)


def _learning(steps: Sequence[Step], read: Callable[[Step], float | None]) -> list[Learning]:
    by_source: dict[str, Learning] = {}
    for step in steps:
        value = read(step)
        if value is not None:
            curve = by_source.setdefault(step.source_id, Learning(step.source_id))
            curve.times_us.append(step.timestamp_us)
            curve.values.append(value)
    newest = sorted(by_source.values(), key=lambda curve: curve.times_us[-1])[-_MAX_LEARNING_CURVES:]
    return [curve.thinned() for curve in newest]


def _window_totals(points: Sequence[tuple[int, Aggregate]]) -> tuple[Banded, Banded]:
    ends_us = [end_us for end_us, _ in points]
    energy, emissions = Banded(ends_us), Banded(ends_us)
    total_kwh = low_kwh = high_kwh = total_kg = 0.0
    for _, aggregate in points:
        total_kwh += aggregate["energy_kwh"]
        low_kwh += aggregate["energy_low_kwh"]
        high_kwh += aggregate["energy_high_kwh"]
        total_kg += aggregate["emissions_kg"]
        energy.append(total_kwh, low_kwh, high_kwh)
        emissions.append(*_scaled_band(total_kg, total_kwh, low_kwh, high_kwh))
    return energy, emissions


def _window_power(points: Sequence[tuple[int, Aggregate]]) -> Power:
    """Split each window's mean power as its energy splits."""
    kinds = [kind for kind in KINDS if any(_kind_kwh(aggregate, kind) for _, aggregate in points)]
    power = Power([end_us for end_us, _ in points], {kind: [] for kind in kinds})
    for _, aggregate in points:
        w_per_kwh = (aggregate.get("power_avg_w") or 0.0) / (aggregate["energy_kwh"] or 1.0)
        for kind in kinds:
            power.watts[kind].append(w_per_kwh * _kind_kwh(aggregate, kind))
    return power


def _window_learning(
    points: Sequence[tuple[int, Aggregate]], read: Callable[[Aggregate], float | None]
) -> list[Learning]:
    known = [(end_us, value) for end_us, aggregate in points if (value := read(aggregate)) is not None]
    return [Learning("", [end_us for end_us, _ in known], [value for _, value in known]).thinned()] if known else []


def _kind_kwh(aggregate: Aggregate, kind: str) -> float:
    energies: Mapping[str, float] = {
        "CPU": aggregate.get("energy_cpu_kwh", 0.0),
        "GPU": aggregate.get("energy_gpu_kwh", 0.0),
        "MEMORY": aggregate.get("energy_memory_kwh", 0.0),
        "OTHER": aggregate.get("energy_other_kwh", 0.0),
    }
    return energies[kind]


def _us(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)
