"""The processes of a pod's other containers, where they share one process namespace with this one."""

from __future__ import annotations

import os

from wattline.meters.host import ProcessTimes, ProcHost

__all__ = ["PodHost"]

_FIRST = 1  # the namespace's own: it holds it open, and reaps orphans


class PodHost(ProcHost):
    """A `Host` of all processes in this namespace but its first one and those of this container.

    A container's first process has its parent outside of the namespace, which reads as 0; what lost its parent is the
    namespace's first one's. It reads nothing but ``stat``, which any user may.
    """

    def __init__(self, root: str = "/proc", pid: int | None = None, ticks_per_s: int | None = None) -> None:
        super().__init__(root, pid, ticks_per_s)
        own = str(pid or os.getpid())
        self._own_top = _top(own, self._all())

    @property
    def is_shared(self) -> bool:
        """Whether other containers can be seen: a container by itself has the namespace's first process."""
        return self._own_top != str(_FIRST)

    def processes(self) -> list[ProcessTimes]:
        """Return the other containers' processes."""
        found = self._all()
        ours = (str(_FIRST), self._own_top)
        return [times for pid, (_, times) in found.items() if pid != ours[0] and _top(pid, found) != ours[1]]

    def _all(self) -> dict[str, tuple[int, ProcessTimes]]:
        pids = sorted(filter(str.isdigit, os.listdir(self._root)), key=int)  # noqa: PTH208  # once a second
        stats = ((pid, self._stat(pid)) for pid in pids)
        return {pid: stat for pid, stat in stats if stat is not None}


def _top(pid: str, processes: dict[str, tuple[int, ProcessTimes]]) -> str:
    """Return the ancestor of a process that has none itself."""
    while pid in processes and str(processes[pid][0]) in processes:
        pid = str(processes[pid][0])
    return pid
