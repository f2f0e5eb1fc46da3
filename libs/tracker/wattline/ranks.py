"""The processes of one run on one host: which of them measures, and what it measures.

Each process puts a file of its own, which it holds a lock on, into a folder of the run. Who gets the folder's one other
lock measures, and it measures the trees of all processes that are there, each process once. A lock ends with its
process, however that ends; then the next one takes over. So ranks, a `wattline run` and the script inside it, never
count anything twice. Processes that can write no such folder measure their own tree each.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from wattline.locks import Lock, is_locked
from wattline.meters.base import Meter, Reading
from wattline.meters.host import CpuTimes, Host, ProcessTimes
from wattline.meters.nvidia_devices import Names
from wattline_common.events import DeviceDescription

__all__ = ["RankMeter", "Ranks", "RanksHost", "rank_folders", "tree_pids"]

_MEASURING = "measuring.lock"
_PATIENCE_S = 1.0
_SWEPT = 50


def rank_folders(root: Path, host: str, run_id: str) -> list[Path]:
    """Return where the processes of a run on a host may meet, the best place first."""
    name = f"{host}-{run_id}".replace(os.sep, "-")
    user = f"wattline-{os.getuid()}" if hasattr(os, "getuid") else "wattline"
    return [root / "running" / name, Path(tempfile.gettempdir()) / user / name]


class Ranks:
    """The place of this process among those of its run on its host."""

    def __init__(self, folders: Sequence[Path] = (), pid: int | None = None, gpus: Names = None) -> None:
        self._pid = pid or os.getpid()
        self._gpus = gpus
        self._lock: Lock | None = None
        self._member: Lock | None = None
        self._looked_at_s: float | None = None
        for folder in folders:
            with contextlib.suppress(OSError):
                self._join(folder)
                break

    @property
    def measures(self) -> bool:
        """Whether this process is the one that measures; the only one of a run is."""
        return self._lock is None or self._lock.held

    def stand(self, at_s: float) -> bool:
        """Take the measuring over if nobody does it; asked by every meter of a tick, it looks once."""
        if self._lock is not None and not self._lock.held and self._looked_at_s != at_s:
            self._looked_at_s = at_s
            with contextlib.suppress(OSError):
                self._lock.acquire()
        return self.measures

    def pids(self) -> list[int]:
        """Return the processes of the run on this host, this one first; forget those that are gone."""
        if self._member is None:
            return [self._pid]
        others = set()
        with contextlib.suppress(OSError):
            for path in self._member.path.parent.glob("*.rank"):
                if path != self._member.path:
                    others.update(_living(path))
        return [self._pid, *sorted(others - {self._pid})]

    def gpus_of_others(self) -> list[Names]:
        """Return the cards that the run's other processes here can see, a list for each that has said it."""
        if self._member is None:
            return []
        paths = [path for path in self._member.path.parent.glob("*.rank") if path != self._member.path]
        return [names for path in paths for names in _said(path)]

    def leave(self) -> None:
        """Hand the measuring over; the last one removes the folder."""
        if self._member is None or self._lock is None:
            return
        folder = self._member.path.parent
        self._member.release(remove=True)
        if not any(folder.glob("*.rank")) and self._lock.held:
            self._lock.release(remove=True)
        self._lock.release()
        with contextlib.suppress(OSError):
            folder.rmdir()
        self._member = self._lock = None

    def _join(self, folder: Path) -> None:
        for each in (folder.parent.parent, folder.parent):  # with parents=True, the upper one would be everybody's
            each.mkdir(parents=True, exist_ok=True, mode=0o700)
        if hasattr(os, "getuid") and folder.parent.stat().st_uid != os.getuid():
            raise PermissionError(f"{folder.parent} is another user's")
        _sweep(folder.parent)
        member, lock = Lock(folder / f"{self._pid}-{secrets.token_hex(3)}.rank"), Lock(folder / _MEASURING)
        until_s = time.monotonic() + _PATIENCE_S
        while not member.held:
            with contextlib.suppress(FileNotFoundError):  # the last one of those before us has just removed the folder
                folder.mkdir(exist_ok=True, mode=0o700)
                if member.acquire():  # not while another process looks whether we live
                    member.write(json.dumps(self._gpus))
                    lock.acquire()
            if time.monotonic() > until_s:
                raise BlockingIOError(f"{folder} cannot be joined")
        self._member, self._lock = member, lock


