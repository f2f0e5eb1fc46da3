"""What every meter looks like, whatever it reads: started once, then read about once a second, on one thread."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from wattline_common.events import DeviceDescription, DeviceKind, Method

__all__ = ["Meter", "Reading", "mean_power_w", "missing_reading"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one device used between two reads of its meter, as far as it counts for the run. SI units."""

    device_id: str
    """Name of the device, unique in its host."""
    kind: DeviceKind
    interval_s: float
    """Seconds that the energy covers: since the meter's last read, or the last that told anything."""
    energy_j: float
    """Energy counted for the run."""
    energy_low_j: float
    """Lower end of the band around it."""
    energy_high_j: float
    """Upper end of the band around it."""
    energy_integrated_j: float | None = None
    """Integral of polled power, beside a counter."""
    share: float = 1.0
    """Part of the device's energy that is counted for the run, 0 to 1."""
    utilization_pct: float | None = None
    """Use of the whole device."""
    steal_pct: float | None = None
    """Time in percent that the hypervisor gave the host's CPUs to others."""
    memory_used_bytes: int | None = None
    temperature_c: float | None = None
    method: Method
    model_name: str
    """Product name of the device, or name of the model that stands in for its meter."""
    flags: tuple[str, ...] = ()
    """Remarks on the quality of the reading."""

    @property
    def power_w(self) -> float:
        """Mean power over the interval; 0 over no time."""
        return mean_power_w(self.energy_j, self.interval_s)


def mean_power_w(energy_j: float, interval_s: float) -> float:
    """Return energy over time; 0 over no time, or so little that there is no number for it."""
    watts = energy_j / interval_s if interval_s > 0 else 0.0
    return watts if math.isfinite(watts) else 0.0


class Meter(Protocol):
    """Reads the energy of some devices. Times are the run's monotonic seconds."""

    def start(self, at_s: float) -> list[DeviceDescription]:
        """Set the baseline and return the devices; an absent device is no error but an empty list."""
        ...

    def read(self, at_s: float) -> list[Reading]:
        """Return what each device used since the last read. May raise: the next read then covers the gap too."""
        ...

    def close(self) -> None:
        """Let go of what the meter holds."""
        ...


def missing_reading(device: DeviceDescription, interval_s: float) -> Reading:
    """Return the reading that stands for a meter that failed: no energy, and flagged, so never a silent zero."""
    return Reading(
        device_id=device.device_id,
        kind=device.kind,
        interval_s=interval_s,
        energy_j=0.0,
        energy_low_j=0.0,
        energy_high_j=0.0,
        method=Method.UNKNOWN,
        model_name=device.model_name,
        flags=("meter_failed",),
    )
