"""The control group of this process, of version 1 or 2: what it may use, and what all its processes have used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wattline.meters.tree import TreeUse

__all__ = ["Cgroup", "CgroupUse", "own_cgroup"]

_NO_LIMIT_BYTES = 1 << 60  # version 1 writes "no limit" as a number near 2**63


@dataclass(frozen=True, slots=True)
class Cgroup:
    """Folders of the group by controller, each from the group up to the top that can be seen."""

    cpu: tuple[Path, ...] = ()
    accounting: tuple[Path, ...] = ()
    memory: tuple[Path, ...] = ()

    def cpu_limit(self) -> float | None:
        """Return the least quota in CPUs, of the group and those above it; None without one."""
        quotas = [quota for folder in self.cpu if (quota := _quota(folder)) is not None]
        return min(quotas, default=None)

    def memory_limit_bytes(self) -> int | None:
        """Return the least limit of memory, of the group and those above it; None without one."""
        return min((limit for folder in self.memory if (limit := _limit(folder)) is not None), default=None)

    def memory_bytes(self) -> int | None:
        """Return the memory that the limited group holds, page cache included; None where it is not told."""
        limit = self.memory_limit_bytes()
        limited = (folder for folder in self.memory if limit is not None and _limit(folder) == limit)
        return next((_in_use(folder) for folder in limited), None)

    def cpu_s(self) -> float | None:
        """Return the CPU seconds of all the group's processes, those that ended included; None for the top group."""
        if not self.accounting:
            return None
        nanoseconds = _number(self.accounting[0] / "cpuacct.usage")
        if nanoseconds is not None:
            return nanoseconds / 1e9
        words = _text(self.accounting[0] / "cpu.stat").split()
        return int(words[1]) / 1e6 if words[:1] == ["usage_usec"] else None


class CgroupUse:
    """What all processes of a group use, in place of a process tree: for jobs whose workers leave the tree."""

    def __init__(self, cgroup: Cgroup) -> None:
        self._cgroup = cgroup
        first_s = cgroup.cpu_s()
        if first_s is None:
            raise OSError("the control group does not tell its CPU time, or it is the top one, which is the host")
        self._first_s = self._last_s = first_s

    def at(self, at_s: float) -> TreeUse:  # noqa: ARG002  # as a process tree is asked
        """Return the use; its memory includes page cache, so the largest process is not known."""
        now_s = self._cgroup.cpu_s()
        self._last_s = max(self._last_s, self._last_s if now_s is None else now_s)
        resident = next(map(_in_use, self._cgroup.memory), None)
        return TreeUse(self._last_s - self._first_s, resident or 0, 0, 0)


def own_cgroup(listing: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> Cgroup:
    """Return the group of this process; an empty one where there are none."""
    found: dict[str, tuple[Path, ...]] = {}
    for line in _text(listing).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(",") if controllers else [""]:
            folders = tuple(_upwards(mounted / controller, path))
            if folders:
                found[controller] = folders
    unified = found.get("", ())
    accounting = found.get("cpuacct") or unified
    # The top group of all is the host; a container sees its own group at the top, which can be told by its files.
    top = accounting[0] if accounting else mounted
    is_host = (
        not any((top / name).exists() for name in ("cpu.max", "cpuacct.usage")) or (top / "release_agent").exists()
    )
    return Cgroup(
        cpu=found.get("cpu") or unified,
        accounting=() if is_host else accounting,
        memory=found.get("memory") or unified,
    )


def _upwards(top: Path, path: str) -> Iterator[Path]:
    """Yield the group's folder and those above it, as far as they are visible: a container may see its top only."""
    folder = top / path.strip("/")
    while True:
        if folder.is_dir():
            yield folder
        if folder == top or top not in folder.parents:
            return
        folder = folder.parent


def _quota(folder: Path) -> float | None:
    words = _text(folder / "cpu.max").split()
    if len(words) == 2 and words[0].isdigit() and words[1].isdigit():
        return int(words[0]) / int(words[1]) if int(words[1]) else None
    quota_us, period_us = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return quota_us / period_us if quota_us and quota_us > 0 and period_us else None


def _limit(folder: Path) -> int | None:
    limit = _first_number(folder, "memory.max", "memory.limit_in_bytes")
    return limit if limit is not None and limit < _NO_LIMIT_BYTES else None


def _in_use(folder: Path) -> int | None:
    return _first_number(folder, "memory.current", "memory.usage_in_bytes")


def _first_number(folder: Path, *names: str) -> int | None:
    """Return the number in the first of some files that has one: version 2 and version 1 name them differently."""
    return next((number for name in names if (number := _number(folder / name)) is not None), None)


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