class RanksHost:
    """A `Host` of all the run's processes here and their descendants; a process counts from when it joins."""

    def __init__(self, ranks: Ranks, host_of: Callable[[int], Host]) -> None:
        self._ranks = ranks
        self._host_of = host_of
        self._own = host_of(ranks.pids()[0])
        self._hosts: dict[int, Host] = {ranks.pids()[0]: self._own}
        self._known: set[tuple[int, float]] | None = None
        self._before: dict[tuple[int, float], ProcessTimes] = {}
        self.logical_cpus = self._own.logical_cpus
        self.memory_total_bytes = self._own.memory_total_bytes

    def cpu_times(self) -> CpuTimes:
        """Return the counters of all CPUs."""
        return self._own.cpu_times()

    def processes(self) -> list[ProcessTimes]:
        """Return every process of the trees once."""
        pids = self._ranks.pids()
        joined = [pid for pid in pids if pid not in self._hosts]
        found: dict[tuple[int, float], ProcessTimes] = {}
        for pid in [each for each in pids if each not in joined]:
            found.update((process.key, process) for process in self._hosts[pid].processes())
        for pid in joined:
            host = self._hosts[pid] = self._host_of(pid)
            for process in host.processes():
                if process.key not in found and self._known is not None:
                    self._before[process.key] = process
                found[process.key] = process
        self._hosts = {pid: host for pid, host in self._hosts.items() if pid in pids}
        self._before = {key: process for key, process in self._before.items() if key in found}
        self._known = set(found)
        return [self._since_joined(process) for process in found.values()]

    def _since_joined(self, process: ProcessTimes) -> ProcessTimes:
        before = self._before.get(process.key)
        if before is None:
            return process
        return ProcessTimes(
            process.pid,
            process.started,
            process.own_s - before.own_s,
            process.children_s - before.children_s,
            process.rss_bytes,
        )


def tree_pids(ranks: Ranks, host_of: Callable[[int], Host]) -> Callable[[], set[int]]:
    """Return what tells the ids of all the run's processes here; it looks at none before it is asked."""
    hosts: list[RanksHost] = []

    def pids() -> set[int]:
        if not hosts:
            hosts.append(RanksHost(ranks, host_of))
        return {process.pid for process in hosts[0].processes()}

    return pids


class RankMeter:
    """A `Meter` that reads only while its process is the one that measures; from its start, or when it takes over."""

    def __init__(self, meter: Meter, ranks: Ranks) -> None:
        self.inner = meter
        self._ranks = ranks
        self._started = False

    def start(self, at_s: float) -> list[DeviceDescription]:
        """Set the baseline if it is this process that measures."""
        if not self._ranks.stand(at_s):
            return []
        self._started = True
        return self.inner.start(at_s)

    def read(self, at_s: float) -> list[Reading]:
        """Return what the meter reads; nothing, and at first a baseline, when another process measured until now."""
        if self._started:
            return self.inner.read(at_s)
        self.start(at_s)
        return []

    def close(self) -> None:
        """Let go of what the meter holds."""
        if self._started:
            self.inner.close()


def _sweep(parent: Path) -> None:
    """Remove what runs that ended without a word have left."""
    for folder in itertools.islice(parent.iterdir(), _SWEPT):
        with contextlib.suppress(OSError):
            ranks, measuring = list(folder.glob("*.rank")), Lock(folder / _MEASURING)
            # Held meanwhile: a process that joins now measures from its next look on, by a lock that nobody removes.
            if ranks and not any(_living(path) for path in ranks) and measuring.acquire():
                measuring.release(remove=not any(folder.glob("*.rank")))
                folder.rmdir()


def _said(path: Path) -> list[Names]:
    """Return what the process of a rank's file says of its cards, nothing while it has not."""
    try:
        text = path.read_text(encoding="utf-8")
        names = json.loads(text)
    except (OSError, ValueError, RecursionError):
        return []
    return [names if names is None else tuple(map(str, names))] if names is None or isinstance(names, list) else []


def _living(path: Path) -> list[int]:
    """Return the process of a rank's file if it lives; remove the file of one that is gone."""
    with contextlib.suppress(OSError, ValueError):
        if is_locked(path):
            return [int(path.name.partition("-")[0])]
        path.unlink(missing_ok=True)
    return []
