"""Takes events off the training's hands at once, and delivers them from the spool on a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from wattline.courier import POLL_S, Courier, Wire
from wattline.guard import Problems
from wattline.spool import Spool
from wattline.spool_folders import Leftover
from wattline_common.errors import ConfigurationError, UnavailableError
from wattline_common.events import Event

__all__ = ["NullPublisher", "Publisher", "SpoolPublisher"]

_IDLE_S = 1.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0
_CLOSING_PAUSE_S = 0.2
_HOPELESS_S = 1.0  # how long an end waits for servers that never answered
_GRACE_S = 0.5
_LEFTOVERS_AFTER_S = 5.0  # a run that is shorter has nothing to spare for the dead
_LEFTOVERS_BATCH = 50


class Publisher(Protocol):
    """Where a run's events go. Nothing here blocks or raises but `close`, which blocks for a bounded time."""

    @property
    def dropped(self) -> int:
        """Events given up so far."""
        ...

    def start(self) -> None:
        """Begin to deliver."""
        ...

    def publish(self, event: Event) -> None:
        """Take an event."""
        ...

    def close(self, timeout_s: float) -> None:
        """Deliver what is left within a time; what cannot be is kept for later, or counted as dropped."""
        ...


class NullPublisher:
    """Takes events nowhere."""

    dropped = 0

    def start(self) -> None:
        """Do nothing."""

    def publish(self, event: Event) -> None:
        """Forget it."""

    def close(self, timeout_s: float) -> None:
        """Do nothing."""


class _Spare:
    """Delivers what processes that are gone have left, once, a batch at a time, when there is time for it."""

    def __init__(self, courier: Courier, leftovers: Callable[[], Iterator[Leftover]]) -> None:
        self._courier = courier
        self._leftovers = leftovers
        self._rest: Iterator[Leftover] | None = None
        self._current: Leftover | None = None
        self._begin_s = time.monotonic() + _LEFTOVERS_AFTER_S

    def carry(self) -> bool:
        """Carry a batch, once the servers have shown that they are there; return whether there may be more."""
        if time.monotonic() < self._begin_s or not self._courier.delivered:
            return False
        self._rest = self._leftovers() if self._rest is None else self._rest
        self._current = self._current or next(self._rest, None)
        if self._current is None:
            return False
        for _ in range(_LEFTOVERS_BATCH):
            if not self._courier.carry(self._current):
                break
        if self._current.is_done():
            self.close()
        return True

    def close(self) -> None:
        """Let go of what is held."""
        if self._current is not None:
            current, self._current = self._current, None
            current.close()


class SpoolPublisher:
    """Writes events to a spool and delivers them from there.

    Servers that are away are tried again for as long as the run lasts; what they do not take stays in the spool. In
    idle moments it delivers what processes that are gone have left there (``leftovers``), at a bounded pace.
    """

    def __init__(
        self,
        spool: Spool,
        open_wire: Callable[[], Wire],
        problems: Problems,
        leftovers: Callable[[], Iterator[Leftover]] | None = None,
    ) -> None:
        self._spool = spool
        self._problems = problems
        self._courier = Courier(open_wire, lambda message: problems.report("dropped event", message))
        self._spare = _Spare(self._courier, leftovers or (lambda: iter(())))
        self._thread = threading.Thread(target=self._work, name="wattline-publisher", daemon=True)
        self._hopeless = False
        self._closing = threading.Event()
        self._deadline_s = float("inf")

    @property
    def dropped(self) -> int:
        """Events given up so far."""
        return self._spool.dropped

    @property
    def delivered(self) -> int:
        """Events that the broker has acknowledged."""
        return self._courier.delivered

    def start(self) -> None:
        """Start to write and to deliver."""
        self._spool.start()
        self._thread.start()

    def publish(self, event: Event) -> None:
        """Take an event."""
        self._spool.append(event)

    def close(self, timeout_s: float) -> None:
        """Deliver what is left; do not wait long for servers that have never answered; keep the rest."""
        self._spool.close()
        if self._is_hopeless():
            timeout_s = min(timeout_s, _HOPELESS_S)
        self._deadline_s = time.monotonic() + timeout_s
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s + _GRACE_S)
        kept, lost = self._spool.end()
        if kept:
            self._problems.report(
                "kept events", f"{kept} events are kept in {self._spool.place}; `wattline flush` sends them"
            )
        if lost:
            self._problems.report("undelivered events", f"{lost} events could not be delivered in time and are lost")

    def _work(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._is_over():
            try:
                if not self._courier.carry(self._spool) and not self._closing.is_set():
                    self._spool.wait(POLL_S if self._spare.carry() else _IDLE_S)
                pause_s = _FIRST_PAUSE_S
                self._hopeless = not self._courier.reachable
            except (UnavailableError, ConfigurationError) as error:
                self._problems.report(type(error).__name__, f"events wait: {error}")
                pause_s = self._pause(pause_s)
            except Exception as error:  # noqa: BLE001  # nothing may end this thread
                self._problems.report("publishing", "publishing failed and is tried again", error)
                pause_s = self._pause(pause_s)
        with self._problems.guard("closing the producer"):
            self._courier.close()
        with self._problems.guard("leaving other sources' spool"):
            self._spare.close()

    def _is_over(self) -> bool:
        if not self._closing.is_set():
            return False
        if self._is_hopeless():
            self._deadline_s = min(self._deadline_s, time.monotonic() + _HOPELESS_S)
            self._hopeless = False
        is_empty = not self._courier.in_flight and self._spool.is_done()
        return is_empty or time.monotonic() >= self._deadline_s

    def _is_hopeless(self) -> bool:
        """Say whether the servers do not answer, and never have."""
        return self._hopeless and not self._courier.delivered

    def _pause(self, pause_s: float) -> float:
        """Wait, and return how long to wait the next time. An end that comes meanwhile shortens it."""
        self._hopeless = True
        if not self._closing.wait(pause_s):
            return min(pause_s * 2, _LONGEST_PAUSE_S)
        time.sleep(_CLOSING_PAUSE_S)
        return pause_s
