"""NVIDIA GPUs by NVML: the energy counter, polled power integrated beside it, and no GPU as a meter of nothing."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection
from typing import Any

from wattline.meters.base import Meter, Reading
from wattline.meters.nvidia_devices import Gpu, Names, Nvml, find_nvml, visible_gpus
from wattline_common.events import DeviceDescription, DeviceKind, Method

__all__ = ["NoGpuMeter", "NvidiaMeter", "detect_nvidia"]

_LOG = logging.getLogger(__name__)

# Share of a value by which its true value may differ.
# NVIDIA says no accuracy of its counter: 5 % is what it says of power, and there of Fermi and Kepler only.
_COUNTER_BAND = 0.05
# By how much, in the mean of its cases, arXiv 2312.02741 mended integrals of polled power; its worst case was 65 %. An
# A100's sensor sees a quarter of the time.
_POLLED_BAND = 0.35
_DRIFT = 0.2
_DRIFT_AFTER_J = 100.0
_STUCK_AFTER_S = 0.5  # the counter moves about every 100 ms
_UNSEEN_W = 1000.0  # above any card, where no limit is told


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


class NvidiaMeter:
    """Reads the cards that the run can see: this process by ``visible``, its other ranks on the host by ``others``.

    Energy is the counter's difference (COUNTER). Without a counter, where it went back, or while it stands though the
    card draws power, it is the integral of polled power (SAMPLED_POWER). Without both it is 0 with the power limit as
    the upper end of the band, and flagged; a card that comes back is read from where its counter stood.

    While other processes use a card the run is charged by its part of the SM use: (total - idle) x part, and of the
    idle energy the same part. The band has the other policies: idle energy is nobody's, or all the run's. Where NVML
    does not tell processes apart, or nobody else uses the card, it is charged in full (flag ``whole_device``).
    """

    def __init__(
        self,
        nvml: Any,  # noqa: ANN401  # a module without types
        visible: Names = None,
        local_ranks: int | None = None,
        own_pids: Callable[[], Collection[int]] = lambda: (os.getpid(),),
        others: Callable[[], Collection[Names]] = tuple,
    ) -> None:
        self._module = nvml
        self._nvml = Nvml(nvml)
        self._visible = visible
        self._others = others
        self._looked_for: set[Names] = set()
        self._local_ranks = local_ranks
        self._own_pids = own_pids
        self._pids_are_ours = False
        self._gpus: list[Gpu] = []

    def start(self, at_s: float) -> list[DeviceDescription]:
        """Set the baseline and describe the cards."""
        self._look(at_s)
        return [self._description(gpu) for gpu in self._gpus]

    def read(self, at_s: float) -> list[Reading]:
        """Return the energy of each card since it was last read; one that a rank has brought in begins here."""
        self._look(at_s)
        return [self._reading(gpu, at_s) for gpu in self._gpus]

    def close(self) -> None:
        """Shut NVML down for this user of it."""
        self._module.nvmlShutdown()

    def _look(self, at_s: float) -> None:
        """Take up the cards that the ranks can see by now, and let go of those that none of them can see any more."""
        names = {self._visible, *self._others()}
        if names == self._looked_for:
            return
        known = {gpu.device_id: gpu for gpu in self._gpus}
        found = visible_gpus(self._nvml, names, self._local_ranks)
        self._gpus = [known.get(gpu.device_id, gpu) for gpu in found]
        for gpu, fresh in zip(self._gpus, found, strict=True):
            gpu.mig_share = fresh.mig_share
            if gpu is fresh:
                gpu.read_s = gpu.counter_s = at_s
                gpu.counter_mj, gpu.power_w = self._counter_mj(gpu), self._power_w(gpu)
                gpu.lost = gpu.handle is None
        self._looked_for = names

    def _reading(self, gpu: Gpu, at_s: float) -> Reading:
        interval_s, gpu.read_s = at_s - gpu.read_s, at_s
        if gpu.lost:
            gpu.handle = self._nvml.handle_again(gpu)
        integrated_j = self._integrate(gpu, interval_s)
        covered_s, energy_j, method, flags = self._energy(gpu, at_s, interval_s, integrated_j)
        use = self._nvml.ask(self._module.nvmlDeviceGetUtilizationRates, gpu.handle)
        if use and use.gpu == 0 and gpu.power_w:
            gpu.idle_w = min(gpu.idle_w or gpu.power_w, gpu.power_w)
        share, share_flags = self._share(gpu)
        band = _COUNTER_BAND if method is Method.COUNTER else _POLLED_BAND
        idle_j = min(energy_j, gpu.idle_w * covered_s)
        is_whole = share == 1.0
        low_j = energy_j if is_whole else (energy_j - idle_j) * share
        high_j = energy_j if is_whole else (energy_j - idle_j) * share + idle_j
        # Of instances on one card nobody knows who drew what.
        high_j = energy_j if gpu.mig_share is not None or "share_unknown" in share_flags else high_j
        low_j = 0.0 if "share_unknown" in share_flags else low_j
        unread_j = (gpu.limit_w or _UNSEEN_W) * interval_s
        memory = self._nvml.ask(self._module.nvmlDeviceGetMemoryInfo, gpu.handle)
        celsius = self._nvml.ask(self._module.nvmlDeviceGetTemperature, gpu.handle, self._module.NVML_TEMPERATURE_GPU)
        return Reading(
            device_id=gpu.device_id,
            kind=DeviceKind.GPU,
            interval_s=covered_s,
            energy_j=energy_j * share,
            energy_low_j=low_j * (1 - band),
            energy_high_j=unread_j if method is Method.UNKNOWN else high_j * (1 + band),
            energy_integrated_j=None if integrated_j is None else integrated_j * share,
            share=share,
            utilization_pct=float(use.gpu) if use else None,
            memory_used_bytes=int(memory.used) if memory else None,
            temperature_c=float(celsius) if celsius is not None else None,
            method=method,
            model_name=gpu.product,
            flags=(*share_flags, *flags),
        )

    def _energy(
        self, gpu: Gpu, at_s: float, interval_s: float, integrated_j: float | None
    ) -> tuple[float, float, Method, list[str]]:
        """Return what a card used: seconds covered, joules, how that is known, and remarks."""
        was_lost, before, now = gpu.lost, gpu.counter_mj, self._counter_mj(gpu)
        gpu.lost = now is None and gpu.power_w is None
        if gpu.lost:  # the counter's baseline stays, so that the gap is not lost
            gpu.handle = None
            return interval_s, 0.0, Method.UNKNOWN, ["no_power_reading"]
        flags = ["device_back"] if was_lost else []
        if now is None or before is None:
            gpu.counter_mj, gpu.counter_s, gpu.charged_j = now, at_s, 0.0
            return self._polled(gpu, interval_s, integrated_j, [*flags, "no_energy_counter"])
        covered_s = at_s - gpu.counter_s if was_lost else interval_s
        if now == before and (interval_s >= _STUCK_AFTER_S or gpu.charged_j):
            if gpu.power_w == 0:
                return interval_s, 0.0, Method.UNKNOWN, [*flags, "zero_power"]
            gpu.charged_j += integrated_j or 0.0
            return self._polled(gpu, interval_s, integrated_j, [*flags, "counter_stuck"])
        counted_j, charged_j = (now - before) / 1000, gpu.charged_j
        if now != before:
            gpu.counter_mj, gpu.counter_s, gpu.charged_j = now, at_s, 0.0
        if now < before:
            return self._polled(gpu, interval_s, integrated_j, [*flags, "counter_reset"])
        if charged_j:  # it stood for a while, and polled power stood in: what was charged is not charged again
            flags.append("counter_stuck")
            if counted_j < charged_j:
                return self._polled(gpu, interval_s, integrated_j, flags)
        if not was_lost:
            flags += self._drift(gpu, counted_j, integrated_j)
        return covered_s, counted_j - charged_j, Method.COUNTER, flags

    @staticmethod
    def _polled(
        gpu: Gpu, interval_s: float, integrated_j: float | None, flags: list[str]
    ) -> tuple[float, float, Method, list[str]]:
        if integrated_j is None or (integrated_j == 0.0 and interval_s > 0):
            flags = [*flags, "zero_power" if gpu.power_w == 0 else "no_power_reading"]
            return interval_s, 0.0, Method.UNKNOWN, flags
        return interval_s, integrated_j, Method.SAMPLED_POWER, flags

    def _share(self, gpu: Gpu) -> tuple[float, list[str]]:
        """Return the run's part of a card, and remarks."""
        if gpu.mig_share is not None:
            return gpu.mig_share, ["mig_share"]
        flags = ["mig_whole_card"] if gpu.is_mig else []
        samples = self._nvml.ask(self._module.nvmlDeviceGetProcessUtilization, gpu.handle, gpu.seen_us) or []
        gpu.seen_us = max((sample.timeStamp for sample in samples), default=gpu.seen_us)
        busy = [sample for sample in samples if sample.smUtil > 0]
        if not busy:
            return 1.0, ["whole_device", *flags]
        pids = set(self._own_pids())
        own = sum(sample.smUtil for sample in busy if sample.pid in pids)
        # Inside a container NVML's process ids may be those of the host: until one is ours, none can be told apart.
        self._pids_are_ours = self._pids_are_ours or own > 0
        if not self._pids_are_ours:
            return 1.0, ["whole_device", "share_unknown", *flags]
        share = own / sum(sample.smUtil for sample in busy)
        return share, [*(["whole_device"] if share == 1.0 else ["process_share"]), *flags]

    def _integrate(self, gpu: Gpu, interval_s: float) -> float | None:
        """Return the trapezoid of power between two polls, None unless both gave a value."""
        before, gpu.power_w = gpu.power_w, self._power_w(gpu)
        return None if before is None or gpu.power_w is None else (before + gpu.power_w) / 2 * interval_s

    @staticmethod
    def _drift(gpu: Gpu, counted_j: float, integrated_j: float | None) -> list[str]:
        gpu.counted_j += counted_j
        gpu.integrated_j += counted_j if integrated_j is None else integrated_j
        apart = abs(gpu.integrated_j - gpu.counted_j) > _DRIFT * gpu.counted_j
        return ["counter_and_integral_differ"] if apart and gpu.counted_j > _DRIFT_AFTER_J else []

    def _counter_mj(self, gpu: Gpu) -> int | None:
        return self._nvml.ask(self._module.nvmlDeviceGetTotalEnergyConsumption, gpu.handle)

    def _power_w(self, gpu: Gpu) -> float | None:
        milliwatts = self._nvml.ask(self._module.nvmlDeviceGetPowerUsage, gpu.handle)
        return None if milliwatts is None else milliwatts / 1000

    def _description(self, gpu: Gpu) -> DeviceDescription:
        polled = Method.UNKNOWN if gpu.power_w is None else Method.SAMPLED_POWER
        return DeviceDescription(
            device_id=gpu.device_id,
            kind=DeviceKind.GPU,
            model_name=gpu.product,
            method=polled if gpu.counter_mj is None else Method.COUNTER,
            count=1,
            memory_total_bytes=gpu.memory_total_bytes,
        )


def detect_nvidia(
    visible: Names = None,
    local_ranks: int | None = None,
    own_pids: Callable[[], Collection[int]] = lambda: (os.getpid(),),
    others: Callable[[], Collection[Names]] = tuple,
    load: Callable[[], Any] | None = None,
) -> Meter:
    """Return the meter of this machine's GPUs. A driver that is there but does not answer is warned of."""
    found = find_nvml(load)
    if found.is_fault:
        _LOG.warning("wattline: %s", found.hint)
    if found.module is None:
        return NoGpuMeter()
    return NvidiaMeter(found.module, visible, local_ranks, own_pids, others)
