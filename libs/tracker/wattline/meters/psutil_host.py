"""Counters of the host and of a process tree by psutil, for systems without /proc."""

from __future__ import annotations

import psutil

from wattline.meters.host import CpuTimes, ProcessTimes

__all__ = ["PsutilHost"]


class PsutilHost:
    """A `Host` on any system. Children that ended count where the system keeps their time."""

    def __init__(self, pid: int | None = None) -> None:
        self._root = psutil.Process(pid)
        self.logical_cpus = psutil.cpu_count() or 1
        self.memory_total_bytes = int(psutil.virtual_memory().total)

    def cpu_times(self) -> CpuTimes:
        """Return psutil's counters."""
        times = psutil.cpu_times()._asdict()
        guests = times.get("guest", 0.0) + times.get("guest_nice", 0.0)  # are in user and nice too
        total = sum(times.values()) - guests
        steal = times.get("steal", 0.0)
        idle = times["idle"] + times.get("iowait", 0.0) + steal
        return CpuTimes(total - idle, total, steal)

    def processes(self) -> list[ProcessTimes]:
        """Return the tree; a process that ends while it is read is left out."""
        found = []
        for process in [self._root, *self._root.children(recursive=True)]:
            try:
                times = process.cpu_times()
                rss_bytes = int(process.memory_info().rss)
            except psutil.Error:
                continue
            children_s = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
            own_s = times.user + times.system
            found.append(ProcessTimes(process.pid, process.create_time(), own_s, children_s, rss_bytes))
        return found
