"""Takes events off the training's hands at once, and delivers them from a thread of its own."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from wattline.guard import Problems
from wattline_common.errors import ConfigurationError, ContractError, UnavailableError
from wattline_common.events import Event

__all__ = ["BackgroundPublisher", "NullPublisher", "Publisher", "Undelivered", "Wire"]

_IN_FLIGHT = 500
_IDLE_S = 1.0
_POLL_S = 0.1
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0
_CLOSING_PAUSE_S = 0.2
_HOPELESS_S = 1.0  # how long an end waits for servers that never answered
_GRACE_S = 0.5


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
        """Deliver what is left within a time; what cannot be is counted as dropped."""
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


class Undelivered(Exception):  # noqa: N818  # a verdict on one message, not a fault
    """A message was not delivered; ``again`` says whether a later try may succeed."""

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.again = again


class Wire(Protocol):
    """The way to the broker. Used by one thread only."""

    def message(self, event: Event) -> bytes:
        """Return the bytes of an event; raise `UnavailableError`, `ConfigurationError` or `ContractError`."""
        ...

    def send(self, key: str, message: bytes, done: Callable[[Undelivered | None], None]) -> None:
        """Hand a message over; ``done`` is called by `poll`, once. Raise `BufferError` when there is no room."""
        ...

    def poll(self, timeout_s: float) -> bool:
        """Wait for news of messages; return whether the broker seems to be reachable."""
        ...

    def close(self) -> None:
        """Forget what is still under way."""
        ...


class BackgroundPublisher:
    """A bounded queue before a `Wire`.

    Servers that are away are tried again for as long as the run lasts; when the queue is full the oldest event goes
    and is counted. ``open_wire`` is called on the publisher's thread: the imports behind it take a second.
    """

    def __init__(self, open_wire: Callable[[], Wire], problems: Problems, capacity: int = 10_000) -> None:
        self._open_wire = open_wire
        self._problems = problems
        self._capacity = capacity
        self._queue: deque[Event] = deque()
        # Re-entrant, since a signal handler may stop the run while the same thread is in here.
        self._changed = threading.Condition(threading.RLock())
        self._thread = threading.Thread(target=self._work, name="wattline-publisher", daemon=True)
        self._wire: Wire | None = None
        self._in_flight = 0
        self._hopeless = False
        self._closing = False
        self._deadline_s = float("inf")
        self.delivered = 0
        self.dropped = 0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def publish(self, event: Event) -> None:
        """Queue an event; drop the oldest one when the queue is full."""
        with self._changed:
            self._queue.append(event)
            self._drop_surplus()
            self._changed.notify()

    def close(self, timeout_s: float) -> None:
        """Deliver what is left; do not wait long for servers that have never answered."""
        with self._changed:
            self._closing = True
            if self._is_hopeless():
                timeout_s = min(timeout_s, _HOPELESS_S)
            self._deadline_s = time.monotonic() + timeout_s
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_s + _GRACE_S)
        with self._changed:
            left = len(self._queue) + self._in_flight
            self._queue.clear()
            self._in_flight = 0
            self.dropped += left
        if left:
            self._problems.report("undelivered events", f"{left} events could not be delivered in time and are lost")

    def _work(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._is_over():
            try:
                self._deliver()
                pause_s = _FIRST_PAUSE_S
            except (UnavailableError, ConfigurationError) as error:
                self._problems.report(type(error).__name__, f"events wait: {error}")
                pause_s = self._pause(pause_s)
            except Exception as error:  # noqa: BLE001  # nothing may end this thread
                self._problems.report("publishing", "publishing failed and is tried again", error)
                pause_s = self._pause(pause_s)
        with self._problems.guard("closing the producer"):
            if self._wire is not None:
                self._wire.close()

    def _is_over(self) -> bool:
        with self._changed:
            if not self._closing:
                return False
            if self._is_hopeless():
                self._deadline_s = min(self._deadline_s, time.monotonic() + _HOPELESS_S)
                self._hopeless = False
            return not (self._queue or self._in_flight) or time.monotonic() >= self._deadline_s

    def _is_hopeless(self) -> bool:
        """Say whether the servers do not answer, and never have."""
        return self._hopeless and not self.delivered

    def _deliver(self) -> None:
        """Send the next event or wait for one; then hear of those under way."""
        event = self._next()
        if event is not None:
            self._send(event)
        if self._wire is not None:
            wait_s = _POLL_S if self._in_flight and (event is None or self._in_flight >= _IN_FLIGHT) else 0.0
            self._hopeless = not self._wire.poll(wait_s)

    def _next(self) -> Event | None:
        with self._changed:
            if not self._queue and not self._in_flight and not self._closing:
                self._changed.wait(_IDLE_S)
            if not self._queue or self._in_flight >= _IN_FLIGHT:
                return None
            return self._queue.popleft()

    def _send(self, event: Event) -> None:
        try:
            if self._wire is None:
                self._wire = self._open_wire()
            self._wire.send(event.run_id, self._wire.message(event), partial(self._done, event))
        except ContractError as error:
            self._give_up(f"an event cannot be written: {error}")
        except BaseException:
            self._give_back(event)
            raise
        else:
            self._in_flight += 1

    def _done(self, event: Event, undelivered: Undelivered | None) -> None:
        with self._changed:
            self._in_flight -= 1
            if undelivered is None:
                self.delivered += 1
                return
        if undelivered.again:
            self._give_back(event)
            raise UnavailableError(f"Kafka did not take an event: {undelivered}") from undelivered
        self._give_up(f"Kafka refused an event: {undelivered}")

    def _give_back(self, event: Event) -> None:
        with self._changed:
            self._queue.appendleft(event)
            self._drop_surplus()

    def _give_up(self, message: str) -> None:
        with self._changed:
            self.dropped += 1
        self._problems.report("dropped event", message)

    def _drop_surplus(self) -> None:
        while len(self._queue) > self._capacity:
            self._queue.popleft()
            self.dropped += 1

    def _pause(self, pause_s: float) -> float:
        """Wait, and return how long to wait the next time. An end that comes meanwhile shortens it."""
        self._hopeless = True
        with self._changed:
            self._changed.wait_for(lambda: self._closing, _CLOSING_PAUSE_S if self._closing else pause_s)
        if self._closing:
            time.sleep(_CLOSING_PAUSE_S)
        return min(pause_s * 2, _LONGEST_PAUSE_S)
