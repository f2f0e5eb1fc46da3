"""Which meters of CPU and memory this machine has: its own counters where they can be read, else the models."""

from __future__ import annotations

import logging
from pathlib import Path

from wattline.meters.base import Meter
from wattline.meters.cgroup import Cgroup, CgroupUse, own_cgroup
from wattline.meters.cpu import CpuModelMeter, allocated_cpus
from wattline.meters.cpu_charge import CCF, cpu_model
from wattline.meters.cpu_models import read_identity
from wattline.meters.host import Host, detect_host
from wattline.meters.memory import MemoryModelMeter
from wattline.meters.rapl import POWERCAP, find_rapl
from wattline.meters.rapl_meter import RaplMeter
from wattline.meters.share import OwnUse
from wattline.meters.tree import ProcessTree

__all__ = ["detect_host_meters"]

_LOG = logging.getLogger(__name__)


def detect_host_meters(
    *,
    model: str = "",
    tdp_w: float | None = None,
    by_cgroup: bool = False,
    allocated_bytes: int | None = None,
    powercap: Path = POWERCAP,
    host: Host | None = None,
    cgroup: Cgroup | None = None,
    from_start: bool = False,
) -> list[Meter]:
    """Return the meters of the host's CPUs and memory; each counts once.

    ``model`` names a power model that is used even where the CPUs have counters. ``by_cgroup`` makes the control
    group (of this process, or ``cgroup``) the run, in place of the host's process tree. ``from_start`` charges what the
    tree has used before, too.
    """
    host, cgroup, cpu = host or detect_host(), own_cgroup() if cgroup is None else cgroup, read_identity()
    own: OwnUse = CgroupUse(cgroup) if by_cgroup else ProcessTree(host, from_start=from_start)
    domains = find_rapl(powercap)
    meters: list[Meter] = []
    if domains.packages and not model:
        meters.append(RaplMeter(host, own, domains, cpu))
    else:
        if domains.hint:
            _LOG.info("wattline: %s", domains.hint)
        power_model = cpu_model(model or CCF, cpu, host.logical_cpus, tdp_w)
        flags = ("rapl_unreadable",) if domains.hint else ()
        cpus = allocated_cpus(cgroup)
        meters.append(CpuModelMeter(host, own, power_model, product=cpu.product, cpus_allocated=cpus, flags=flags))
    if model or not domains.drams:
        meters.append(MemoryModelMeter(host, own, cgroup, allocated_bytes))
    return meters
