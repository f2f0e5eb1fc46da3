"""Faults on the way to Kafka, on purpose: messages that come late, out of order, or twice."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Faults", "Message"]

_LATEST_COPY_S = 60.0


@dataclass(frozen=True, slots=True)
class Message:
    """What goes to Kafka."""

    key: str
    body: bytes


class Faults:
    """Holds messages back for a seeded time of up to ``disorder_s`` and sends a share ``duplicates`` of them twice.

    A copy comes up to ``disorder_s`` (a minute, without disorder) after the message itself. Memory holds what is
    due within that time only.
    """

    def __init__(self, chance: random.Random, *, duplicates: float = 0.0, disorder_s: float = 0.0) -> None:
        self._chance = chance
        self._duplicates = duplicates
        self._disorder_s = disorder_s
        self._held: list[tuple[float, int, Message]] = []
        self._count = 0
        self.copies = 0

    @property
    def due_s(self) -> float:
        """When the next message held back is due; infinity without one."""
        return self._held[0][0] if self._held else float("inf")

    def take(self, at_s: float, message: Message, speed: float = 1.0) -> Iterator[Message]:
        """Take a message; yield it when it may pass at once. ``speed`` shortens the delays."""
        delay_s = self._chance.uniform(0.0, self._disorder_s) / speed if self._disorder_s else 0.0
        if delay_s:
            self._hold(at_s + delay_s, message)
        else:
            yield message
        if self._duplicates and self._chance.random() < self._duplicates:
            self.copies += 1
            self._hold(at_s + delay_s + self._chance.uniform(0.0, self._disorder_s or _LATEST_COPY_S) / speed, message)

    def release(self, until_s: float) -> Iterator[Message]:
        """Yield what is due by a moment, in that order."""
        while self._held and self._held[0][0] <= until_s:
            yield heapq.heappop(self._held)[2]

    def _hold(self, due_s: float, message: Message) -> None:
        self._count += 1
        heapq.heappush(self._held, (due_s, self._count, message))
