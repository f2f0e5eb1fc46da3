"""Event time: the wall clock at the start plus monotonic time since, so it never goes back."""

from __future__ import annotations

import datetime
import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """What a run reads time from; a simulated one moves as it is told."""

    def monotonic_s(self) -> float:
        """Return seconds on a clock that never goes back."""
        ...

    def timestamp(self, monotonic_s: float) -> datetime.datetime:
        """Return the UTC time of a reading of `monotonic_s`."""
        ...


class SystemClock:
    """The machine's clocks: a wall clock that is set later moves nothing."""

    def __init__(self) -> None:
        self._start = datetime.datetime.now(datetime.timezone.utc)
        self._start_s = time.monotonic()

    def monotonic_s(self) -> float:
        """Return seconds on the monotonic clock."""
        return time.monotonic()

    def timestamp(self, monotonic_s: float) -> datetime.datetime:
        """Return the UTC time of a monotonic reading, to the microsecond."""
        return self._start + datetime.timedelta(seconds=monotonic_s - self._start_s)
