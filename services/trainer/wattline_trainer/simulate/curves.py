"""Loss and accuracy over a training's progress, in the shapes that trainings are known to take. Pure."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

__all__ = ["Curve", "Shape"]

_LARGEST_LOSS = 1e6


class Shape(enum.StrEnum):
    """The known shapes."""

    POWER_LAW = "power law"
    PLATEAU = "plateau"
    DIVERGENCE = "divergence"
    OVERFITTING = "overfitting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """What a training would report at a progress of 0 to 1, without noise.

    All start from a power law, ``floor + (start - floor) * (1 + progress / knee) ** -exponent``. A plateau keeps its
    value from ``turn`` to ``turn + plateau`` and falls back to the law when the learning rate drops; a divergence
    grows exponentially from ``turn`` on; overfitting shows in the validation loss alone, which rises from ``turn`` on.
    """

    shape: Shape
    start: float
    floor: float
    knee: float = 0.02
    exponent: float = 0.9
    turn: float = 0.5
    plateau: float = 0.15
    chance: float | None = None
    """Accuracy of guessing; None without accuracy."""
    best: float = 1.0

    def loss(self, progress: float) -> float:
        """Return the training loss."""
        if self.shape is Shape.PLATEAU and progress >= self.turn:
            kept, end = self._law(self.turn), self.turn + self.plateau
            if progress < end:
                return kept
            return self._law(progress) + (kept - self._law(end)) * math.exp((end - progress) / 0.01)
        if self.shape is Shape.DIVERGENCE and progress >= self.turn:
            return min(_LARGEST_LOSS, self._law(self.turn) * math.exp((progress - self.turn) * 120.0))
        return self._law(progress)

    def validation_loss(self, progress: float) -> float:
        """Return the loss on held out data: a little above, and parting from it when it overfits."""
        loss = self.loss(progress)
        gap = 0.04 * (loss + self.floor)
        if self.shape is Shape.OVERFITTING and progress > self.turn:
            gap += (self.start - self.floor) * 1.5 * (progress - self.turn)
        return min(_LARGEST_LOSS, loss + gap)

    def accuracy(self, progress: float) -> float | None:
        """Return the accuracy on held out data, between chance and best; it falls as the validation loss rises."""
        if self.chance is None:
            return None
        height = (self.validation_loss(progress) - self.floor) / (self.start - self.floor)
        missed: float = min(1.0, max(0.0, height)) ** 0.8
        return self.best - (self.best - self.chance) * missed

    def learning_rate(self, progress: float, peak: float) -> float:
        """Return a linear warm-up over the first 2 %, then a cosine; a plateau's drop is a factor of ten."""
        if progress < 0.02:
            return peak * max(progress, 1e-4) / 0.02
        rate = peak * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
        return rate / 10.0 if self.shape is Shape.PLATEAU and progress > self.turn + self.plateau else rate

    def _law(self, progress: float) -> float:
        fallen: float = (1.0 + progress / self.knee) ** -self.exponent
        return self.floor + (self.start - self.floor) * fallen
