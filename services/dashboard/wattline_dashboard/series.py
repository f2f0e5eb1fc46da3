"""A run's curves from raw events or from windows, its sources added up; pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from wattline_common.store import DAY_S, HOUR_S, WINDOW_LENGTH_S, Aggregate, WindowDocument
from wattline_dashboard.curves import KINDS, Banded, Learning, Power, RunSeries
from wattline_dashboard.history import Sample, Step

__all__ = ["GRAINS", "Span", "by_device", "from_events", "from_windows"]

_MAX_LEARNING_CURVES = 8  # of sources, the newest
_HOLD_INTERVALS = 2.5  # a source not heard of for so many of its intervals draws no power any more
_HOLD_INTERVALS_THINNED = 6.0  # for gaps of random length
_MOST_DEVICES = 9  # in one chart; the rest is one more curve

Span = tuple[int, int]
"""From when to when a source was heard of, in microseconds since 1970."""

GRAINS: Mapping[int, str] = {WINDOW_LENGTH_S: "1-minute windows", HOUR_S: "hours", DAY_S: "days"}
"""What a window of a length in seconds is called."""


def from_events(samples: Sequence[Sample], steps: Sequence[Step], *, thinning: int = 1) -> RunSeries:
    """Return the curves of raw events in order of time; ``thinning`` events stand behind each."""
    energy = _running_total(samples, lambda each: (each.energy_kwh, each.energy_low_kwh, each.energy_high_kwh))
    split: Counter[str] = Counter()
    for sample in samples:
        split.update(sample.kind_energy_kwh)
    kinds = [kind for kind in KINDS if any(kind in sample.power_w for sample in samples)]
    return RunSeries(
        power=_power(samples, thinning, kinds, lambda each: each.power_w).thinned(),
        energy_kwh=energy.thinned(),
        emissions_kg=_running_total(samples, _emissions_band).thinned(),
        loss=_learning(steps, lambda step: step.loss),
        accuracy=_learning(steps, lambda step: step.accuracy),
        kind_energy=split,
        grain="each sample" if thinning == 1 else f"1 of {thinning} samples",
    )


def from_windows(windows: Sequence[WindowDocument], *, until: datetime, sources: Sequence[Span] = ()) -> RunSeries:
    """Return the curves of a run's windows (or hours, or days) in order of time: one point at each one's end.

    The run's own end bounds the last one. A window's power is the mean of a source: ``sources`` tell how many there
    were at the time.
    """
    points = [(_us(min(each["window_end"], until)), each["aggregate"]) for each in windows]
    sampled = [(end_us, aggregate) for end_us, aggregate in points if aggregate.get("samples")]
    energy, emissions = _window_totals(sampled)
    together = [
        _at_once(sources, _us(each["window_start"]), _us(each["window_end"]))
        for each in windows
        if each["aggregate"].get("samples")
    ]
    power = _window_power(sampled, together)
    split = {kind: sum(_kind_kwh(aggregate, kind) for _, aggregate in sampled) for kind in power.watts}
    return RunSeries(
        power=power.thinned(),
        energy_kwh=energy.thinned(),
        emissions_kg=emissions.thinned(),
        loss=_window_learning(points, lambda aggregate: aggregate.get("loss_avg")),
        accuracy=_window_learning(points, lambda aggregate: aggregate.get("accuracy_avg")),
        kind_energy=split,
        grain=GRAINS.get(windows[0]["length_s"], "") if windows else "",
    )


def by_device(samples: Sequence[Sample], hosts: Mapping[str, str], *, thinning: int = 1) -> Power:
    """Return power by device instead of by kind; the devices that use least are one curve.

    ``hosts`` has each source's host, which is part of a device's name where there are several.
    """
    prefixes = {source: f"{host} " if len(set(hosts.values())) > 1 else "" for source, host in hosts.items()}
    used: dict[str, float] = {}
    kinds: dict[str, str] = {}
    readings: dict[int, dict[str, float]] = {}
    for sample in samples:
        prefix = prefixes.get(sample.source_id, "")
        mine = readings[id(sample)] = {}
        for device_id, (kind, power_w) in sample.devices.items():
            name = f"{prefix}{device_id}"
            mine[name] = power_w
            kinds[name] = kind
            used[name] = used.get(name, 0.0) + power_w * sample.interval_s
    most = sorted(used, key=lambda name: -used[name])
    first = most if len(most) <= _MOST_DEVICES + 1 else most[:_MOST_DEVICES]
    rest = f"{len(used) - len(first)} others"

    def read(sample: Sample) -> Mapping[str, float]:
        mine = readings[id(sample)]
        others = sum(power_w for name, power_w in mine.items() if name not in first)
        return mine | {rest: others} if len(first) < len(used) else mine

    in_order = sorted(first, key=lambda name: (KINDS.index(kinds[name]) if kinds[name] in KINDS else 9, name))
    names = in_order if len(first) == len(used) else [*in_order, rest]
    return replace(_power(samples, thinning, names, read).thinned(), kinds=kinds | {rest: "OTHER"})


def _power(
    samples: Sequence[Sample], thinning: int, names: Sequence[str], read: Callable[[Sample], Mapping[str, float]]
) -> Power:
    """At each sample's time: the sum over sources of what each last drew by name, if it was heard of lately."""
    hold = _HOLD_INTERVALS if thinning == 1 else _HOLD_INTERVALS_THINNED * thinning
    power = Power(watts={name: [] for name in names})
    latest: dict[str, Sample] = {}
    for sample in samples:
        latest[sample.source_id] = sample
        for other in list(latest.values()):
            if sample.timestamp_us - other.timestamp_us > hold * max(other.interval_s, 1.0) * 1e6:
                del latest[other.source_id]
        power.times_us.append(sample.timestamp_us)
        drawn = [read(other) for other in latest.values()]
        for name in names:
            power.watts[name].append(sum(each.get(name, 0.0) for each in drawn))
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


def _window_power(points: Sequence[tuple[int, Aggregate]], together: Sequence[float]) -> Power:
    """Split each window's mean power as its energy splits."""
    kinds = [kind for kind in KINDS if any(_kind_kwh(aggregate, kind) for _, aggregate in points)]
    power = Power([end_us for end_us, _ in points], {kind: [] for kind in kinds})
    for (_, aggregate), sources in zip(points, together, strict=True):
        w_per_kwh = (aggregate.get("power_avg_w") or 0.0) * sources / (aggregate["energy_kwh"] or 1.0)
        for kind in kinds:
            power.watts[kind].append(w_per_kwh * _kind_kwh(aggregate, kind))
    return power


def _at_once(sources: Sequence[Span], start_us: int, end_us: int) -> float:
    """Return how many sources there were at once on average, in the part of a stretch in which there was any."""
    spans = sorted((max(first, start_us), min(last, end_us)) for first, last in sources)
    parts = [(first, last) for first, last in spans if first < last]
    covered_us, reached_us = 0, start_us
    for first, last in parts:
        covered_us += max(0, last - max(first, reached_us))
        reached_us = max(reached_us, last)
    return sum(last - first for first, last in parts) / covered_us if covered_us else 1.0


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
