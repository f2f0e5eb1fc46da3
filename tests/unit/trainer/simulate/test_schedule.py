"""Every second of a training is spent on one thing, and steps happen while it trains."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wattline_trainer.simulate.schedule import Schedule

SCHEDULE = Schedule(
    warm_up_s=30, train_s=100, evaluate_s=20, epochs=3, steps_per_epoch=50, stalls=((60.0, 40.0), (200.0, 10.0))
)


@given(st.floats(0, 440), st.floats(0, 440))
def test_the_parts_sum_to_the_time(first_s: float, second_s: float) -> None:
    """At any moment, and over any interval; none ever shrinks."""
    early, late = sorted((first_s, second_s))
    spent = SCHEDULE.until(late).since(SCHEDULE.until(early))
    parts = (spent.warming_s, spent.stalled_s, spent.evaluating_s, spent.training_s)
    assert min(parts) >= -1e-9
    assert abs(sum(parts) - (late - early)) < 1e-6


def test_what_is_done_when() -> None:
    """Warm-up first, nothing while stalled or evaluating, all steps by the end and never more."""
    assert SCHEDULE.length_s == 30 + 3 * 120 + 50
    assert SCHEDULE.until(30).training_s == 0
    assert SCHEDULE.until(60).training_s == SCHEDULE.until(100).training_s == 30
    assert SCHEDULE.steps(100) == 15
    assert SCHEDULE.steps(170) == SCHEDULE.steps(190) == 50  # the evaluation
    assert SCHEDULE.steps(SCHEDULE.length_s) == SCHEDULE.steps(1e6) == 150
