"""A real training: a multilayer perceptron that learns the handwritten digits that ship with scikit-learn.

Each batch is drawn anew from the training images, shifted by up to a pixel and blurred by noise, so that there is
something to learn for minutes. Validation images are held out before anything else and never trained on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

__all__ = ["Digits", "Hyperparameters", "StepResult", "augmented"]

Images = npt.NDArray[np.float64]

_SIDE = 8
_BRIGHTEST = 16.0
_CLASSES = np.arange(10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperparameters:
    """What shapes the training. A step takes about 20 ms of one core."""

    hidden_layers: tuple[int, ...] = (512, 512)
    learning_rate: float = 0.003
    batch_size: int = 256
    steps_per_epoch: int = 64
    noise: float = 5.0
    validation_share: float = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """One completed step; an epoch's last one carries the validation."""

    epoch: int
    step: int
    loss: float
    """Cross-entropy of the batch."""
    samples: int
    validation_accuracy: float | None = None
    validation_loss: float | None = None


class Digits:
    """The model and its data. The same seed gives the same losses."""

    def __init__(self, seed: int, hyperparameters: Hyperparameters | None = None) -> None:
        self.hyperparameters = hyperparameters or Hyperparameters()
        self._random = np.random.default_rng(seed)
        images, labels = load_digits(return_X_y=True)
        split = train_test_split(
            images, labels, test_size=self.hyperparameters.validation_share, random_state=seed, stratify=labels
        )
        self.training_images, self.validation_images, self._training_labels, self._validation_labels = split
        self._model = MLPClassifier(
            self.hyperparameters.hidden_layers,
            solver="sgd",
            learning_rate_init=self.hyperparameters.learning_rate,
            batch_size=self.hyperparameters.batch_size,
            random_state=seed,
        )

    def steps(self) -> Iterator[StepResult]:
        """Train, and yield each completed step; endless. Uses one core, so that the machine stays usable."""
        epoch = 0
        with threadpool_limits(limits=1):
            while True:
                epoch += 1
                yield from self._epoch(epoch)

    def _epoch(self, epoch: int) -> Iterator[StepResult]:
        last = self.hyperparameters.steps_per_epoch
        for step in range(1, last + 1):
            loss = self._train()
            accuracy, validation_loss = self._validate() if step == last else (None, None)
            yield StepResult(
                epoch=epoch,
                step=step,
                loss=loss,
                samples=self.hyperparameters.batch_size,
                validation_accuracy=accuracy,
                validation_loss=validation_loss,
            )

    def _train(self) -> float:
        chosen = self._random.integers(0, len(self.training_images), self.hyperparameters.batch_size)
        batch = augmented(self.training_images[chosen], self.hyperparameters.noise, self._random)
        self._model.partial_fit(batch / _BRIGHTEST, self._training_labels[chosen], classes=_CLASSES)
        return float(self._model.loss_)

    def _validate(self) -> tuple[float, float]:
        chances: Any = self._model.predict_proba(self.validation_images / _BRIGHTEST)
        accuracy = float(np.mean(chances.argmax(axis=1) == self._validation_labels))
        return accuracy, float(log_loss(self._validation_labels, chances, labels=_CLASSES))


def augmented(images: Images, noise: float, random: np.random.Generator) -> Images:
    """Return the images, each shifted by up to a pixel in both directions and given normal noise."""
    count = len(images)
    padded = np.pad(images.reshape(count, _SIDE, _SIDE), ((0, 0), (1, 1), (1, 1)))
    down, right = random.integers(0, 3, (2, count, 1))
    along = np.arange(_SIDE)
    shifted = padded[np.arange(count)[:, None, None], (down + along)[:, :, None], (right + along)[:, None, :]].reshape(
        count, _SIDE * _SIDE
    )
    return np.asarray(shifted + random.normal(0.0, noise, shifted.shape))
