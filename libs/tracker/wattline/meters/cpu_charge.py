"""What a run is charged for CPU time, by the chosen model: the CPU family's, or another tool's to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from wattline.meters.cpu_models import AWS_MEAN, FAMILIES, CpuIdentity, CpuPower, band_j, power_model
from wattline.meters.share import CpuWindow

__all__ = ["CCF", "CPU_MODELS", "Charge", "CpuModel", "cpu_model"]

CCF, CODECARBON, TDP_LINEAR = "ccf", "codecarbon-compatible", "tdp-linear"
CPU_MODELS = (CCF, CODECARBON, TDP_LINEAR)
_TDP_W_PER_CPU = 4.0  # CodeCarbon's, for a CPU that its table lacks


@dataclass(frozen=True, slots=True)
class Charge:
    """The run's energy over a window, its band, and its share of what the model gives the whole host."""

    energy_j: float
    low_j: float
    high_j: float
    share: float


class CpuModel(Protocol):
    """Turns CPU time into energy."""

    @property
    def name(self) -> str:
        """Name of the model, which stands in every reading."""
        ...

    @property
    def flags(self) -> tuple[str, ...]:
        """Remarks on the quality of its readings."""
        ...

    def charge(self, window: CpuWindow, allocated_cpus: float) -> Charge:
        """Return what the run is charged for a window."""
        ...


class _Family:
    """Watts of a logical CPU by family: `idle_w + use * (full_w - idle_w)`.

    Of the active part the run is charged what its own CPU time caused. Idle policy: of the idle power of the host's
    CPUs the run is charged its share of their time, that is own CPU time over CPUs times time; so both together are
    ``full_w`` for each CPU second used, and the idle power of CPUs that nobody used is charged to nobody. The band
    holds the other policies (no idle at all; all of it, shared by those who ran) and the field's other models for the
    same use (`cpu_models.band_j`). A family that is not in the table is given the mean of AWS and the band of all.
    """

    def __init__(self, cpu: CpuIdentity) -> None:
        known = power_model(cpu)
        self.power: CpuPower = known or AWS_MEAN
        self.name = self.power.name
        self.flags = ("process_share",) if known else ("process_share", "cpu_family_unknown")
        self._band_of = (known,) if known else (AWS_MEAN, *FAMILIES.values())

    def charge(self, window: CpuWindow, allocated_cpus: float) -> Charge:
        """Return full power for the run's own CPU time."""
        power = self.power
        energy_j = power.full_w * window.own_s
        host_j = power.idle_w * window.capacity_s + (power.full_w - power.idle_w) * window.busy_s
        low_j, high_j = self.band_j(window, allocated_cpus)
        share = min(1.0, energy_j / host_j) if host_j > 0 else 0.0
        return Charge(energy_j, min(low_j, energy_j), max(high_j, energy_j), share)

    def band_j(self, window: CpuWindow, allocated_cpus: float) -> tuple[float, float]:
        """Return the lowest and highest energy of the field's models."""
        return band_j(
            self._band_of,
            own_s=window.own_s,
            busy_s=window.busy_s,
            capacity_s=window.capacity_s,
            allocated_s=allocated_cpus * window.interval_s,
        )


class _CodeCarbon:
    """CodeCarbon 3's curve over the whole machine, as its default mode has it: comparable, and not the run's own part.

    So runs beside each other each count the whole host, which the flag ``whole_host`` says.
    """

    name = f"CodeCarbon-compatible ({CODECARBON})"

    def __init__(self, cpu: CpuIdentity, tdp_w: float) -> None:
        family = _Family(cpu)
        self.flags = ("whole_host", *(flag for flag in family.flags if flag != "process_share"))
        self._family = family
        self._tdp_w = tdp_w

    def charge(self, window: CpuWindow, allocated_cpus: float) -> Charge:
        """Return ``tdp * (0.1 + 0.9 use**3)`` over the window."""
        use = window.busy_s / window.capacity_s if window.capacity_s > 0 else 0.0
        energy_j = self._tdp_w * (0.1 + 0.9 * use**3) * window.interval_s
        low_j, high_j = self._family.band_j(window, allocated_cpus)
        return Charge(energy_j, min(low_j, energy_j), max(high_j, energy_j), 1.0 if energy_j > 0 else 0.0)


class _TdpLinear:
    """TDP by use, as Eco2AI and Alumet have it, of the run's own CPU time."""

    name = f"TDP by use ({TDP_LINEAR})"

    def __init__(self, cpu: CpuIdentity, tdp_w: float) -> None:
        self._family = _Family(cpu)
        self.flags = self._family.flags
        self._tdp_w = tdp_w

    def charge(self, window: CpuWindow, allocated_cpus: float) -> Charge:
        """Return the TDP times the share of the run in the CPUs' time."""
        energy_j = self._tdp_w * window.of_time * window.interval_s
        low_j, high_j = self._family.band_j(window, allocated_cpus)
        return Charge(energy_j, min(low_j, energy_j), max(high_j, energy_j), window.of_busy)


def cpu_model(name: str, cpu: CpuIdentity, logical_cpus: int, tdp_w: float | None = None) -> CpuModel:
    """Return a model by its name; without a TDP it is 4 W a logical CPU, CodeCarbon's for a CPU it does not know."""
    tdp_w = tdp_w or _TDP_W_PER_CPU * logical_cpus
    if name == CODECARBON:
        return _CodeCarbon(cpu, tdp_w)
    return _TdpLinear(cpu, tdp_w) if name == TDP_LINEAR else _Family(cpu)
