"""A GPU that plays known powers through NVML's own interface, with the faults that real ones have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import NoReturn

__all__ = ["ReplayGpu", "ReplayNvml", "ReplayNvmlError"]

_COUNTER_STEP_S = 0.1


class ReplayNvmlError(Exception):
    """NVML's error, with its code."""

    def __init__(self, value: int = 3) -> None:
        super().__init__(f"NVML error {value}")
        self.value = value


@dataclass(slots=True, kw_only=True)
class ReplayGpu:
    """A card that draws ``powers_w[k]`` from k to k + 1 times ``step_s``, and then the last for ever.

    Times of faults are spans in s, from and to; a counter that is reset begins again from 0 at ``reset_s``.
    """

    powers_w: Sequence[float]
    step_s: float = 1.0
    uuid: str = "GPU-replay"
    first_mj: int = 1_000_000
    has_counter: bool = True
    has_power: bool = True
    reset_s: float | None = None
    stuck_s: tuple[float, float] | None = None
    lost_s: tuple[float, float] | None = None
    limit_w: float = 400.0
    is_mig: bool = False
    sm_use: Mapping[int, int] = field(default_factory=dict)
    """Use of the SMs in percent, by process id."""

    def joules(self, from_s: float, to_s: float) -> float:
        """Return the true energy of a span."""
        return self._until_j(to_s) - self._until_j(from_s)

    def power_w(self, at_s: float) -> float:
        """Return the true power of a moment."""
        return self.powers_w[min(int(at_s / self.step_s), len(self.powers_w) - 1)]

    def counter_mj(self, at_s: float) -> int:
        """Return what the counter says: as of its last step, standing still while it is stuck."""
        if self.stuck_s and self.stuck_s[0] <= at_s < self.stuck_s[1]:
            at_s = self.stuck_s[0]
        shown_s = int(at_s / _COUNTER_STEP_S + 1e-9) * _COUNTER_STEP_S
        if self.reset_s is not None and at_s >= self.reset_s:
            return int(self.joules(min(self.reset_s, shown_s), shown_s) * 1000)
        return self.first_mj + int(self._until_j(shown_s) * 1000)

    def is_lost(self, at_s: float) -> bool:
        """Say whether the card is away."""
        return self.lost_s is not None and self.lost_s[0] <= at_s < self.lost_s[1]

    def _until_j(self, at_s: float) -> float:
        whole = min(int(at_s / self.step_s), len(self.powers_w))
        rest_s = at_s - whole * self.step_s
        return sum(self.powers_w[:whole]) * self.step_s + self.powers_w[min(whole, len(self.powers_w) - 1)] * rest_s


class ReplayNvml:
    """The module `pynvml` with the given cards at the time that ``now_s`` tells, as the GPU meter asks it."""

    NVMLError = ReplayNvmlError
    NVML_ERROR_DRIVER_NOT_LOADED = 9
    NVML_ERROR_LIBRARY_NOT_FOUND = 12
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, gpus: Sequence[ReplayGpu], now_s: Callable[[], float]) -> None:
        self._gpus = gpus
        self._now_s = now_s
        self.shut_down = False

    def nvmlInit(self) -> None:  # noqa: N802  # NVML's names
        """Begin."""

    def nvmlShutdown(self) -> None:  # noqa: N802
        """End."""
        self.shut_down = True

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        """Return the number of cards."""
        return len(self._gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> ReplayGpu:  # noqa: N802
        """Return a card, unless it is lost."""
        return self._there(self._gpus[index])

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> ReplayGpu:  # noqa: N802
        """Return a card, unless it is lost."""
        found = [gpu for gpu in self._gpus if gpu.uuid == uuid]
        return self._there(found[0]) if found else self._fail()

    def nvmlDeviceGetUUID(self, gpu: ReplayGpu) -> str:  # noqa: N802
        """Return its UUID."""
        return self._there(gpu).uuid

    def nvmlDeviceGetName(self, gpu: ReplayGpu) -> str:  # noqa: N802
        """Return a product name."""
        self._there(gpu)
        return "replayed GPU"

    def nvmlDeviceGetMemoryInfo(self, gpu: ReplayGpu) -> SimpleNamespace:  # noqa: N802
        """Return its memory in bytes."""
        self._there(gpu)
        return SimpleNamespace(total=80 * 2**30, used=2**30)

    def nvmlDeviceGetUtilizationRates(self, gpu: ReplayGpu) -> SimpleNamespace:  # noqa: N802
        """Return its use in percent."""
        return SimpleNamespace(gpu=min(100, sum(self._there(gpu).sm_use.values())), memory=0)

    def nvmlDeviceGetTemperature(self, gpu: ReplayGpu, _: int) -> int:  # noqa: N802
        """Return degrees Celsius."""
        self._there(gpu)
        return 61

    def nvmlDeviceGetEnforcedPowerLimit(self, gpu: ReplayGpu) -> int:  # noqa: N802
        """Return the limit in mW."""
        return int(self._there(gpu).limit_w * 1000)

    def nvmlDeviceGetMigMode(self, gpu: ReplayGpu) -> tuple[int, int]:  # noqa: N802
        """Return the mode now and after a restart."""
        mode = int(self._there(gpu).is_mig)
        return mode, mode

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: ReplayGpu) -> int:  # noqa: N802
        """Return the counter in mJ."""
        return self._there(gpu).counter_mj(self._now_s()) if gpu.has_counter else self._fail()

    def nvmlDeviceGetPowerUsage(self, gpu: ReplayGpu) -> int:  # noqa: N802
        """Return the power in mW."""
        return int(self._there(gpu).power_w(self._now_s()) * 1000) if gpu.has_power else self._fail()

    def nvmlDeviceGetProcessUtilization(self, gpu: ReplayGpu, _: int) -> list[SimpleNamespace]:  # noqa: N802
        """Return a sample for each process that uses it."""
        time_us = int(self._now_s() * 1e6)
        use = self._there(gpu).sm_use
        return [SimpleNamespace(pid=pid, smUtil=percent, timeStamp=time_us) for pid, percent in use.items()]

    def _there(self, gpu: ReplayGpu) -> ReplayGpu:
        return self._fail(15) if gpu.is_lost(self._now_s()) else gpu

    @staticmethod
    def _fail(value: int = 3) -> NoReturn:
        raise ReplayNvmlError(value)
