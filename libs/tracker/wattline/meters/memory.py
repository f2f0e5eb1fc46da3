"""The energy of the memory that is kept for a run, by watts per GB."""

from __future__ import annotations

from dataclasses import dataclass

from wattline.meters.base import Reading
from wattline.meters.cgroup import Cgroup
from wattline.meters.host import Host
from wattline.meters.share import OwnUse
from wattline_common.events import DeviceDescription, DeviceKind, Method

__all__ = ["MemoryModelMeter"]

_DEVICE_ID = "memory"
_BYTES_PER_GB = 1e9
_W_PER_GB = 0.392  # Cloud Carbon Footprint's memory coefficient
_LOW_W_PER_GB = 0.375  # the rule of 3 W per 8 GB
_HIGH_W_PER_GB = 0.793  # CodeCarbon 3 on a host of 23.5 GiB: four modules of 5 W guessed


@dataclass(frozen=True, slots=True)
class _Held:
    """Bytes at one moment: resident, those of the largest process, and what is charged."""

    resident: int
    largest: int
    charged: int


class MemoryModelMeter:
    """Charges a run for the memory that is kept for it, as a mean of the two ends of an interval.

    In a control group with a limit, the whole limit is allocated: the run is charged the part of it that its resident
    memory is of all the group's (flag ``by_allocation``), so runs in one group never add up to more than it. Elsewhere
    it is charged its resident memory. An allocation that only the job's scheduler tells, and that its other processes
    may share, is the upper end of the band.

    Memory that processes share counts in each of them; the lower end of the band counts the largest process only.
    """

    def __init__(
        self, host: Host, own: OwnUse, cgroup: Cgroup | None = None, allocated_bytes: int | None = None
    ) -> None:
        self._host = host
        self._own = own
        self._cgroup = cgroup or Cgroup()
        limit_bytes = self._cgroup.memory_limit_bytes()
        # A limit above the host's memory is none.
        self._limit_bytes = limit_bytes if limit_bytes and limit_bytes < host.memory_total_bytes else None
        self._most_bytes = min(allocated_bytes or 0, host.memory_total_bytes)
        self._last_s = 0.0
        self._last = _Held(0, 0, 0)

    def start(self, at_s: float) -> list[DeviceDescription]:
        """Set the baseline and describe the host's memory."""
        self._last_s, self._last = at_s, self._held(at_s)
        return [
            DeviceDescription(
                device_id=_DEVICE_ID,
                kind=DeviceKind.MEMORY,
                model_name="memory",
                method=Method.MODELLED,
                memory_total_bytes=self._host.memory_total_bytes,
            )
        ]

    def read(self, at_s: float) -> list[Reading]:
        """Return the energy of the run's memory since the last read."""
        interval_s, held, before = at_s - self._last_s, self._held(at_s), self._last
        self._last_s, self._last = at_s, held

        def gb_s(one: int, other: int) -> float:
            return (one + other) / 2 / _BYTES_PER_GB * interval_s

        charged_gb_s = gb_s(held.charged, before.charged)
        of_host = min(1.0, held.charged / self._host.memory_total_bytes)
        flags = ("process_share", "by_allocation") if self._limit_bytes else ("process_share",)
        return [
            Reading(
                device_id=_DEVICE_ID,
                kind=DeviceKind.MEMORY,
                interval_s=interval_s,
                energy_j=_W_PER_GB * charged_gb_s,
                energy_low_j=_LOW_W_PER_GB * gb_s(held.largest, before.largest),
                energy_high_j=_HIGH_W_PER_GB * max(charged_gb_s, self._most_bytes / _BYTES_PER_GB * interval_s),
                share=of_host,
                utilization_pct=100.0 * min(1.0, held.resident / self._host.memory_total_bytes),
                memory_used_bytes=held.resident,
                method=Method.MODELLED,
                model_name=f"CCF {_W_PER_GB} W per GB",
                flags=flags,
            )
        ]

    def close(self) -> None:
        """Hold nothing."""

    def _held(self, at_s: float) -> _Held:
        use, total = self._own.at(at_s), self._host.memory_total_bytes
        resident, largest = min(use.rss_bytes, total), min(use.largest_rss_bytes, total)
        if self._limit_bytes is None:
            return _Held(resident, largest, resident)
        in_use = max(self._cgroup.memory_bytes() or resident, resident, 1)
        return _Held(resident, largest, max(resident, round(self._limit_bytes * resident / in_use)))
