"""Many simulated processes on one thread: a heap of who is due next, so that events come in the order of time."""

from __future__ import annotations

import datetime
import heapq
from dataclasses import dataclass

from wattline_common.events import Event, RunStatus
from wattline_trainer.simulate.chance import seeded
from wattline_trainer.simulate.ledger import FleetLedger
from wattline_trainer.simulate.plan import RunPlan, SourcePlan
from wattline_trainer.simulate.source import Source

__all__ = ["Fleet", "Pace"]


@dataclass(frozen=True, slots=True)
class Pace:
    """A run's clock beside the fleet's: at ``start_s`` it shows ``shown_s``, and it goes ``speed`` times as fast."""

    start_s: float
    shown_s: float
    speed: float = 1.0

    def due_s(self, shown_s: float) -> float:
        """Return when the run's clock will show a time."""
        return self.start_s + (shown_s - self.shown_s) / self.speed

    def shown(self, at_s: float) -> float:
        """Return what the run's clock shows."""
        return self.shown_s + (at_s - self.start_s) * self.speed


@dataclass(slots=True)
class _Run:
    plan: RunPlan
    pace: Pace
    left: int


@dataclass(slots=True)
class _Process:
    """A process that is to start, and from its start on what it is made of: a thousand to come cost little."""

    run: _Run
    plan: SourcePlan
    source: Source | None = None


class Fleet:
    """Runs to come and runs under way. Times are seconds since ``origin``, the fleet's own zero."""

    def __init__(self, seed: int, origin: datetime.datetime, ledger: FleetLedger) -> None:
        self._seed = seed
        self._origin = origin
        self._ledger = ledger
        self._heap: list[tuple[float, int, _Process]] = []
        self._count = 0
        self.runs = 0
        """Runs that are not over."""

    def add(self, plan: RunPlan, pace: Pace) -> None:
        """Add a run that starts when its pace says."""
        self.runs += 1
        run = _Run(plan, pace, len(plan.sources))
        for source in plan.sources:
            self._push(pace.due_s(pace.shown_s + source.start_s), _Process(run, source))

    @property
    def due_s(self) -> float:
        """When somebody is due next; infinity when nobody is."""
        return self._heap[0][0] if self._heap else float("inf")

    def advance(self) -> tuple[list[Event], float, RunPlan | None]:
        """Let the next one do what it is due; return its events, its speed, and its run when that is over by it."""
        _, _, process = heapq.heappop(self._heap)
        run = process.run
        source = process.source or self._start(process)
        events = source.advance()
        if not source.done:
            self._push(run.pace.due_s(source.due_s), process)
        return self._counted(events), run.pace.speed, self._over(run) if source.done else None

    def stop(self, at_s: float) -> list[Event]:
        """End everything that is under way, as of a moment; what has not begun never will."""
        events = []
        for _, _, process in sorted(self._heap, key=lambda entry: entry[1]):
            run = process.run
            if process.source is not None:
                events += self._counted(process.source.stop(run.pace.shown(at_s), RunStatus.STOPPED))
            elif self._ledger.knows(run.plan.run_id):
                self._ledger.expect_no_more(run.plan.run_id)
        self._heap.clear()
        self.runs = 0
        return events

    def _start(self, process: _Process) -> Source:
        run = process.run
        if not self._ledger.knows(run.plan.run_id):
            self._ledger.open_run(run.plan)
        chance = seeded(self._seed, run.plan.run_id, process.plan.context.source_id)
        process.source = Source(run.plan, process.plan, run.pace.shown_s, self._timestamp, chance)
        return process.source

    def _over(self, run: _Run) -> RunPlan | None:
        run.left -= 1
        if run.left:
            return None
        self.runs -= 1
        return run.plan

    def _counted(self, events: list[Event]) -> list[Event]:
        for event in events:
            self._ledger.add(event)
        return events

    def _push(self, due_s: float, process: _Process) -> None:
        self._count += 1
        heapq.heappush(self._heap, (due_s, self._count, process))

    def _timestamp(self, at_s: float) -> datetime.datetime:
        return self._origin + datetime.timedelta(seconds=at_s)
