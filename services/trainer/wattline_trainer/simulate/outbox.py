"""The fleet's one way to Kafka: the tracker's wire, with back-pressure where a training's publisher drops."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import partial

from wattline.courier import Undelivered, Wire
from wattline.spool_records import Record
from wattline_common.errors import BrokerUnavailableError, ConfigurationError
from wattline_common.events import Event

__all__ = ["Outbox"]

_MOST_IN_FLIGHT = 20_000
_POLL_EVERY = 500
_POLL_S = 0.1
_TOLD_AFTER_S = 3.0


class Outbox:
    """Sends messages and waits when there is no room; nothing is dropped but by `close` after its time.

    ``is_stopping`` says whether a person wants an end: then a broker that is away is waited for ``patience_s`` only.
    """

    def __init__(
        self, wire: Wire, tell: Callable[[str], None], is_stopping: Callable[[], bool], patience_s: float = 20.0
    ) -> None:
        self._wire = wire
        self._tell = tell
        self._is_stopping = is_stopping
        self._patience_s = patience_s
        self._again: deque[tuple[str, bytes]] = deque()
        self._in_flight = 0
        self._sent = 0
        self._told = self._gave_up = False
        self.delivered = 0

    def message(self, event: Event) -> bytes:
        """Return the bytes of an event."""
        return self._wire.message(Record.of(event))

    def send(self, key: str, message: bytes) -> None:
        """Hand a message over, now or as soon as there is room."""
        self._sent += 1
        if self._sent % _POLL_EVERY == 0:
            self._wire.poll(0.0)
        self._wait_while(lambda: self._in_flight >= _MOST_IN_FLIGHT)
        self._hand_over(key, message)

    def pause(self, seconds: float) -> None:
        """Let time pass, in which deliveries are heard of and tried again."""
        self._wire.poll(seconds)
        self._send_again()

    def close(self) -> None:
        """Wait until everything is delivered; raise `BrokerUnavailableError` when a stop leaves no time for it."""
        try:
            if not self._gave_up:
                self._wait_while(lambda: self._in_flight > 0 or bool(self._again))
        finally:
            self._wire.close()

    def _hand_over(self, key: str, message: bytes) -> None:
        while True:
            try:
                self._wire.send(key, message, partial(self._done, key, message))
            except BufferError:
                self._wait_once()
            else:
                self._in_flight += 1
                return

    def _done(self, key: str, message: bytes, undelivered: Undelivered | None) -> None:
        self._in_flight -= 1
        if undelivered is None:
            self.delivered += 1
        elif undelivered.again:
            self._again.append((key, message))
        else:
            raise ConfigurationError(f"Kafka refuses an event: {undelivered}; see the topic's max.message.bytes")

    def _send_again(self) -> None:
        for _ in range(len(self._again)):
            self._hand_over(*self._again.popleft())

    def _wait_while(self, is_full: Callable[[], bool]) -> None:
        """Wait; tell once that nothing moves, and give up only when a stop has been asked for."""
        before, since_s = self.delivered, time.monotonic()
        while is_full():
            self._wait_once()
            self._send_again()
            if self.delivered != before:
                before, since_s = self.delivered, time.monotonic()
                continue
            still_s = time.monotonic() - since_s
            if still_s > self._patience_s and self._is_stopping():
                self._gave_up = True
                raise BrokerUnavailableError(
                    f"{self._in_flight + len(self._again)} messages were not delivered: Kafka does not answer at "
                    "KAFKA_BOOTSTRAP_SERVERS; start it, or set the address"
                )
            if still_s > _TOLD_AFTER_S and not self._told:
                self._told = True
                self._tell("Kafka does not take events (KAFKA_BOOTSTRAP_SERVERS); waiting for it, nothing is dropped")

    def _wait_once(self) -> None:
        self._wire.poll(_POLL_S)
