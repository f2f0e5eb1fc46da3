"""Ends a training between two steps when a person or a cluster asks for it."""

from __future__ import annotations

import signal
from types import FrameType

__all__ = ["StopRequest"]


class StopRequest:
    """Remembers the first SIGINT or SIGTERM. The training looks between steps, so no step and no event is cut in two.

    Later signals change nothing: ending takes a bounded time anyway.
    """

    def __init__(self) -> None:
        self._signal: int | None = None

    def listen(self) -> None:
        """Take the two signals over; only the main thread may."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    @property
    def exit_code(self) -> int | None:
        """The signal's exit code (130 or 143) when one has come."""
        return None if self._signal is None else 128 + self._signal

    def is_asked(self) -> bool:
        """Say whether a signal has come."""
        return self._signal is not None

    def raise_if_asked(self) -> None:
        """Raise `SystemExit` with the exit code when a signal has come."""
        if self.exit_code is not None:
            raise SystemExit(self.exit_code)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._signal = self._signal or number
