"""NVIDIA GPUs by NVML: the energy counter, polled power integrated beside it, and no GPU as a meter of nothing."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from wattline.meters.base import Meter, Reading
from wattline_common.events import DeviceDescription, DeviceKind, Method

__all__ = ["NoGpuMeter", "NvidiaMeter", "detect_nvidia"]

_LOG = logging.getLogger(__name__)

# Share of a value by which its true value may differ.
_COUNTER_BAND = 0.05  # NVML's own accuracy
_POLLED_BAND = 0.35  # arXiv 2312.02741: an A100's sensor sees a quarter of the time, so an integral may be off by this
_DRIFT = 0.2
_DRIFT_AFTER_J = 100.0

T = TypeVar("T")


class NoGpuMeter:
    """The meter of a machine without NVIDIA GPUs."""

    def start(self, at_s: float) -> list[DeviceDescription]:  # noqa: ARG002  # the interface
        """Describe no device."""
        return []

    def read(self, at_s: float) -> list[Reading]:  # noqa: ARG002  # the interface
        """Return nothing."""
        return []

    def close(self) -> None:
        """Hold nothing."""


@dataclass(slots=True)
class _Gpu:
    """A device, its handle, and what was read of it last."""

    device_id: str
    product: str
    handle: Any
    memory_total_bytes: int | None
    limit_w: float | None
    whole_card: bool
    counter_mj: int | None = None
    power_w: float | None = None
    counted_j: float = 0.0
    integrated_j: float = 0.0
    flags: list[str] = field(default_factory=list)


class NvidiaMeter:
    """Reads GPUs in full (``share`` is 1, flagged ``whole_device``): what other processes use of them is not taken off.

    Energy is the counter's difference (COUNTER). Without a counter, or where it went back, it is the integral of
    polled power (SAMPLED_POWER). Without both it is 0 with the power limit as the upper end of the band, and flagged.
    """

    def __init__(self, nvml: Any, visible: Sequence[str] = ()) -> None:  # noqa: ANN401  # a module without types
        self._nvml = nvml
        self._visible = visible
        self._gpus: list[_Gpu] = []
        self._last_s = 0.0

    def start(self, at_s: float) -> list[DeviceDescription]:
        """Set the baseline and describe the GPUs; those of CUDA_VISIBLE_DEVICES when it names some."""
        found = [self._gpu(index) for index in range(self._nvml.nvmlDeviceGetCount())]
        self._gpus = [
            gpu
            for index, gpu in enumerate(found)
            if not self._visible or any(name == str(index) or gpu.device_id.startswith(name) for name in self._visible)
        ]
        self._last_s = at_s
        for gpu in self._gpus:
            gpu.counter_mj, gpu.power_w = self._counter_mj(gpu), self._power_w(gpu)
        return [self._description(gpu) for gpu in self._gpus]

    def read(self, at_s: float) -> list[Reading]:
        """Return the energy of each GPU since the last read."""
        interval_s, self._last_s = at_s - self._last_s, at_s
        return [self._reading(gpu, interval_s) for gpu in self._gpus]

    def close(self) -> None:
        """Shut NVML down for this user of it."""
        self._nvml.nvmlShutdown()

    def _gpu(self, index: int) -> _Gpu:
        nvml = self._nvml
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        uuid = self._ask(nvml.nvmlDeviceGetUUID, handle)
        memory = self._ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        limit_mw = self._ask(nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
        mig = self._ask(nvml.nvmlDeviceGetMigMode, handle)
        return _Gpu(
            device_id=_text(uuid) if uuid else f"gpu{index}",
            product=_text(self._ask(nvml.nvmlDeviceGetName, handle) or "NVIDIA GPU"),
            handle=handle,
            memory_total_bytes=int(memory.total) if memory else None,
            limit_w=limit_mw / 1000 if limit_mw else None,
            whole_card=bool(mig and mig[0]),
        )

    def _reading(self, gpu: _Gpu, interval_s: float) -> Reading:
        integrated_j = self._integrate(gpu, interval_s)
        counted_j, flags = self._count(gpu)
        flags = ["whole_device", *(["mig_whole_card"] if gpu.whole_card else []), *flags]
        if counted_j is not None:
            energy_j, band, method = counted_j, _COUNTER_BAND, Method.COUNTER
            flags += self._drift(gpu, counted_j, integrated_j)
        elif integrated_j is not None:
            energy_j, band, method = integrated_j, _POLLED_BAND, Method.SAMPLED_POWER
        else:
            energy_j, band, method = 0.0, 0.0, Method.UNKNOWN
            flags.append("no_power_reading")
        unread = method is Method.UNKNOWN
        use = self._ask(self._nvml.nvmlDeviceGetUtilizationRates, gpu.handle)
        memory = self._ask(self._nvml.nvmlDeviceGetMemoryInfo, gpu.handle)
        celsius = self._ask(self._nvml.nvmlDeviceGetTemperature, gpu.handle, self._nvml.NVML_TEMPERATURE_GPU)
        return Reading(
            device_id=gpu.device_id,
            kind=DeviceKind.GPU,
            interval_s=interval_s,
            energy_j=energy_j,
            energy_low_j=energy_j * (1 - band),
            energy_high_j=(gpu.limit_w or 0.0) * interval_s if unread else energy_j * (1 + band),
            energy_integrated_j=integrated_j,
            utilization_pct=float(use.gpu) if use else None,
            memory_used_bytes=int(memory.used) if memory else None,
            temperature_c=float(celsius) if celsius is not None else None,
            method=method,
            model_name=gpu.product,
            flags=tuple(flags),
        )

    def _integrate(self, gpu: _Gpu, interval_s: float) -> float | None:
        """Return the trapezoid of power between two polls, None unless both gave a value."""
        before, gpu.power_w = gpu.power_w, self._power_w(gpu)
        return None if before is None or gpu.power_w is None else (before + gpu.power_w) / 2 * interval_s

    def _count(self, gpu: _Gpu) -> tuple[float | None, list[str]]:
        before, gpu.counter_mj = gpu.counter_mj, self._counter_mj(gpu)
        if before is None or gpu.counter_mj is None:
            return None, ["no_energy_counter"]
        if gpu.counter_mj < before:
            return None, ["counter_reset"]
        return (gpu.counter_mj - before) / 1000, []

    @staticmethod
    def _drift(gpu: _Gpu, counted_j: float, integrated_j: float | None) -> list[str]:
        gpu.counted_j += counted_j
        gpu.integrated_j += counted_j if integrated_j is None else integrated_j
        apart = abs(gpu.integrated_j - gpu.counted_j) > _DRIFT * gpu.counted_j
        return ["counter_and_integral_differ"] if apart and gpu.counted_j > _DRIFT_AFTER_J else []

    def _counter_mj(self, gpu: _Gpu) -> int | None:
        return self._ask(self._nvml.nvmlDeviceGetTotalEnergyConsumption, gpu.handle)

    def _power_w(self, gpu: _Gpu) -> float | None:
        milliwatts = self._ask(self._nvml.nvmlDeviceGetPowerUsage, gpu.handle)
        return None if milliwatts is None else milliwatts / 1000

    def _ask(self, query: Callable[..., T], *args: Any) -> T | None:  # noqa: ANN401  # NVML's handles
        """Return an answer, None where the device has none (each GPU lacks something)."""
        try:
            return query(*args)
        except self._nvml.NVMLError:
            return None

    def _description(self, gpu: _Gpu) -> DeviceDescription:
        polled = Method.UNKNOWN if gpu.power_w is None else Method.SAMPLED_POWER
        return DeviceDescription(
            device_id=gpu.device_id,
            kind=DeviceKind.GPU,
            model_name=gpu.product,
            method=polled if gpu.counter_mj is None else Method.COUNTER,
            count=1,
            memory_total_bytes=gpu.memory_total_bytes,
        )


def detect_nvidia(visible: Sequence[str] = (), load: Callable[[], Any] | None = None) -> Meter:
    """Return the meter of this machine's GPUs. A driver that is there but does not answer is warned of."""
    try:
        nvml = (load or (lambda: importlib.import_module("pynvml")))()
    except ImportError:
        return NoGpuMeter()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        absent = {nvml.NVML_ERROR_LIBRARY_NOT_FOUND, nvml.NVML_ERROR_DRIVER_NOT_LOADED}
        if getattr(error, "value", None) not in absent:
            _LOG.warning("wattline: the NVIDIA driver does not answer, so GPUs are not measured: %s", error)
        return NoGpuMeter()
    return NvidiaMeter(nvml, visible)


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
