"""CPU time and memory of a process tree as one count that never falls, however its processes come and go."""

from __future__ import annotations

from dataclasses import dataclass

from wattline.meters.host import Host, ProcessTimes

__all__ = ["ProcessTree", "TreeUse"]


@dataclass(frozen=True, slots=True)
class TreeUse:
    """What the tree has used."""

    cpu_s: float
    """CPU seconds since the tree was first read (or since its start); never falls."""
    rss_bytes: int
    """Resident memory, summed over the processes (pages they share count in each)."""
    largest_rss_bytes: int
    """Resident memory of the largest process: at least this much is in use."""
    processes: int


class ProcessTree:
    """Follows the tree under one process; ``from_start`` counts what it had used before the first read, too.

    Between two reads it counts what each living process used itself, and what parents were given for children they
    waited for, less what was already counted while those children lived. So a child that lived between two reads is
    counted in full, none is counted twice, and one that left the tree (reaped by the system, or a daemon) takes
    nothing back. A child that vanished is matched against its parent's count now or at the next read, since the two
    are not read at the same instant.
    """

    def __init__(self, host: Host, *, from_start: bool = False) -> None:
        self._host = host
        self._from_start = from_start
        self._before: dict[tuple[int, float], ProcessTimes] = {}
        self._cpu_s = 0.0
        self._vanished_s = 0.0
        self._read_at_s: float | None = None
        self._use = TreeUse(0.0, 0, 0, 0)

    def at(self, at_s: float) -> TreeUse:
        """Return the use at a time; meters that ask for the same time share one read."""
        if self._read_at_s != at_s:
            self._use = self._read(first=self._read_at_s is None)
            self._read_at_s = at_s
        return self._use

    def _read(self, *, first: bool) -> TreeUse:
        now = {process.key: process for process in self._host.processes()}
        if not first:
            self._cpu_s += self._grown(now)
        # Who reads for the first time sets a baseline: what was used before must come with the second read.
        self._before = {} if first and self._from_start else now
        resident = [process.rss_bytes for process in now.values()]
        return TreeUse(self._cpu_s, sum(resident), max(resident, default=0), len(resident))

    def _grown(self, now: dict[tuple[int, float], ProcessTimes]) -> float:
        own_s = waited_s = 0.0
        for key, process in now.items():
            before = self._before.get(key)
            own_s += max(0.0, process.own_s - (before.own_s if before else 0.0))
            waited_s += max(0.0, process.children_s - (before.children_s if before else 0.0))
        gone_s = sum(p.own_s + p.children_s for key, p in self._before.items() if key not in now)
        counted_s = self._vanished_s + gone_s
        # What the last read already carried over has had its chance; only what vanished just now waits once more.
        self._vanished_s = min(gone_s, max(0.0, counted_s - waited_s))
        return own_s + max(0.0, waited_s - counted_s)
