"""What `wattline doctor` advises: what would make a run's figures better, and how to get there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from wattline.doctor_checks import Device, Noted, Server, SpoolState
from wattline.meters.cgroup import own_cgroup
from wattline.meters.cpu_charge import CCF
from wattline.meters.nvidia_devices import find_nvml
from wattline.meters.rapl import POWERCAP, find_rapl
from wattline.settings import Settings
from wattline_common.carbon import WORLD, GridIntensity
from wattline_common.events import DeviceKind

__all__ = ["advice_on_meters", "advice_on_surroundings"]

_BY_FLAG = {
    "cpu_family_unknown": "the CPU's family is not in the table, so the mean of AWS stands in, with a wide band; to "
    "compare, set WATTLINE_CPU_MODEL=tdp-linear and WATTLINE_CPU_TDP_W to the TDP of all the host's CPUs",
    "whole_host": "WATTLINE_CPU_MODEL=codecarbon-compatible charges the whole host; unset it to be charged a share",
    "counter_stuck": "an energy counter stood still for a second; if it goes on, look at its driver",
    "no_energy_counter": "a GPU has no energy counter, so its power is polled (± 35 %); Volta and newer have one",
    "no_power_reading": "a GPU tells neither energy nor power; nvidia-smi may say why",
    "zero_power": "a GPU says that it draws nothing, which cannot be; nvidia-smi may say why",
    "share_unknown": "NVML's process ids are not those of this container, so the run's part of a GPU that others use "
    "is not known; let the container have the host's process ids, or the card to itself",
    "mig_whole_card": "a GPU with MIG is charged in full; name its instances in CUDA_VISIBLE_DEVICES",
    "meter_failed": "a meter fails, so its device is not counted",
}


def advice_on_meters(settings: Settings, devices: Sequence[Device], powercap: Path = POWERCAP) -> Iterator[str]:
    """Yield what would measure more, or better."""
    domains = find_rapl(powercap)
    if domains.hint:
        yield domains.hint
    elif domains.packages and settings.cpu_model:
        yield "the CPUs' energy counters (RAPL) can be read, but WATTLINE_CPU_MODEL stands above them; unset it"
    elif not domains.packages:
        yield (
            "the CPUs have no energy counters (RAPL) here, as in most virtual machines, so their energy is modelled; "
            "a container needs to see its host's /sys/devices/virtual/powercap"
        )
    flags = {flag for device in devices for flag in device.flags}
    yield from (text for flag, text in _BY_FLAG.items() if flag in flags)
    if settings.cpu_model not in {"", CCF} and not settings.cpu_tdp_w:
        yield f"WATTLINE_CPU_MODEL={settings.cpu_model} takes 4 W a logical CPU; set WATTLINE_CPU_TDP_W to what it is"
    if settings.share == "tree" and own_cgroup().cpu_s() is not None:
        yield "for jobs whose workers leave the process tree: WATTLINE_SHARE=cgroup works here"
    if not any(device.kind == DeviceKind.GPU.value for device in devices):
        yield from _advice_on_gpus()


def _advice_on_gpus() -> Iterator[str]:
    noted, hint = Noted(), ""
    with noted.guard("asking NVML"):
        found = find_nvml()
        hint = found.hint
        if found.module is not None:
            count = found.module.nvmlDeviceGetCount()
            found.module.nvmlShutdown()
            hint = f"{count} GPUs are here, and CUDA_VISIBLE_DEVICES hides them from the run" if count else ""
    yield from filter(None, (hint, *noted.lines.values()))


def advice_on_surroundings(
    settings: Settings, grid: GridIntensity, spool: SpoolState, servers: Sequence[Server]
) -> Iterator[str]:
    """Yield what would price better, lose less, or be found again more easily."""
    if grid.zone == WORLD and settings.region_iso.lower() == "unknown":
        yield f"WATTLINE_REGION is not set, so {grid.label} prices the run; set it, such as FRA or US-CA"
    if settings.pue == 1.0:
        yield "WATTLINE_PUE is 1: what cooling and power supply use is not counted; data centres have 1.1 to 1.6"
    if not spool.is_writable:
        yield "without a spool, events that are not delivered by the end are lost; set WATTLINE_SPOOL_DIR"
    if spool.free_bytes is not None and spool.free_bytes < settings.spool_mb * 1_000_000:
        yield "the disk has less free than WATTLINE_SPOOL_MB; events above that are lost: make room, or set it lower"
    if spool.sources_waiting:
        yield f"events of {spool.sources_waiting} sources wait in the spool; wattline flush delivers them"
    if any(not server.is_ready for server in servers):
        yield "while a server is away, events wait in the spool and wattline report needs none; wattline flush delivers"
    if "kubernetes" in settings.job.launchers and not settings.job.host:
        yield "give the pod NODE_NAME, POD_NAME, JOB_NAME and JOB_UID by the downward API, as the README has it"
