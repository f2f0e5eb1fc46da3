"""Folds the readings between two samples into each device's part, and these into sums. Pure; here joules become kWh."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from wattline.meters.base import Reading, mean_power_w
from wattline_common import carbon
from wattline_common.events import DeviceKind, DeviceReading, Method

__all__ = ["JOULES_PER_KWH", "Interval", "Totals", "is_sound"]

JOULES_PER_KWH = 3.6e6
_MEASURED = frozenset({Method.COUNTER, Method.SAMPLED_POWER})


def is_sound(reading: Reading) -> bool:
    """Say whether a reading can be true: finite, not negative, and low <= energy <= high."""
    energies = (0.0, reading.energy_low_j, reading.energy_j, reading.energy_high_j)
    return all(map(math.isfinite, energies)) and list(energies) == sorted(energies)


@dataclass(slots=True)
class Interval:
    """The readings since ``start_s``. A device whose method changed within has one part for each method."""

    start_s: float
    end_s: float = field(init=False)
    power_max_w: float = 0.0
    _readings: dict[tuple[str, Method, str], list[Reading]] = field(default_factory=dict)
    _memory_bytes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.end_s = self.start_s

    @property
    def length_s(self) -> float:
        """Seconds from start to the last reading."""
        return self.end_s - self.start_s

    @property
    def cpu_steal_pct(self) -> float | None:
        """Mean time in percent that the hypervisor gave the host's CPUs to others, None when no meter says."""
        everything = (reading for readings in self._readings.values() for reading in readings)
        return _mean((reading.steal_pct, reading.interval_s) for reading in everything)

    def add(self, at_s: float, readings: Iterable[Reading]) -> None:
        """Take the readings of one tick."""
        power_w = 0.0
        for reading in readings:
            self._readings.setdefault((reading.device_id, reading.method, reading.model_name), []).append(reading)
            power_w += reading.power_w
            if reading.kind is DeviceKind.MEMORY and reading.memory_used_bytes is not None:
                self._memory_bytes[reading.device_id] = reading.memory_used_bytes
        self.power_max_w = max(self.power_max_w, power_w)
        self.end_s = max(self.end_s, at_s)

    def mean_use_pct(self, kind: DeviceKind) -> float | None:
        """Return the mean use of the devices of a kind, each over its time, None when none says."""
        by_device: dict[str, list[tuple[float | None, float]]] = {}
        for readings in self._readings.values():
            for reading in readings:
                if reading.kind is kind:
                    by_device.setdefault(reading.device_id, []).append((reading.utilization_pct, reading.interval_s))
        found = [mean for each in by_device.values() if (mean := _mean(each)) is not None]
        return math.fsum(found) / len(found) if found else None

    def memory_bytes(self) -> int | None:
        """Return the main memory in use by each device's last word, None when no device says."""
        return sum(self._memory_bytes.values()) if self._memory_bytes else None

    def devices(self) -> list[DeviceReading]:
        """Return each device's part."""
        return [self._part(readings) for readings in self._readings.values()]

    def _part(self, readings: list[Reading]) -> DeviceReading:
        last = readings[-1]
        energy_kwh = _kwh(reading.energy_j for reading in readings)
        integrated_j = [r.energy_integrated_j for r in readings if r.energy_integrated_j is not None]
        return DeviceReading(
            device_id=last.device_id,
            kind=last.kind,
            power_w=mean_power_w(energy_kwh * JOULES_PER_KWH, self.length_s),
            energy_kwh=energy_kwh,
            energy_low_kwh=_kwh(reading.energy_low_j for reading in readings),
            energy_high_kwh=_kwh(reading.energy_high_j for reading in readings),
            energy_integrated_kwh=_kwh(integrated_j) if integrated_j else None,
            share=min(1.0, _mean((reading.share, reading.interval_s) for reading in readings) or 0.0),
            utilization_pct=_mean((r.utilization_pct, r.interval_s) for r in readings),
            memory_used_bytes=last.memory_used_bytes,
            temperature_c=last.temperature_c,
            method=last.method,
            model_name=last.model_name,
            flags=sorted({flag for reading in readings for flag in reading.flags}),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over the devices of a sample, and over samples."""

    energy_kwh: float = 0.0
    energy_low_kwh: float = 0.0
    energy_high_kwh: float = 0.0
    measured_energy_kwh: float = 0.0
    emissions_kg: float = 0.0

    @classmethod
    def of(cls, devices: Sequence[DeviceReading], *, pue: float, grid_intensity_g_per_kwh: float) -> Totals:
        """Return the sums of a sample, priced."""
        # fsum rounds the exact sum, so low <= value <= high and measured <= value hold for the sums as for the parts.
        energy_kwh = math.fsum(device.energy_kwh for device in devices)
        return cls(
            energy_kwh=energy_kwh,
            energy_low_kwh=math.fsum(device.energy_low_kwh for device in devices),
            energy_high_kwh=math.fsum(device.energy_high_kwh for device in devices),
            measured_energy_kwh=math.fsum(device.energy_kwh for device in devices if device.method in _MEASURED),
            emissions_kg=carbon.emissions_kg(energy_kwh, pue=pue, grid_intensity_g_per_kwh=grid_intensity_g_per_kwh),
        )

    def plus(self, other: Totals) -> Totals:
        """Return the sums."""
        return Totals(
            energy_kwh=self.energy_kwh + other.energy_kwh,
            energy_low_kwh=self.energy_low_kwh + other.energy_low_kwh,
            energy_high_kwh=self.energy_high_kwh + other.energy_high_kwh,
            measured_energy_kwh=self.measured_energy_kwh + other.measured_energy_kwh,
            emissions_kg=self.emissions_kg + other.emissions_kg,
        )


def _kwh(joules: Iterable[float]) -> float:
    return math.fsum(joules) / JOULES_PER_KWH


def _mean(weighted: Iterable[tuple[float | None, float]]) -> float | None:
    """Return the mean weighted by time; the plain mean over no time; None of nothing."""
    known = [(value, weight) for value, weight in weighted if value is not None]
    if not known:
        return None
    total = math.fsum(weight for _, weight in known)
    if total <= 0:
        return math.fsum(value for value, _ in known) / len(known)
    return math.fsum(value * weight for value, weight in known) / total
