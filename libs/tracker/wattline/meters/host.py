"""What the CPU and memory meters ask of the operating system: CPU time of the host, and the processes of a tree.

`ProcHost` reads Linux's /proc at a small and known cost; `psutil_host.PsutilHost` does the same everywhere else.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = ["CpuTimes", "Host", "ProcHost", "ProcessTimes", "detect_host"]

_RESCAN_EVERY = 60


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """CPU seconds since boot, summed over all logical CPUs."""

    busy_s: float
    total_s: float
    steal_s: float = 0.0
    """Given to others by the hypervisor while something here could have run; in the total only."""


@dataclass(frozen=True, slots=True)
class ProcessTimes:
    """One process: CPU seconds of its own and of its children that ended and were waited for, and memory."""

    pid: int
    started: float
    """Start in the host's own unit; with the pid it identifies the process."""
    own_s: float
    children_s: float
    rss_bytes: int

    @property
    def key(self) -> tuple[int, float]:
        """Identity, safe against reused pids."""
        return self.pid, self.started


class Host(Protocol):
    """Counters of the host and of the process tree under one process."""

    @property
    def logical_cpus(self) -> int:
        """Number of logical CPUs of the host."""
        ...

    @property
    def memory_total_bytes(self) -> int:
        """Memory of the host."""
        ...

    def cpu_times(self) -> CpuTimes:
        """Return the counters of all CPUs."""
        ...

    def processes(self) -> list[ProcessTimes]:
        """Return the root process and its descendants, every parent before its children."""
        ...


def detect_host(pid: int | None = None) -> Host:
    """Return the host of a process; without a pid, of this one."""
    if Path("/proc/stat").exists():
        return ProcHost(pid=pid)
    from wattline.meters.psutil_host import PsutilHost  # only where it is needed: the import costs more than a read

    return PsutilHost(pid)


class ProcHost:
    """Reads Linux's /proc. ``root`` and ``pid`` are arguments so that recorded trees can be replayed."""

    def __init__(self, root: str = "/proc", pid: int | None = None, ticks_per_s: int | None = None) -> None:
        self._root = root
        self._pid = pid or os.getpid()
        self._ticks_per_s = ticks_per_s or os.sysconf("SC_CLK_TCK")
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")
        self._strangers: set[str] = set()
        self._scans = 0
        stat = Path(root, "stat").read_text(encoding="ascii")
        self.logical_cpus = sum(line.startswith("cpu") and line[3].isdigit() for line in stat.splitlines())
        meminfo = Path(root, "meminfo").read_text(encoding="ascii")
        self.memory_total_bytes = int(meminfo.partition("MemTotal:")[2].split()[0]) * 1024

    def cpu_times(self) -> CpuTimes:
        """Return the counters of /proc/stat; iowait is idle, and stolen time is in the total only."""
        ticks = [int(text) for text in _contents(f"{self._root}/stat").partition(b"\n")[0].split()[1:9]]
        user, nice, system, idle, iowait, irq, softirq, steal = ticks
        busy = user + nice + system + irq + softirq
        per_s = self._ticks_per_s
        return CpuTimes(busy / per_s, (busy + idle + iowait + steal) / per_s, steal / per_s)

    def processes(self) -> list[ProcessTimes]:
        """Return the tree; a process that ends while it is read is left out."""
        root = self._stat(str(self._pid))
        if root is None:
            return []
        found, parents = [root[1]], {self._pid}
        # A parent has the lower pid but where pids wrapped around; then the child is found by a further round.
        waiting = self._candidates()
        while waiting:
            children = [(pid, stat) for pid, (parent, stat) in waiting.items() if parent in parents]
            if not children:
                break
            for pid, stat in children:
                del waiting[pid]
                parents.add(stat.pid)
                found.append(stat)
        self._strangers.update(waiting)
        return found

    def _candidates(self) -> dict[str, tuple[int, ProcessTimes]]:
        """Return the processes that are not known to belong to others: a full scan now and then, else the new ones."""
        if self._scans % _RESCAN_EVERY == 0:
            self._strangers = {str(self._pid)}
        self._scans += 1
        pids = {name for name in os.listdir(self._root) if name.isdigit()}  # noqa: PTH208  # once a second: half the cost of a Path
        self._strangers &= pids
        stats = ((pid, self._stat(pid)) for pid in sorted(pids - self._strangers, key=int))
        return {pid: stat for pid, stat in stats if stat is not None}

    def _stat(self, pid: str) -> tuple[int, ProcessTimes] | None:
        """Return parent and times of a process, None when it is gone."""
        try:
            text = _contents(f"{self._root}/{pid}/stat")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return None
        fields = text[text.rindex(b")") + 2 :].split()  # the name before may hold blanks and brackets
        per_s = self._ticks_per_s
        return int(fields[1]), ProcessTimes(
            pid=int(pid),
            started=float(fields[19]),
            own_s=(int(fields[11]) + int(fields[12])) / per_s,
            children_s=(int(fields[13]) + int(fields[14])) / per_s,
            rss_bytes=int(fields[21]) * self._page_bytes,
        )


def _contents(path: str) -> bytes:
    """Return the beginning of a file, which holds all that is asked for: a third of the cost of an `open`."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, 4096)
    finally:
        os.close(file)
