"""A meter for devices that do not exist: power follows what the training does, energy is whole millijoules."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from wattline.meters.base import Reading
from wattline_common.events import DeviceDescription, DeviceKind, Method
from wattline_trainer.simulate.catalog import Pool
from wattline_trainer.simulate.schedule import Schedule

__all__ = ["Device", "SimulatedMeter", "devices_of"]

_GB = 10**9
_MJ_PER_J = 1000
_MEMORY_W_PER_GB = 0.392
_CEILING = 0.98
# Use while warming up, stalled, evaluating and training, as a share of 1.
_GPU_USE = (0.08, 0.04, 0.58, 0.95)
_CPU_USE_WITH_GPU = (0.55, 0.12, 0.38, 0.32)
_CPU_USE_ALONE = (0.30, 0.08, 0.62, 0.93)
_NO_USE = (0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Device:
    """A device, its power when idle and at full load in W, its use by activity, and its memory in use."""

    description: DeviceDescription
    idle_w: float
    max_w: float
    use: tuple[float, float, float, float]
    memory_used_bytes: int | None = None


def devices_of(pool: Pool, gpus: int, memory_share: float) -> tuple[Device, ...]:
    """Return the devices that a run uses on a host: its processors, its memory and some of its GPUs."""

    def device(
        name: str,
        kind: DeviceKind,
        model_name: str,
        watts: tuple[float, float],
        use: tuple[float, float, float, float],
        memory_gb: int,
        count: int = 1,
    ) -> Device:
        description = DeviceDescription(
            device_id=name,
            kind=kind,
            model_name=model_name,
            method=Method.SIMULATED,
            count=count,
            memory_total_bytes=memory_gb * _GB or None,
        )
        return Device(description, *watts, use, int(memory_gb * _GB * memory_share) if memory_gb else None)

    cpu, memory_w = pool.cpu, pool.memory_gb * _MEMORY_W_PER_GB
    cpu_use = _CPU_USE_WITH_GPU if gpus else _CPU_USE_ALONE
    found = [
        device("cpu", DeviceKind.CPU, cpu.model_name, (cpu.idle_w, cpu.max_w), cpu_use, 0, cpu.vcpus),
        device("memory", DeviceKind.MEMORY, f"DDR4 {pool.memory_gb} GB", (memory_w,) * 2, _NO_USE, pool.memory_gb),
    ]
    if pool.gpu is not None:
        gpu, watts = pool.gpu, (pool.gpu.idle_w, pool.gpu.max_w)
        found += [
            device(f"gpu{index}", DeviceKind.GPU, gpu.model_name, watts, _GPU_USE, gpu.memory_gb)
            for index in range(gpus)
        ]
    return tuple(found)


class SimulatedMeter:
    """The devices of one host under one schedule. Every energy is a whole number of millijoules, so sums are exact."""

    def __init__(self, devices: Sequence[Device], schedule: Schedule, chance: random.Random) -> None:
        self._devices = devices
        self._schedule = schedule
        self._chance = chance
        self._start_s = self._last_s = 0.0
        self._last = schedule.until(0.0)

    def start(self, at_s: float) -> list[DeviceDescription]:
        """Set the baseline and return the devices."""
        self._start_s = self._last_s = at_s
        return [device.description for device in self._devices]

    def read(self, at_s: float) -> list[Reading]:
        """Return what each device used since the last read."""
        interval_s, self._last_s = at_s - self._last_s, at_s
        now = self._schedule.until(at_s - self._start_s)
        spent, self._last = now.since(self._last), now
        if interval_s <= 0:
            return []
        shares = tuple(
            part_s / interval_s for part_s in (spent.warming_s, spent.stalled_s, spent.evaluating_s, spent.training_s)
        )
        return [self._reading(device, shares, interval_s) for device in self._devices]

    def close(self) -> None:
        """Hold nothing."""

    def _reading(self, device: Device, shares: tuple[float, ...], interval_s: float) -> Reading:
        about = device.description
        use = sum(share * use for share, use in zip(shares, device.use, strict=True))
        if device.use is not _NO_USE:
            use = min(_CEILING, max(0.0, use * (1.0 + self._chance.gauss(0.0, 0.03))))
        power_w = device.idle_w + (device.max_w - device.idle_w) * use
        energy_mj = round(power_w * interval_s * _MJ_PER_J)
        hot = about.kind is DeviceKind.GPU
        return Reading(
            device_id=about.device_id,
            kind=about.kind,
            interval_s=interval_s,
            energy_j=energy_mj / _MJ_PER_J,
            energy_low_j=energy_mj * 9 // 10 / _MJ_PER_J,
            energy_high_j=(energy_mj * 11 + 9) // 10 / _MJ_PER_J,
            utilization_pct=None if about.kind is DeviceKind.MEMORY else 100.0 * use,
            memory_used_bytes=device.memory_used_bytes,
            temperature_c=34.0 + 44.0 * use if hot else None,
            method=Method.SIMULATED,
            model_name=about.model_name,
        )
