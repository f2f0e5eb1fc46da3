"""Thins training steps to at most one a second, and each epoch's last; nothing that was counted is lost. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Step", "StepThinner"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What the training reported, of one step or of several in a row."""

    epoch: int | None = None
    step: int | None = None
    loss: float | None = None
    accuracy: float | None = None
    samples: int | None = None
    tokens: int | None = None
    learning_rate: float | None = None
    gradient_norm: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    steps_covered: int = 1

    def then(self, later: Step) -> Step:
        """Return both as one: counts are summed, of values the later one stands (the earlier where it has none)."""
        return Step(  # not by `replace`, which costs a third of a reported step
            epoch=later.epoch,
            step=later.step,
            loss=self.loss if later.loss is None else later.loss,
            accuracy=self.accuracy if later.accuracy is None else later.accuracy,
            samples=_sum(self.samples, later.samples),
            tokens=_sum(self.tokens, later.tokens),
            learning_rate=self.learning_rate if later.learning_rate is None else later.learning_rate,
            gradient_norm=self.gradient_norm if later.gradient_norm is None else later.gradient_norm,
            metrics={**self.metrics, **later.metrics},
            steps_covered=self.steps_covered + later.steps_covered,
        )


def _sum(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return one if other is None else other
    return one + other


class StepThinner:
    """Holds back steps that come within a second of the last one let through."""

    def __init__(self, period_s: float = 1.0) -> None:
        self._period_s = period_s
        self._held: tuple[float, Step] | None = None
        self._let_through_s: float | None = None

    def add(self, at_s: float, step: Step) -> list[tuple[float, Step]]:
        """Take a step; return those to emit with their times: an epoch's last, and this one if it is due."""
        out = []
        if self._held is not None and self._held[1].epoch != step.epoch:
            out += self.rest()
        together = self._held[1].then(step) if self._held is not None else step
        if self._let_through_s is None or at_s - self._let_through_s >= self._period_s:
            self._held, self._let_through_s = None, at_s
            out.append((at_s, together))
        else:
            self._held = (at_s, together)
        return out

    def rest(self) -> list[tuple[float, Step]]:
        """Return what is held back, with the time of its last step."""
        held, self._held = self._held, None
        if held is None:
            return []
        self._let_through_s = held[0]
        return [held]
