"""How a run goes, and so when its processes start, end and perhaps start again."""

from __future__ import annotations

import dataclasses
import enum
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass

from wattline_common.events import RunStatus
from wattline_trainer.simulate.schedule import Schedule

__all__ = ["OUTCOMES", "Outcome", "Start", "ends_at", "starts"]


class Outcome(enum.Enum):
    """How a run goes."""

    COMPLETED = enum.auto()
    EARLY_STOP = enum.auto()
    DIVERGED = enum.auto()
    CRASHED = enum.auto()
    STOPPED = enum.auto()
    RESTARTED = enum.auto()


OUTCOMES: Mapping[Outcome, float] = {
    Outcome.COMPLETED: 0.60,
    Outcome.EARLY_STOP: 0.12,
    Outcome.DIVERGED: 0.07,
    Outcome.CRASHED: 0.06,
    Outcome.STOPPED: 0.06,
    Outcome.RESTARTED: 0.09,
}
_STATUS = {
    Outcome.DIVERGED: RunStatus.FAILED,
    Outcome.CRASHED: RunStatus.FAILED,
    Outcome.STOPPED: RunStatus.STOPPED,
    Outcome.RESTARTED: RunStatus.FAILED,  # of the first start; the second completes
}


@dataclass(frozen=True, slots=True)
class Start:
    """One start of the whole training, on all its ranks."""

    start_s: float
    end_s: float
    status: RunStatus
    schedule: Schedule
    first_step: int


def starts(outcome: Outcome, schedule: Schedule, end: float, chance: random.Random) -> list[Start]:
    """Return the starts of a run that ends, or ends for the first time, at a share ``end`` of its schedule."""
    end_s = _whole_ms(schedule.length_s * end)
    first = Start(0.0, end_s, _STATUS.get(outcome, RunStatus.COMPLETED), schedule, 0)
    if outcome is not Outcome.RESTARTED:
        return [first]
    done = schedule.steps(end_s) // schedule.steps_per_epoch  # the last checkpoint is at an epoch's end
    rest = dataclasses.replace(schedule, epochs=max(1, schedule.epochs - done), stalls=())
    again_s = round(end_s + min(chance.uniform(60.0, 900.0), 0.05 * schedule.length_s), 3)
    second_end_s = _whole_ms(again_s + rest.length_s)
    return [first, Start(again_s, second_end_s, RunStatus.COMPLETED, rest, done * schedule.steps_per_epoch)]


def ends_at(outcome: Outcome, chance: random.Random) -> float:
    """Return the progress at which the first start ends."""
    if outcome is Outcome.COMPLETED:
        return 1.0
    return chance.uniform(0.55, 0.85) if outcome is Outcome.EARLY_STOP else chance.uniform(0.35, 0.9)


def _whole_ms(seconds: float) -> float:
    """Return it rounded up, so that the last step is done by then."""
    return math.ceil(seconds * 1000) / 1000
