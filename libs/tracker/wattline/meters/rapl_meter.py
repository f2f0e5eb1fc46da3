"""The run's share of what the CPUs' own counters (RAPL) measure."""

from __future__ import annotations

from dataclasses import dataclass

from wattline.meters.base import Reading
from wattline.meters.cpu_models import CpuIdentity
from wattline.meters.host import Host
from wattline.meters.rapl import RaplDomain, RaplDomains
from wattline.meters.share import CpuMark, CpuWindow, OwnUse
from wattline_common.events import DeviceDescription, DeviceKind, Method

__all__ = ["RaplMeter"]

# Share of a value by which its true value may differ. Intel's packages are measured from Haswell on (Hackenberg et al.,
# IPDPSW 2015) and follow the plug closely (Khan et al., TOMPECS 2018), which gives no one figure: 5 % is ours.
_MEASURED_BAND = 0.05
# AMD's, and Intel's before Haswell, come from a model in the CPU that does not see the data, which makes up to 15 % of
# a server's power (Schöne et al., arXiv 2108.00808, of Zen 2): that it is this much of the package's is ours.
_ESTIMATED_BAND = 0.15
# Intel's own bound for its reference boards (README of its power_gov); worst at idle (Desrochers et al., MEMSYS 2016).
_DRAM_BAND = 0.3
_BEFORE_HASWELL = frozenset({(6, 0x2A), (6, 0x2D), (6, 0x3A), (6, 0x3E)})  # Sandy Bridge, Ivy Bridge: family, model
_STUCK_AFTER_S = 0.1  # the counter moves every millisecond, since no package draws nothing
_MOST_W = 2000.0  # above any package: what looks like more is no wrap but a reset
_UNSEEN_W_PER_CPU = 10.0  # above any logical CPU, for a counter that has never told anything


@dataclass(slots=True)
class _Tracked:
    """A counter, what it said last and then, when it was last asked, and the highest power that it has shown."""

    domain: RaplDomain
    counter_uj: int | None
    mark: CpuMark
    read_s: float
    most_w: float


