"""The CPU energy of a run by a power model, where the CPUs' own counters cannot be read."""

from __future__ import annotations

import os
from dataclasses import replace

from wattline.meters.base import Reading
from wattline.meters.cgroup import Cgroup
from wattline.meters.cpu_charge import CpuModel
from wattline.meters.host import CpuTimes, Host
from wattline.meters.share import CpuMark, OwnUse
from wattline_common.events import DeviceDescription, DeviceKind, Method

__all__ = ["CpuModelMeter", "allocated_cpus"]

_DEVICE_ID = "cpu"


class CpuModelMeter:
    """Charges a run for the CPU time of its own processes, as its model says.

    ``share`` is the run's part of the energy that the model gives the whole host. ``flags`` are added to each
    reading's, such as why there is no meter.
    """

    def __init__(
        self,
        host: Host,
        own: OwnUse,
        model: CpuModel,
        *,
        product: str,
        cpus_allocated: float,
        flags: tuple[str, ...] = (),
    ) -> None:
        self._host = host
        self._own = own
        self._model = model
        self._product = product
        self._flags = (*model.flags, *flags)
        self._cpus_allocated = min(cpus_allocated, float(host.logical_cpus))
        self._mark = CpuMark(0.0, 0.0, CpuTimes(0.0, 0.0))

    def start(self, at_s: float) -> list[DeviceDescription]:
        """Set the baseline and describe the host's CPUs."""
        self._mark = CpuMark.now(at_s, self._host, self._own)
        return [
            DeviceDescription(
                device_id=_DEVICE_ID,
                kind=DeviceKind.CPU,
                model_name=self._product,
                method=Method.MODELLED,
                count=self._host.logical_cpus,
            )
        ]

    def read(self, at_s: float) -> list[Reading]:
        """Return the run's CPU energy since the last read."""
        mark = CpuMark.now(at_s, self._host, self._own)
        window = self._mark.until(mark, self._host.logical_cpus)
        # Counters tick every 10 ms. What is more than the CPUs could give belongs to the next read.
        self._mark = replace(mark, own_s=self._mark.own_s + window.own_s)
        charge = self._model.charge(window, self._cpus_allocated)
        return [
            Reading(
                device_id=_DEVICE_ID,
                kind=DeviceKind.CPU,
                interval_s=window.interval_s,
                energy_j=charge.energy_j,
                energy_low_j=charge.low_j,
                energy_high_j=charge.high_j,
                share=charge.share,
                utilization_pct=window.utilization_pct,
                steal_pct=window.steal_pct,
                method=Method.MODELLED,
                model_name=self._model.name,
                flags=self._flags,
            )
        ]

    def close(self) -> None:
        """Hold nothing."""


def allocated_cpus(cgroup: Cgroup) -> float:
    """Return how many CPUs this process may use: the least of its CPU mask and its control group's quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    mask = float(len(affinity(0))) if affinity else float(os.cpu_count() or 1)
    quota = cgroup.cpu_limit()
    return mask if quota is None else min(mask, quota)
