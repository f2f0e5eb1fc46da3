"""The training is real: it learns, it is repeatable, and it never sees its validation images."""

from __future__ import annotations

import itertools

import numpy as np
from threadpoolctl import threadpool_info  # type: ignore[import-untyped]  # ships no types

from wattline_trainer.digits import Digits, Hyperparameters, StepResult, augmented

SMALL = Hyperparameters(hidden_layers=(64,), learning_rate=0.05, steps_per_epoch=20, batch_size=64)


def _steps(seed: int, count: int) -> list[StepResult]:
    return list(itertools.islice(Digits(seed, SMALL).steps(), count))


def test_it_learns() -> None:
    """Within some epochs the loss falls, and held-out images are told apart far better than by chance."""
    steps = _steps(seed=0, count=400)
    validated = [step for step in steps if step.validation_accuracy is not None]
    assert np.mean([step.loss for step in steps[-20:]]) < 0.7 * np.mean([step.loss for step in steps[:20]])
    assert validated[-1].validation_accuracy is not None
    assert validated[-1].validation_accuracy > 0.7
    losses = [step.validation_loss for step in validated if step.validation_loss is not None]
    assert losses[-1] < losses[0]


def test_the_same_seed_gives_the_same_training() -> None:
    """Losses and accuracies are equal to the last digit; another seed gives others."""
    assert _steps(seed=3, count=45) == _steps(seed=3, count=45)
    assert _steps(seed=3, count=5) != _steps(seed=4, count=5)


def test_only_an_epochs_last_step_is_validated() -> None:
    """Epochs and steps count from 1; each step tells how many images it was trained on."""
    steps = _steps(seed=0, count=45)
    assert [(s.epoch, s.step) for s in steps if s.validation_accuracy is not None] == [(1, 20), (2, 20)]
    assert (steps[0].epoch, steps[0].step, steps[0].samples) == (1, 1, 64)


def test_validation_images_are_held_out() -> None:
    """Training and validation images are all images of the set, each in one of the two."""
    digits = Digits(seed=0)
    assert len(digits.training_images) + len(digits.validation_images) == 1797
    assert len(digits.validation_images) == 450
    training = {image.tobytes() for image in digits.training_images}
    assert not training & {image.tobytes() for image in digits.validation_images}


def test_it_uses_one_core_and_gives_the_others_back() -> None:
    """While it trains, no pool of numpy's has more than one thread; afterwards all are as before."""
    before = [pool["num_threads"] for pool in threadpool_info()]
    steps = Digits(0, SMALL).steps()
    next(steps)
    assert {pool["num_threads"] for pool in threadpool_info()} == {1}
    steps.close()  # type: ignore[attr-defined]  # it is a generator
    assert [pool["num_threads"] for pool in threadpool_info()] == before


def test_augmentation_shifts_by_a_pixel_at_most_and_adds_noise() -> None:
    """A dot stays within its neighbourhood, none is lost, and noise has the strength asked for."""
    random = np.random.default_rng(0)
    images = np.zeros((500, 64))
    images[:, 3 * 8 + 4] = 16.0
    shifted = augmented(images, 0.0, random).reshape(-1, 8, 8)
    assert np.all(shifted.sum(axis=(1, 2)) == 16.0)
    _, rows, columns = np.nonzero(shifted)
    assert set(rows) == {2, 3, 4}
    assert set(columns) == {3, 4, 5}
    noisy = augmented(np.zeros((500, 64)), 5.0, random)
    assert abs(float(noisy.std()) - 5.0) < 0.1
