"""The energy of the memory that a process tree holds, by watts per GB."""

from __future__ import annotations

from wattline.meters.base import Reading
from wattline.meters.host import Host
from wattline.meters.tree import ProcessTree
from wattline_common.events import DeviceDescription, DeviceKind, Method

__all__ = ["MemoryModelMeter"]

_DEVICE_ID = "memory"
_BYTES_PER_GB = 1e9
_W_PER_GB = 0.392  # Cloud Carbon Footprint, mean of two vendors' figures
_LOW_W_PER_GB = 0.375  # the rule of 3 W per 8 GB
_HIGH_W_PER_GB = 0.793  # CodeCarbon 3 on a host of 23.5 GiB: four modules of 5 W guessed


class MemoryModelMeter:
    """Charges a run for the resident memory of its process tree, as a mean of the two ends of an interval.

    Memory that processes share counts in each of them; the lower end of the band counts the largest process only.
    """

    def __init__(self, host: Host, tree: ProcessTree) -> None:
        self._host = host
        self._tree = tree
        self._last_s = 0.0
        self._last_bytes = (0, 0)

    def start(self, at_s: float) -> list[DeviceDescription]:
        """Set the baseline and describe the host's memory."""
        self._last_s, self._last_bytes = at_s, self._bytes(at_s)
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
        """Return the energy of the tree's memory since the last read."""
        interval_s, (rss, largest), before = at_s - self._last_s, self._bytes(at_s), self._last_bytes
        self._last_s, self._last_bytes = at_s, (rss, largest)
        gb_s = (rss + before[0]) / 2 / _BYTES_PER_GB * interval_s
        largest_gb_s = (largest + before[1]) / 2 / _BYTES_PER_GB * interval_s
        of_host = min(1.0, rss / self._host.memory_total_bytes)
        return [
            Reading(
                device_id=_DEVICE_ID,
                kind=DeviceKind.MEMORY,
                interval_s=interval_s,
                energy_j=_W_PER_GB * gb_s,
                energy_low_j=_LOW_W_PER_GB * largest_gb_s,
                energy_high_j=_HIGH_W_PER_GB * gb_s,
                share=of_host,
                utilization_pct=100.0 * of_host,
                memory_used_bytes=rss,
                method=Method.MODELLED,
                model_name=f"CCF {_W_PER_GB} W per GB",
                flags=("process_share",),
            )
        ]

    def close(self) -> None:
        """Hold nothing."""

    def _bytes(self, at_s: float) -> tuple[int, int]:
        use = self._tree.at(at_s)
        total = self._host.memory_total_bytes
        return min(use.rss_bytes, total), min(use.largest_rss_bytes, total)
