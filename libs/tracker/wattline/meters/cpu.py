"""The CPU energy of a process tree, by the power model of its CPU family."""

from __future__ import annotations

import os
from pathlib import Path

from wattline.meters.base import Reading
from wattline.meters.cpu_models import AWS_MEAN, FAMILIES, CpuIdentity, CpuPower, band_j, power_model
from wattline.meters.host import CpuTimes, Host
from wattline.meters.tree import ProcessTree
from wattline_common.events import DeviceDescription, DeviceKind, Method

__all__ = ["CpuModelMeter", "allocated_cpus"]

_DEVICE_ID = "cpu"


class CpuModelMeter:
    """Charges a run for the CPU time of its process tree.

    A logical CPU draws ``idle_w + use * (full_w - idle_w)``. Of the active part the run is charged what its own CPU
    time caused. Idle policy: of the idle power of the CPUs of its cgroup (or host) the run is charged its share of
    their time, that is own CPU time over CPUs times time; so both together are ``full_w`` for each CPU second used,
    and the idle power of CPUs that nobody used is charged to nobody. The band holds the other policies (no idle at
    all; all of it, shared by those who ran) and the field's other models for the same use (`cpu_models.band_j`). A
    family that is not in the table is given the mean of AWS and the band of all families.

    ``share`` is the run's part of the energy that the model gives the whole host.
    """

    def __init__(self, host: Host, tree: ProcessTree, cpu: CpuIdentity, cpus_allocated: float) -> None:
        self._host = host
        self._tree = tree
        self._cpu = cpu
        known = power_model(cpu)
        self._power: CpuPower = known or AWS_MEAN
        self._band_of = (known,) if known else (AWS_MEAN, *FAMILIES.values())
        self._flags = ("process_share",) if known else ("process_share", "cpu_family_unknown")
        self._cpus_allocated = min(cpus_allocated, float(host.logical_cpus))
        self._last_s = 0.0
        self._last_own_s = 0.0
        self._last_times = CpuTimes(0.0, 0.0)

    def start(self, at_s: float) -> list[DeviceDescription]:
        """Set the baseline and describe the host's CPUs."""
        self._last_s = at_s
        self._last_own_s = self._tree.at(at_s).cpu_s
        self._last_times = self._host.cpu_times()
        return [
            DeviceDescription(
                device_id=_DEVICE_ID,
                kind=DeviceKind.CPU,
                model_name=self._cpu.product,
                method=Method.MODELLED,
                count=self._host.logical_cpus,
            )
        ]

    def read(self, at_s: float) -> list[Reading]:
        """Return the tree's CPU energy since the last read."""
        times, own_total_s = self._host.cpu_times(), self._tree.at(at_s).cpu_s
        interval_s = at_s - self._last_s
        capacity_s = self._host.logical_cpus * interval_s
        # Counters tick every 10 ms. What is more than the CPUs could give belongs to the next read.
        own_s = min(own_total_s - self._last_own_s, capacity_s)
        last = self._last_times
        passed = CpuTimes(times.busy_s - last.busy_s, times.total_s - last.total_s, times.steal_s - last.steal_s)
        self._last_s, self._last_times = at_s, times
        self._last_own_s += own_s
        return [self._reading(interval_s, own_s, min(max(passed.busy_s, own_s), capacity_s), passed)]

    def close(self) -> None:
        """Hold nothing."""

    def _reading(self, interval_s: float, own_s: float, busy_s: float, passed: CpuTimes) -> Reading:
        power, capacity_s = self._power, self._host.logical_cpus * interval_s
        energy_j = power.full_w * own_s
        host_j = power.idle_w * capacity_s + (power.full_w - power.idle_w) * busy_s
        low_j, high_j = band_j(
            self._band_of,
            own_s=own_s,
            busy_s=busy_s,
            capacity_s=capacity_s,
            allocated_s=self._cpus_allocated * interval_s,
        )
        return Reading(
            device_id=_DEVICE_ID,
            kind=DeviceKind.CPU,
            interval_s=interval_s,
            energy_j=energy_j,
            energy_low_j=min(low_j, energy_j),
            energy_high_j=max(high_j, energy_j),
            share=min(1.0, energy_j / host_j) if host_j > 0 else 0.0,
            utilization_pct=_percent(passed.busy_s, passed.total_s),
            steal_pct=_percent(passed.steal_s, passed.total_s),
            method=Method.MODELLED,
            model_name=power.name,
            flags=self._flags,
        )


def _percent(part_s: float, total_s: float) -> float | None:
    return min(100.0, max(0.0, 100.0 * part_s / total_s)) if total_s > 0 else None


def allocated_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> float:
    """Return how many CPUs this process may use: the least of its CPU mask and its cgroup's quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    limits = [float(len(affinity(0))) if affinity else float(os.cpu_count() or 1)]
    try:
        quota_us, period_us = (cgroup / "cpu.max").read_text(encoding="ascii").split()
        if quota_us != "max":
            limits.append(int(quota_us) / int(period_us))
    except (OSError, ValueError):
        pass  # no cgroup v2, or the root group: no quota
    return min(limits)
