"""Stand-ins for a run's parts: a clock moved by hand, a meter that replays power, a publisher that keeps events.

>>> clock, events = ManualClock(), MemoryPublisher()
>>> run = wattline.track(clock=clock, meters=[ReplayMeter([60.0, 80.0])], publisher=events)
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterable, Sequence

from wattline.meters.base import Reading
from wattline.replay import ReplayGpu, ReplayNvml, ReplayNvmlError
from wattline_common.events import DeviceDescription, DeviceKind, Event, Method

__all__ = ["ManualClock", "MemoryPublisher", "ReplayGpu", "ReplayMeter", "ReplayNvml", "ReplayNvmlError"]


class ManualClock:
    """Time that passes only when told."""

    def __init__(self, start: datetime.datetime = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)) -> None:
        self._start = start
        self._now_s = 0.0

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now_s += seconds

    def monotonic_s(self) -> float:
        """Return the seconds that have passed."""
        return self._now_s

    def timestamp(self, monotonic_s: float) -> datetime.datetime:
        """Return the start plus the seconds."""
        return self._start + datetime.timedelta(seconds=monotonic_s)


class ReplayMeter:
    """A device that draws the given powers in W, one for each read, again and again.

    An exception in their place is raised. ``band`` is the half width of the band as a share of the value.
    """

    def __init__(
        self,
        powers_w: Iterable[float | Exception],
        *,
        device_id: str = "replay",
        kind: DeviceKind = DeviceKind.CPU,
        method: Method = Method.SAMPLED_POWER,
        band: float = 0.1,
    ) -> None:
        self._powers_w = itertools.cycle(powers_w)
        self._device = DeviceDescription(device_id=device_id, kind=kind, model_name="replay", method=method, count=1)
        self._band = band
        self._last_s = 0.0

    def start(self, at_s: float) -> list[DeviceDescription]:
        """Set the baseline."""
        self._last_s = at_s
        return [self._device]

    def read(self, at_s: float) -> list[Reading]:
        """Return the next power over the time since the last read."""
        power_w = next(self._powers_w)
        if isinstance(power_w, Exception):
            raise power_w
        interval_s, self._last_s = at_s - self._last_s, at_s
        energy_j = power_w * interval_s
        return [
            Reading(
                device_id=self._device.device_id,
                kind=self._device.kind,
                interval_s=interval_s,
                energy_j=energy_j,
                energy_low_j=energy_j * (1 - self._band),
                energy_high_j=energy_j * (1 + self._band),
                utilization_pct=50.0,
                method=self._device.method,
                model_name=self._device.model_name,
            )
        ]

    def close(self) -> None:
        """Hold nothing."""


class MemoryPublisher:
    """Keeps the events, in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.dropped = 0
        self.closed = False

    def start(self) -> None:
        """Do nothing."""

    def publish(self, event: Event) -> None:
        """Keep an event."""
        self.events.append(event)

    def close(self, timeout_s: float) -> None:  # noqa: ARG002  # the interface
        """Remember that the run has ended."""
        self.closed = True

    def of(self, *kinds: type[Event]) -> Sequence[Event]:
        """Return the events of some kinds."""
        return [event for event in self.events if isinstance(event, kinds)]