class RaplMeter:
    """Charges a run for its share of each package's energy, and of each DRAM's.

    The energy of a window is split by use u, as Kepler does: u of it is active, the rest idle. Of the active part the
    run is charged its share of the CPU time that was used; of the idle part, its share of the CPUs' time, so the idle
    energy of CPUs that nobody used is charged to nobody. The band has the other policies: no idle energy at all, and
    all of it, shared by those who ran. DRAM is split by the same shares.

    A counter that cannot be read, is stuck, or was reset gives 0, flagged, with the highest power seen so far as the
    upper end. One that comes back is read from where it stood, so the gap is not lost.
    """

    def __init__(self, host: Host, own: OwnUse, domains: RaplDomains, cpu: CpuIdentity) -> None:
        self._host = host
        self._own = own
        self._domains = domains
        self._product = cpu.product
        self._package_band = _MEASURED_BAND if _is_measured(cpu) else _ESTIMATED_BAND
        self._tracked: list[_Tracked] = []

    def start(self, at_s: float) -> list[DeviceDescription]:
        """Set the baseline and describe packages and DRAM."""
        mark = CpuMark.now(at_s, self._host, self._own)
        unseen_w = _UNSEEN_W_PER_CPU * self._host.logical_cpus
        every = (*self._domains.packages, *self._domains.drams)
        self._tracked = [_Tracked(domain, _counter_uj(domain), mark, at_s, unseen_w) for domain in every]
        return [self._description(tracked.domain) for tracked in self._tracked]

    def read(self, at_s: float) -> list[Reading]:
        """Return the run's share of each counter's energy since it was last read."""
        mark = CpuMark.now(at_s, self._host, self._own)
        memory_bytes = self._own.at(at_s).rss_bytes
        readings = []
        for tracked in self._tracked:
            # The memory in use is one number of the host, so it stands at the first DRAM alone.
            is_first_dram = bool(self._domains.drams) and tracked.domain is self._domains.drams[0]
            readings.append(self._reading(tracked, mark, memory_bytes if is_first_dram else None))
        return readings

    def close(self) -> None:
        """Hold nothing."""

    def _reading(self, tracked: _Tracked, mark: CpuMark, memory_bytes: int | None) -> Reading:
        window = tracked.mark.until(mark, self._host.logical_cpus)
        total_j, flags = self._advance(tracked, mark, window.interval_s)
        share = window.of_time * (2.0 - _use(window))
        band = _DRAM_BAND if tracked.domain.is_dram else self._package_band
        # While the counter tells nothing the window grows, but each reading stands for its own time only.
        tick_s, tracked.read_s = mark.at_s - tracked.read_s, mark.at_s
        is_cpu = not tracked.domain.is_dram
        return Reading(
            device_id=_device_id(tracked.domain),
            kind=DeviceKind.CPU if is_cpu else DeviceKind.MEMORY,
            interval_s=tick_s if total_j is None else window.interval_s,
            energy_j=0.0 if total_j is None else total_j * share,
            energy_low_j=0.0 if total_j is None else total_j * window.of_time * (1 - band),
            energy_high_j=tracked.most_w * tick_s if total_j is None else total_j * window.of_busy * (1 + band),
            share=min(1.0, share),
            utilization_pct=window.utilization_pct if is_cpu else None,
            steal_pct=window.steal_pct if is_cpu else None,
            memory_used_bytes=memory_bytes,
            method=Method.UNKNOWN if total_j is None else Method.COUNTER,
            model_name=self._product if is_cpu else "DRAM",
            flags=("process_share", *flags),
        )

    def _advance(self, tracked: _Tracked, mark: CpuMark, interval_s: float) -> tuple[float | None, tuple[str, ...]]:
        """Return what the counter says was used, None when it does not, and remarks; move the baseline on."""
        before, now = tracked.counter_uj, _counter_uj(tracked.domain)
        if now is None:  # the baseline stays, so that the next read covers the gap
            return None, ("rapl_unreadable",)
        if now == before:
            return (None, ("counter_stuck",)) if interval_s >= _STUCK_AFTER_S else (0.0, ())
        tracked.counter_uj, tracked.mark = now, mark
        if before is None:
            return None, ("rapl_unreadable",)
        range_j = tracked.domain.range_uj / 1e6
        total_j = (now - before) / 1e6 + (range_j if now < before else 0.0)
        if not 0.0 <= total_j <= _MOST_W * max(interval_s, _STUCK_AFTER_S):
            return None, ("counter_reset",)
        if tracked.most_w * interval_s > range_j:
            return None, ("counter_wrapped_unseen",)
        if interval_s >= _STUCK_AFTER_S:
            tracked.most_w = max(tracked.most_w, total_j / interval_s)
        return total_j, ()

    def _description(self, domain: RaplDomain) -> DeviceDescription:
        return DeviceDescription(
            device_id=_device_id(domain),
            kind=DeviceKind.MEMORY if domain.is_dram else DeviceKind.CPU,
            model_name="DRAM" if domain.is_dram else self._product,
            method=Method.COUNTER,
            memory_total_bytes=self._host.memory_total_bytes
            if domain is next(iter(self._domains.drams), None)
            else None,
            count=None if domain.is_dram else self._host.logical_cpus // max(1, len(self._domains.packages)),
        )


def _is_measured(cpu: CpuIdentity) -> bool:
    """Say whether the package's counter measures; else it is the CPU's own model of itself."""
    return cpu.vendor == "GenuineIntel" and (cpu.family, cpu.model) not in _BEFORE_HASWELL


def _use(window: CpuWindow) -> float:
    return window.busy_s / window.capacity_s if window.capacity_s > 0 else 0.0


def _device_id(domain: RaplDomain) -> str:
    return domain.name.replace(" ", "-")


def _counter_uj(domain: RaplDomain) -> int | None:
    try:
        return domain.counter_uj()
    except (OSError, ValueError):
        return None
