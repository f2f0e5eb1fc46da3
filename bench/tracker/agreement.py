"""Whether the ``codecarbon-compatible`` model agrees with CodeCarbon itself, over the very same seconds."""

from __future__ import annotations

import bisect
import threading
import time

from wattline.meters.cpu import CpuModelMeter
from wattline.meters.cpu_charge import CODECARBON, cpu_model
from wattline.meters.cpu_models import read_identity
from wattline.meters.host import detect_host
from wattline.meters.tree import ProcessTree
from wattline_common.errors import ResourceError

__all__ = ["Beside"]


class Beside:
    """Reads the model once a second while a ``with`` block runs."""

    def __init__(self) -> None:
        host, cpu = detect_host(), read_identity()
        model = cpu_model(CODECARBON, cpu, host.logical_cpus)
        self._meter = CpuModelMeter(
            host, ProcessTree(host), model, product=cpu.product, cpus_allocated=host.logical_cpus
        )
        self._times_s: list[float] = []
        self._joules: list[float] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Beside:
        """Begin."""
        self._times_s, self._joules = [time.monotonic()], [0.0]
        self._meter.start(self._times_s[0])
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Read once more and end."""
        self._ended.set()
        self._thread.join()

    def kwh(self, from_s: float, to_s: float) -> float:
        """Return the energy of a span of monotonic seconds, by straight lines between the reads."""
        if not self._times_s[0] <= from_s <= to_s <= self._times_s[-1]:
            raise ResourceError("CodeCarbon's window is not inside ours; its clock and ours do not agree")
        return (self._until_j(to_s) - self._until_j(from_s)) / 3.6e6

    def _work(self) -> None:
        while not self._ended.wait(1.0):
            self._read()
        self._read()

    def _read(self) -> None:
        now_s = time.monotonic()
        (reading,) = self._meter.read(now_s)
        self._joules.append(self._joules[-1] + reading.energy_j)
        self._times_s.append(now_s)

    def _until_j(self, at_s: float) -> float:
        after = max(1, bisect.bisect_left(self._times_s, at_s))
        (from_s, to_s), (from_j, to_j) = self._times_s[after - 1 : after + 1], self._joules[after - 1 : after + 1]
        return from_j + (to_j - from_j) * (at_s - from_s) / (to_s - from_s)
