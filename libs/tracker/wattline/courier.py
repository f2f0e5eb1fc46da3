"""Carries records from where they wait to Kafka, and back when they are not taken."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from wattline.spool_records import Record
from wattline.spool_segments import Item, Outlet
from wattline_common.errors import ContractError, UnavailableError

__all__ = ["POLL_S", "Courier", "Undelivered", "Wire"]

_IN_FLIGHT = 500
POLL_S = 0.1


class Undelivered(Exception):  # noqa: N818  # a verdict on one message, not a fault
    """A message was not delivered; ``again`` says whether a later try may succeed."""

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.again = again


class Wire(Protocol):
    """The way to the broker. Used by one thread only."""

    def message(self, record: Record) -> bytes:
        """Return the bytes of a record; raise `UnavailableError`, `ConfigurationError` or `ContractError`."""
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


class Courier:
    """Carries the records of outlets over a `Wire`, on one thread; what is not delivered goes back.

    ``open_wire`` is called at the first record: the imports behind it take a second.
    """

    def __init__(self, open_wire: Callable[[], Wire], refuse: Callable[[str], None]) -> None:
        self._open_wire = open_wire
        self._refuse = refuse
        self._wire: Wire | None = None
        self._under_way: dict[int, tuple[Outlet, Item]] = {}
        self.reachable = True
        self.delivered = 0

    @property
    def in_flight(self) -> int:
        """Messages of which nothing was heard yet."""
        return len(self._under_way)

    def carry(self, outlet: Outlet) -> bool:
        """Send the outlet's next record, hear of those under way; return whether there was anything to do.

        Raises `UnavailableError` or `ConfigurationError` while nothing can be sent.
        """
        item = outlet.take() if len(self._under_way) < _IN_FLIGHT else None
        if item is not None:
            self._send(outlet, item)
        busy = bool(self._under_way)
        if self._wire is not None:
            is_full = item is None or len(self._under_way) >= _IN_FLIGHT
            self.reachable = self._wire.poll(POLL_S if busy and is_full else 0.0)
        return busy or item is not None

    def close(self) -> None:
        """Give back what is under way."""
        for outlet, item in self._under_way.values():
            outlet.give_back(item)
        self._under_way.clear()
        if self._wire is not None:
            self._wire.close()

    def _send(self, outlet: Outlet, item: Item) -> None:
        try:
            if self._wire is None:
                self._wire = self._open_wire()
            message = self._wire.message(item.record)
            self._under_way[id(item)] = (outlet, item)
            self._wire.send(item.record.key, message, partial(self._done, outlet, item))
        except ContractError as error:
            outlet.settle(item, delivered=False)
            self._refuse(f"an event cannot be sent: {error}")
        except BaseException:
            self._under_way.pop(id(item), None)
            outlet.give_back(item)
            raise

    def _done(self, outlet: Outlet, item: Item, undelivered: Undelivered | None) -> None:
        if self._under_way.pop(id(item), None) is None:
            return  # `close` gave it back
        if undelivered is None:
            self.delivered += 1
            outlet.settle(item, delivered=True)
        elif undelivered.again:
            outlet.give_back(item)
            raise UnavailableError(f"Kafka did not take an event: {undelivered}") from undelivered
        else:
            outlet.settle(item, delivered=False)
            self._refuse(f"Kafka refused an event: {undelivered}")
