"""What a training does when: warm-up, then epochs that each end with an evaluation, with data stalls between. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Activity", "Schedule"]


@dataclass(frozen=True, slots=True)
class Activity:
    """Seconds spent on each activity, since the start or within an interval."""

    warming_s: float
    stalled_s: float
    evaluating_s: float
    training_s: float

    def since(self, earlier: Activity) -> Activity:
        """Return what was spent after an earlier moment."""
        return Activity(
            self.warming_s - earlier.warming_s,
            self.stalled_s - earlier.stalled_s,
            self.evaluating_s - earlier.evaluating_s,
            self.training_s - earlier.training_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The plan of one start of a training; times are seconds since that start.

    ``stalls`` are (start, length) pairs in order, none within another, all after the warm-up.
    """

    warm_up_s: float
    train_s: float
    """Training in one epoch."""
    evaluate_s: float
    """Evaluation at an epoch's end."""
    epochs: int
    steps_per_epoch: int
    stalls: tuple[tuple[float, float], ...] = ()

    @property
    def length_s(self) -> float:
        """Seconds to the end of the last epoch."""
        stalled_s = math.fsum(length_s for _, length_s in self.stalls)
        return self.warm_up_s + self.epochs * (self.train_s + self.evaluate_s) + stalled_s

    def until(self, at_s: float) -> Activity:
        """Return what was spent on what from the start to a moment; the parts sum to it."""
        warming_s = min(at_s, self.warm_up_s)
        stalled_s = math.fsum(min(length_s, max(0.0, at_s - start_s)) for start_s, length_s in self.stalls)
        active_s = max(0.0, at_s - warming_s - stalled_s)
        whole, rest_s = divmod(active_s, self.train_s + self.evaluate_s)
        training_s = whole * self.train_s + min(rest_s, self.train_s)
        return Activity(warming_s, stalled_s, active_s - training_s, training_s)

    def steps(self, at_s: float) -> int:
        """Return how many steps are done at a moment."""
        done = math.floor(self.until(at_s).training_s / self.train_s * self.steps_per_epoch + 1e-6)
        return min(done, self.epochs * self.steps_per_epoch)
