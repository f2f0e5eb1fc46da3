"""Which GPUs the run can see, and how much of each: by index, UUID or MIG instance, as CUDA has them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

__all__ = ["FoundNvml", "Gpu", "Names", "Nvml", "as_text", "find_nvml", "visible_gpus"]

_MIG_SLICES = 7

T = TypeVar("T")
Names = tuple[str, ...] | None
"""A list of cards by CUDA's names; None where none are named."""


@dataclass(slots=True)
class Gpu:
    """A card, its handle (None while it is lost), and what was read of it last."""

    index: int
    device_id: str
    product: str
    handle: Any
    memory_total_bytes: int | None = None
    limit_w: float | None = None
    is_mig: bool = False
    mig_share: float | None = None
    """The part of the card's slices that the visible MIG instances have."""
    counter_mj: int | None = None
    counter_s: float = 0.0
    """When the counter was at what it said last."""
    charged_j: float = 0.0
    """What polled power stood in for since then."""
    power_w: float | None = None
    idle_w: float = 0.0
    """Lowest power seen while nobody used it; 0 when that was never seen."""
    read_s: float = 0.0
    lost: bool = False
    counted_j: float = 0.0
    integrated_j: float = 0.0
    seen_us: int = 0
    """Time stamp of the last sample of processes."""
    pids: set[int] = field(default_factory=set)


class Nvml:
    """NVML with None for an answer that a device does not have; a handle of None has none."""

    def __init__(self, module: Any) -> None:  # noqa: ANN401  # a module without types
        self.module = module

    def ask(self, query: Callable[..., T], handle: Any, *args: Any) -> T | None:  # noqa: ANN401  # NVML's handles
        """Return an answer, None where there is none."""
        if handle is None:
            return None
        try:
            return query(handle, *args)
        except self.module.NVMLError:
            return None

    def gpu(self, index: int) -> Gpu:
        """Return a card; one that does not answer is there too, so that its absence is told."""
        nvml = self.module
        handle = self.ask(nvml.nvmlDeviceGetHandleByIndex, index)
        uuid = self.ask(nvml.nvmlDeviceGetUUID, handle)
        memory = self.ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        limit_mw = self.ask(nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
        mig = self.ask(nvml.nvmlDeviceGetMigMode, handle)
        return Gpu(
            index=index,
            device_id=as_text(uuid) if uuid else f"gpu{index}",
            product=as_text(self.ask(nvml.nvmlDeviceGetName, handle) or "NVIDIA GPU"),
            handle=handle,
            memory_total_bytes=int(memory.total) if memory else None,
            limit_w=limit_mw / 1000 if limit_mw else None,
            is_mig=bool(mig and mig[0]),
        )

    def handle_again(self, gpu: Gpu) -> Any:  # noqa: ANN401  # NVML's handles
        """Return a new handle of a card that was lost, None while it is."""
        by_uuid = self.module.nvmlDeviceGetHandleByUUID
        if gpu.device_id.startswith("GPU-"):
            return self.ask(by_uuid, gpu.device_id)
        return self.ask(self.module.nvmlDeviceGetHandleByIndex, gpu.index)

    def mig_parent(self, name: str) -> tuple[str, float | None]:
        """Return the UUID of a MIG instance's card and the instance's part of the card's slices."""
        if name.startswith("MIG-GPU-"):  # drivers before 470: MIG-GPU-<uuid>/<instance>/<instance>
            return name.removeprefix("MIG-").partition("/")[0], None
        instance = self.ask(self.module.nvmlDeviceGetHandleByUUID, name)
        parent = self.ask(self.module.nvmlDeviceGetDeviceHandleFromMigDeviceHandle, instance)
        uuid = self.ask(self.module.nvmlDeviceGetUUID, parent)
        attributes = self.ask(self.module.nvmlDeviceGetAttributes, instance)
        slices = int(attributes.gpuInstanceSliceCount) if attributes else None
        return as_text(uuid or ""), min(1.0, slices / _MIG_SLICES) if slices else None


@dataclass(frozen=True, slots=True)
class FoundNvml:
    """NVML, ready to be asked; None, and why, where it cannot be."""

    module: Any = None
    hint: str = ""
    """What is missing, and what to do."""
    is_fault: bool = False
    """Whether there is a driver that should have answered."""


def find_nvml(load: Callable[[], Any] | None = None) -> FoundNvml:
    """Return NVML, which its user must shut down."""
    try:
        nvml = (load or (lambda: importlib.import_module("pynvml")))()
    except ImportError:
        return FoundNvml(hint="the module pynvml is missing, so GPUs are not measured; pip install nvidia-ml-py")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        absent = {nvml.NVML_ERROR_LIBRARY_NOT_FOUND, nvml.NVML_ERROR_DRIVER_NOT_LOADED}
        if getattr(error, "value", None) in absent:
            return FoundNvml(
                hint="no NVIDIA driver is here; if the host has such GPUs, install it, and in a container ask for "
                "NVIDIA_DRIVER_CAPABILITIES=compute,utility"
            )
        return FoundNvml(
            hint=f"the NVIDIA driver does not answer, so GPUs are not measured: {error}; nvidia-smi may say why",
            is_fault=True,
        )
    return FoundNvml(nvml)


def visible_gpus(nvml: Nvml, names: Collection[Names], local_ranks: int | None) -> list[Gpu]:
    """Return the cards that the run's ranks on this host can see, each once; each rank has a list of its own.

    Names are those of CUDA_VISIBLE_DEVICES; as in CUDA, the first that is none ends the list. Without them each local
    rank has a card of its own, from the first on; without ranks every card can be seen.
    """
    found = [nvml.gpu(index) for index in range(nvml.module.nvmlDeviceGetCount())]
    chosen: dict[str, Gpu] = {}
    shares: dict[str, dict[str, float]] = {}  # of a card, by the names of its instances
    for each in sorted(names, key=lambda listed: listed or ()):
        for name, gpu, mig_share in _listed(nvml, found, each, local_ranks):
            chosen.setdefault(gpu.device_id, gpu)
            if mig_share is not None:
                shares.setdefault(gpu.device_id, {})[name] = mig_share
    for device_id, parts in shares.items():
        chosen[device_id].mig_share = min(1.0, sum(parts.values()))
    return list(chosen.values())


def _listed(
    nvml: Nvml, found: Sequence[Gpu], names: Names, local_ranks: int | None
) -> Iterator[tuple[str, Gpu, float | None]]:
    """Yield name, card and part of the card for each name of one list."""
    if names is None:
        yield from ((gpu.device_id, gpu, None) for gpu in (found[:local_ranks] if local_ranks else found))
        return
    for name in names:
        gpu, mig_share = _named(nvml, found, name)
        if gpu is None:
            return
        yield name, gpu, mig_share


def _named(nvml: Nvml, found: Sequence[Gpu], name: str) -> tuple[Gpu | None, float | None]:
    mig_share = None
    if name.startswith("MIG-"):
        name, mig_share = nvml.mig_parent(name)
    matches = (gpu for gpu in found if name == str(gpu.index) or (name and gpu.device_id.startswith(name)))
    return next(matches, None), mig_share


def as_text(value: str | bytes) -> str:
    """Return NVML's text, which older versions give as bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
