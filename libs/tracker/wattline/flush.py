"""Delivers what processes that are gone have left in the spool."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from wattline.courier import Courier
from wattline.spool_folders import Leftover, SpoolRoot
from wattline_common.errors import BrokerUnavailableError, UnavailableError

__all__ = ["Flushed", "flush"]

_TELL_EVERY_S = 2.0
_PAUSE_S = 0.5


@dataclass(slots=True)
class Flushed:
    """What was done."""

    sources: int = 0
    delivered: int = 0
    damaged: int = 0


def flush(
    root: SpoolRoot, courier: Courier, tell: Callable[[str], None], *, patience_s: float, other_hosts: bool = False
) -> Flushed:
    """Deliver every dead source's events and remove its folder; return what was done.

    Raises `UnavailableError` when nothing could be delivered for ``patience_s``, `ConfigurationError` when a setting is
    wrong; what was not delivered then stays.
    """
    done = Flushed()
    try:
        for leftover in root.leftovers(other_hosts=other_hosts):
            _deliver(leftover, courier, tell, patience_s)
            done.sources += 1
            done.damaged += leftover.damaged
    finally:
        done.delivered = courier.delivered
        courier.close()
    return done


def _deliver(leftover: Leftover, courier: Courier, tell: Callable[[str], None], patience_s: float) -> None:
    watch = _Watch(courier, leftover, tell, patience_s)
    try:
        while not leftover.is_done():
            try:
                courier.carry(leftover)
                watch.look()
            except UnavailableError as error:
                watch.look(error)
                time.sleep(_PAUSE_S)
    except BaseException:
        courier.close()  # gives back what is under way, before the folder is let go of
        raise
    finally:
        leftover.close()


class _Watch:
    """Tells how far it is, and loses patience when it is no farther than before."""

    def __init__(self, courier: Courier, leftover: Leftover, tell: Callable[[str], None], patience_s: float) -> None:
        self._courier = courier
        self._leftover = leftover
        self._tell = tell
        self._patience_s = patience_s
        self._before = courier.delivered
        self._last_error: UnavailableError | None = None
        self._moved_s = self._told_s = time.monotonic()

    def look(self, error: UnavailableError | None = None) -> None:
        """Raise the last error, or one of our own, when nothing was delivered for too long."""
        now_s = time.monotonic()
        self._last_error = error or self._last_error
        if self._courier.delivered != self._before:
            self._before, self._moved_s = self._courier.delivered, now_s
        elif now_s - self._moved_s > self._patience_s:
            raise self._last_error or BrokerUnavailableError(
                f"Kafka took no event for {self._patience_s:g} s; start it, or set KAFKA_BOOTSTRAP_SERVERS"
            )
        if now_s - self._told_s > _TELL_EVERY_S:
            self._told_s = now_s
            self._tell(f"{self._courier.delivered} events delivered, at {self._leftover.folder.source_id}")
