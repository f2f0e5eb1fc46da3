"""How much of the host's CPU time was the run's, over one window: what every share of a CPU's energy rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from wattline.meters.host import CpuTimes, Host
from wattline.meters.tree import TreeUse

__all__ = ["CpuMark", "CpuWindow", "OwnUse", "percent"]


class OwnUse(Protocol):
    """What the run's own processes have used: a `ProcessTree`, or a control group."""

    def at(self, at_s: float) -> TreeUse:
        """Return the use at a time; meters that ask for the same time share one read."""
        ...


@dataclass(frozen=True, slots=True)
class CpuWindow:
    """CPU seconds between two marks: of the run, of everybody, and what the CPUs had to give."""

    interval_s: float
    own_s: float
    busy_s: float
    capacity_s: float
    utilization_pct: float | None
    steal_pct: float | None

    @property
    def of_time(self) -> float:
        """Share of the run in the CPUs' time."""
        return self.own_s / self.capacity_s if self.capacity_s > 0 else 0.0

    @property
    def of_busy(self) -> float:
        """Share of the run in the time that somebody used."""
        return self.own_s / self.busy_s if self.busy_s > 0 else 0.0


@dataclass(frozen=True, slots=True)
class CpuMark:
    """The counters at one moment."""

    at_s: float
    own_s: float
    times: CpuTimes

    @classmethod
    def now(cls, at_s: float, host: Host, own: OwnUse) -> CpuMark:
        """Read the counters."""
        return cls(at_s, own.at(at_s).cpu_s, host.cpu_times())

    def until(self, later: CpuMark, logical_cpus: int) -> CpuWindow:
        """Return the window that ends later: 0 <= own <= busy <= capacity, whatever the ticks of counters say."""
        interval_s = later.at_s - self.at_s
        capacity_s = logical_cpus * interval_s
        own_s = min(max(later.own_s - self.own_s, 0.0), capacity_s)
        busy_s, total_s = later.times.busy_s - self.times.busy_s, later.times.total_s - self.times.total_s
        return CpuWindow(
            interval_s=interval_s,
            own_s=own_s,
            busy_s=min(max(busy_s, own_s), capacity_s),
            capacity_s=capacity_s,
            utilization_pct=percent(busy_s, total_s),
            steal_pct=percent(later.times.steal_s - self.times.steal_s, total_s),
        )


def percent(part_s: float, total_s: float) -> float | None:
    """Return a share in percent, 0 to 100; None of no time."""
    return min(100.0, max(0.0, 100.0 * part_s / total_s)) if total_s > 0 else None
