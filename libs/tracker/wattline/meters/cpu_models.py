"""Power of a logical CPU by CPU family, where no meter can be read; and how far the field's models differ.

The figures are those of the Cloud Carbon Footprint project (Apache-2.0), which derives them from SPECpower results:
watts of one logical CPU when idle and when fully used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["AWS_MEAN", "FAMILIES", "CpuIdentity", "CpuPower", "band_j", "power_model", "read_identity"]


@dataclass(frozen=True, slots=True)
class CpuPower:
    """Watts of one logical CPU of a family."""

    name: str
    idle_w: float
    full_w: float


@dataclass(frozen=True, slots=True)
class CpuIdentity:
    """What /proc/cpuinfo says of the first CPU."""

    vendor: str = "unknown"
    family: int = 0
    model: int = 0
    stepping: int = 0
    product: str = "unknown"


AWS_MEAN = CpuPower("CCF mean of AWS", 0.74, 3.5)
FAMILIES = {
    "epyc-2": CpuPower("CCF AMD EPYC 2nd Gen", 0.47, 1.69),
    "epyc-3": CpuPower("CCF AMD EPYC 3rd Gen", 0.45, 2.02),
    "skylake": CpuPower("CCF Intel Skylake", 0.65, 4.26),
    "cascade-lake": CpuPower("CCF Intel Cascade Lake", 0.64, 3.97),
}
# Of a server's power, the part that Green Metrics Tool and SDIA give its CPUs; their figure is the whole server's.
_SDIA_CPU_PART = 0.65


def read_identity(cpuinfo: Path = Path("/proc/cpuinfo")) -> CpuIdentity:
    """Return the CPU's identity, `CpuIdentity()` where there is no such file."""
    try:
        first = cpuinfo.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    except OSError:
        return CpuIdentity()
    pairs = (line.partition(":") for line in first.splitlines())
    fields = {key.strip(): value.strip() for key, _, value in pairs}

    def number(key: str) -> int:
        text = fields.get(key, "")
        return int(text) if text.isdigit() else 0

    return CpuIdentity(
        vendor=fields.get("vendor_id", "unknown"),
        family=number("cpu family"),
        model=number("model"),
        stepping=number("stepping"),
        product=fields.get("model name", "unknown"),
    )


def power_model(cpu: CpuIdentity) -> CpuPower | None:
    """Return the figures of a CPU's family; None when the family is not in the table."""
    match cpu:
        case CpuIdentity(vendor="AuthenticAMD", family=0x17, model=0x31):
            return FAMILIES["epyc-2"]
        case CpuIdentity(vendor="AuthenticAMD", family=0x19, model=model) if model <= 0x0F:
            return FAMILIES["epyc-3"]
        case CpuIdentity(vendor="GenuineIntel", family=6, model=0x55, stepping=stepping) if stepping <= 4:
            return FAMILIES["skylake"]
        case CpuIdentity(vendor="GenuineIntel", family=6, model=0x55, stepping=5 | 6 | 7):
            return FAMILIES["cascade-lake"]
    return None


def band_j(
    families: Sequence[CpuPower], *, own_s: float, busy_s: float, capacity_s: float, allocated_s: float
) -> tuple[float, float]:
    """Return the lowest and highest energy in J that a method of the field gives a run for the same use.

    ``own_s`` are the run's CPU seconds, ``busy_s`` those of all processes, ``capacity_s`` what the host had to give,
    and ``allocated_s`` what the run could have had (its cgroup's or its CPU mask's limit).
    """
    busy_s = max(busy_s, own_s)
    found = [energy for p in families for energy in _candidates_j(p, own_s, busy_s, capacity_s, allocated_s)]
    return min(found), max(found)


def _candidates_j(p: CpuPower, own_s: float, busy_s: float, capacity_s: float, allocated_s: float) -> Iterator[float]:
    of_busy = own_s / busy_s if busy_s > 0 else 0.0
    use = min(1.0, busy_s / capacity_s) if capacity_s > 0 else 0.0
    active_j = (p.full_w - p.idle_w) * own_s
    yield active_j  # idle power is nobody's
    yield active_j + p.idle_w * allocated_s * of_busy  # idle power is shared by those who ran
    yield p.full_w * (0.1 + 0.9 * use**3) * capacity_s * of_busy  # CodeCarbon's curve
    yield p.full_w * own_s / _SDIA_CPU_PART  # the server around the CPU, too
