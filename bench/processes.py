"""CPU time and memory of a trial's processes, by what they are; a contestant may be frozen for a while."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping

import psutil

__all__ = ["cpu_seconds", "frozen", "resident_mb"]


def cpu_seconds(servers: Mapping[str, psutil.Process], contestant: psutil.Process) -> dict[str, float]:
    """Return the CPU seconds spent so far, by group; children that have ended count with their parent."""
    spent: dict[str, float] = defaultdict(float)
    for group, process in _groups(servers, contestant):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            spent[group] += times.user + times.system + times.children_user + times.children_system
    return spent


def resident_mb(contestant: psutil.Process) -> dict[str, float]:
    """Return a contestant's resident memory by group, in MB; pages that forked workers share count once (PSS)."""
    sizes: dict[str, float] = defaultdict(float)
    for process in [contestant, *contestant.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            sizes[_part(contestant, process)] += process.memory_full_info().pss / 2**20
    return sizes


@contextlib.contextmanager
def frozen(contestant: psutil.Process) -> Iterator[None]:
    """Keep a contestant from running, so that a backlog can be made that it has not begun to read."""
    processes = [contestant, *contestant.children(recursive=True)]
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.suspend()
    try:
        yield
    finally:
        for process in reversed(processes):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


def _groups(servers: Mapping[str, psutil.Process], contestant: psutil.Process) -> Iterator[tuple[str, psutil.Process]]:
    yield from servers.items()
    for process in [contestant, *contestant.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            yield _part(contestant, process), process


def _part(contestant: psutil.Process, process: psutil.Process) -> str:
    """Return which part of a contestant a process is."""
    if process == contestant:
        return "process"
    command = process.cmdline()
    if command and command[0].endswith("java"):
        return "jvm"
    return "python workers"
