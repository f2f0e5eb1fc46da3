"""Tells a person how far the simulation is, and keeps its ledger file up to date meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from wattline_trainer.simulate.ledger import FleetLedger

__all__ = ["Progress"]

_TELL_EVERY_S = 5.0
_WRITE_EVERY_S = 3.0


class Progress:
    """Called about every event; looks at the clock, and at times says a line or writes the ledger."""

    def __init__(
        self,
        ledger: FleetLedger,
        path: Path | None,
        delivered: Callable[[], int],
        tell: Callable[[str], None],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._path = path
        self._delivered = delivered
        self._tell = tell
        self._now_s = now_s
        self._start_s = self._told_s = self._written_s = now_s()
        self._told_events = 0

    def history(self, share: float) -> None:
        """Note that a share (0 to 1) of the history's time is written."""
        now_s = self._now_s()
        if now_s - self._told_s >= _TELL_EVERY_S:
            left_s = (now_s - self._start_s) * (1.0 - share) / max(share, 1e-6)
            self._say(now_s, f"history {100.0 * share:.0f} %, {left_s:.0f} s left")
        self._keep(now_s)

    def live(self, runs: int) -> None:
        """Note that live runs go on."""
        now_s = self._now_s()
        if now_s - self._told_s >= _TELL_EVERY_S * 2:
            self._say(now_s, f"{runs} runs live")
        self._keep(now_s)

    def write(self, *, complete: bool) -> None:
        """Write the ledger now."""
        if self._path is not None:
            self._ledger.write(self._path, complete=complete, delivered=self._delivered())

    def _say(self, now_s: float, what: str) -> None:
        rate = (self._ledger.events - self._told_events) / (now_s - self._told_s)
        self._told_s, self._told_events = now_s, self._ledger.events
        self._tell(f"{self._ledger.events:,} events written, {rate:,.0f}/s; {what}")

    def _keep(self, now_s: float) -> None:
        if now_s - self._written_s >= _WRITE_EVERY_S:
            self.write(complete=False)
            self._written_s = self._now_s()
