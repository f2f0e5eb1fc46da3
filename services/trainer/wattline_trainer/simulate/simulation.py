"""The two acts of a simulation: a history written as fast as it goes, then live runs at the pace of the wall clock."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from wattline_common.events import Event
from wattline_trainer.simulate.faults import Faults, Message
from wattline_trainer.simulate.fleet import Fleet, Pace
from wattline_trainer.simulate.outbox import Outbox
from wattline_trainer.simulate.plan import RunPlan

__all__ = ["Simulation", "SystemWatch", "Watch"]

_LONGEST_PAUSE_S = 0.25
_SHORTEST_PAUSE_S = 0.05  # events that are due within it go together


class Watch(Protocol):
    """The wall clock, in seconds since the fleet's origin."""

    def now_s(self) -> float:
        """Return the time."""
        ...


@dataclass(slots=True)
class Simulation:
    """Moves a fleet's events through the faults to the outbox.

    Both acts call their ``tick`` often; it may do what comes up by time, such as progress and ledger.
    """

    fleet: Fleet
    faults: Faults
    outbox: Outbox
    is_stopping: Callable[[], bool]

    def write_history(self, runs: Iterable[tuple[float, RunPlan]], tick: Callable[[float], None]) -> None:
        """Write runs that lie in the past, in the order of time, without waiting for it; ``tick`` hears that time.

        A stop ends those under way at the moment that was reached; the others never begin.
        """
        for start_s, plan in runs:
            self.fleet.add(plan, Pace(start_s, start_s))
        at_s = 0.0
        while self.fleet.due_s < float("inf"):
            at_s = self.fleet.due_s
            if self.is_stopping():
                self._send(self.fleet.stop(at_s), at_s, 1.0)
                break
            self._send_released(at_s)
            events, speed, _ = self.fleet.advance()
            self._send(events, at_s, speed)
            tick(at_s)
        self._send_released(float("inf"))

    def keep_live(
        self,
        plans: Iterable[RunPlan],
        count: int,
        speed: float,
        watch: Watch,
        for_s: float | None,
        tick: Callable[[int], None],
    ) -> None:
        """Keep ``count`` runs alive until a stop, or for ``for_s``; all that live then end with the status STOPPED.

        A run that is over is followed by the next. At a speed above 1 a run begins so far in the past that its end
        meets the wall clock: its events are never dated ahead of it.
        """
        supply = iter(plans)
        first_s = watch.now_s()
        until_s = first_s + (float("inf") if for_s is None else for_s)
        for k in range(count):
            plan = next(supply)
            # Spread over one interval, so that the load is even.
            self._begin(plan, first_s + plan.emit_interval_s * k / count / speed, speed)
        while not self.is_stopping() and (now_s := watch.now_s()) < until_s:
            while self.fleet.due_s <= now_s:
                at_s = self.fleet.due_s
                events, pace, over = self.fleet.advance()
                self._send(events, at_s, pace)
                if over is not None:
                    self._begin(next(supply), max(at_s, now_s), speed)
            self._send_released(now_s)
            tick(self.fleet.runs)
            due_s = min(self.fleet.due_s, self.faults.due_s, until_s) - watch.now_s()
            self.outbox.pause(min(_LONGEST_PAUSE_S, max(_SHORTEST_PAUSE_S, due_s)))
        now_s = watch.now_s()
        self._send(self.fleet.stop(now_s), now_s, speed)
        self._send_released(float("inf"))

    def _begin(self, plan: RunPlan, at_s: float, speed: float) -> None:
        self.fleet.add(plan, Pace(at_s, round(at_s - plan.length_s * (1.0 - 1.0 / speed), 3), speed))

    def _send(self, events: Iterable[Event], at_s: float, speed: float) -> None:
        for event in events:
            message = Message(event.run_id, self.outbox.message(event))
            for passed in self.faults.take(at_s, message, speed):
                self.outbox.send(passed.key, passed.body)

    def _send_released(self, until_s: float) -> None:
        for message in self.faults.release(until_s):
            self.outbox.send(message.key, message.body)


class SystemWatch:
    """The machine's wall clock at the start, and monotonic time since."""

    def __init__(self, origin: datetime.datetime, now: datetime.datetime, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._ahead_s = (now - origin).total_seconds() - monotonic_s()

    def now_s(self) -> float:
        """Return the seconds since the origin."""
        return self._monotonic_s() + self._ahead_s
