"""Reads every meter about once a second, on one thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from wattline.clock import Clock
from wattline.guard import Problems
from wattline.meters.base import Meter, Reading, missing_reading
from wattline_common.events import DeviceDescription

__all__ = ["Sampler"]

_Sink = Callable[[float, list[Reading]], None]


class Sampler:
    """Calls ``sink(at_s, readings)`` at start + k * period.

    A late tick moves no other, and ticks that were missed are not made up: the next reading covers them. The last
    one is read on `stop`. A meter that fails is reported once and flagged in the reading, and the others are read.
    """

    def __init__(self, meters: Sequence[Meter], clock: Clock, sink: _Sink, problems: Problems, period_s: float) -> None:
        self._meters = meters
        self._clock = clock
        self._sink = sink
        self._problems = problems
        self._period_s = period_s
        self._devices: list[list[DeviceDescription]] = []
        self._last_s: list[float] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="wattline-sampler", daemon=True)

    def start(self, at_s: float) -> list[DeviceDescription]:
        """Set the meters' baselines, start the thread and return the devices."""
        self._devices = [self._start_meter(meter, at_s) for meter in self._meters]
        self._last_s = [at_s] * len(self._meters)
        self._start_s = at_s
        self._thread.start()
        return [device for devices in self._devices for device in devices]

    def stop(self, timeout_s: float) -> None:
        """Read once more and end; after ``timeout_s`` a meter that hangs is left behind."""
        self._stopping.set()
        if self._thread.ident is None:
            return
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._problems.report("hanging meter", f"a meter did not answer for {timeout_s:g} s; its last part is lost")

    def tick(self, at_s: float) -> None:
        """Read every meter and hand the readings over."""
        readings = [reading for index in range(len(self._meters)) for reading in self._read(index, at_s)]
        self._sink(at_s, readings)

    def _work(self) -> None:
        while not self._stopping.wait(self._until_next_s()):
            with self._problems.guard("sampling"):
                self.tick(self._clock.monotonic_s())
        with self._problems.guard("the last sample"):
            self.tick(self._clock.monotonic_s())
        for meter in self._meters:
            with self._problems.guard("closing a meter"):
                meter.close()

    def _until_next_s(self) -> float:
        passed_s = self._clock.monotonic_s() - self._start_s
        return self._period_s - passed_s % self._period_s

    def _start_meter(self, meter: Meter, at_s: float) -> list[DeviceDescription]:
        try:
            return meter.start(at_s)
        except Exception as error:  # noqa: BLE001  # whatever a driver raises
            self._problems.report(f"{_name(meter)}.start", f"{_name(meter)} does not start", error)
            return []

    def _read(self, index: int, at_s: float) -> list[Reading]:
        meter = self._meters[index]
        try:
            readings = meter.read(at_s)
        except Exception as error:  # noqa: BLE001  # whatever a driver raises
            self._problems.report(f"{_name(meter)}.read", f"{_name(meter)} fails", error)
            readings = [missing_reading(device, at_s - self._last_s[index]) for device in self._devices[index]]
        self._last_s[index] = at_s
        return readings


def _name(meter: Meter) -> str:
    """Name a meter for people, and each apart: the one inside where another wraps it."""
    return type(getattr(meter, "inner", meter)).__name__
