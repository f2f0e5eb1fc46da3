"""The shapes that trainings are known to take."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline_trainer.simulate.curves import Curve, Shape

PROGRESS = [k / 200 for k in range(201)]


def _curve(shape: Shape, **changes: float) -> Curve:
    return Curve(shape=shape, start=6.9, floor=1.0, chance=0.01, best=0.8, **changes)


def test_a_power_law_falls_ever_more_slowly_to_its_floor() -> None:
    """Starts at its start, never rises, is convex, ends above the floor; accuracy mirrors it."""
    curve = _curve(Shape.POWER_LAW)
    losses = [curve.loss(p) for p in PROGRESS]
    falls = [a - b for a, b in itertools.pairwise(losses)]
    assert losses[0] == 6.9
    assert losses[-1] > 1.0
    assert all(fall > 0 for fall in falls)
    assert falls == sorted(falls, reverse=True)
    accuracies = [curve.accuracy(p) or 0.0 for p in PROGRESS]
    assert accuracies == sorted(accuracies)
    assert 0.01 <= accuracies[0] < 0.1 < 0.6 < accuracies[-1] <= 0.8


def test_a_plateau_is_flat_and_then_drops_below_it() -> None:
    """Constant between its ends, no jump at either, and back on the law soon after."""
    curve, law = _curve(Shape.PLATEAU, turn=0.4), _curve(Shape.POWER_LAW)
    assert {curve.loss(p) for p in (0.4, 0.45, 0.5499)} == {curve.loss(0.4)}
    assert curve.loss(0.55) == pytest.approx(curve.loss(0.4))
    assert curve.loss(0.7) == pytest.approx(law.loss(0.7), rel=1e-4)
    assert curve.loss(0.6) < curve.loss(0.5)
    assert curve.learning_rate(0.6, 1.0) < law.learning_rate(0.6, 1.0) / 9


def test_a_divergence_explodes_and_costs_the_accuracy() -> None:
    """As the law until it turns, then more than a hundredfold within 4 %, yet finite for ever."""
    curve = _curve(Shape.DIVERGENCE, turn=0.6)
    assert curve.loss(0.59) == _curve(Shape.POWER_LAW).loss(0.59)
    assert curve.loss(0.64) > 100 * curve.loss(0.6)
    assert curve.loss(1.0) <= 1e6
    assert (curve.accuracy(0.7) or 0) == pytest.approx(0.01)


def test_overfitting_shows_in_the_validation_only() -> None:
    """The training loss falls on, the validation loss has its minimum at the turn."""
    curve = _curve(Shape.OVERFITTING, turn=0.5)
    validation = [curve.validation_loss(p) for p in PROGRESS]
    assert PROGRESS[validation.index(min(validation))] == pytest.approx(0.5, abs=0.01)
    assert curve.loss(1.0) < curve.loss(0.5)
    assert (curve.accuracy(1.0) or 0) < (curve.accuracy(0.5) or 0)


def test_a_regression_has_no_accuracy() -> None:
    """Without a level of chance there is none to tell."""
    assert Curve(shape=Shape.POWER_LAW, start=1.0, floor=0.1).accuracy(0.5) is None


@given(st.sampled_from(Shape), st.floats(0, 1), st.floats(0.1, 0.9))
def test_every_value_can_be_reported(shape: Shape, progress: float, turn: float) -> None:
    """Finite, positive, and a share of 1 where it is a share."""
    curve = _curve(shape, turn=turn)
    assert 0 < curve.loss(progress) <= 1e6
    assert curve.loss(progress) <= curve.validation_loss(progress) <= 1e6
    assert 0.0 <= (curve.accuracy(progress) or 0.0) <= 0.8
    # It decays to zero, which a float is close enough to only at the very end.
    assert 0 <= curve.learning_rate(progress, 0.1) <= 0.1
    assert curve.learning_rate(progress, 0.1) > 0 or progress > 1 - 1e-6
