"""Thinning: at most one step a second and each epoch's last, and nothing that was counted is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wattline.steps import Step, StepThinner

MOMENTS = st.lists(st.tuples(st.floats(0.0, 0.7), st.booleans(), st.none() | st.integers(0, 99)), max_size=80)


def _run(moments: list[tuple[float, bool, int | None]]) -> tuple[list[tuple[float, Step]], list[tuple[float, Step]]]:
    """Feed steps (pause, whether a new epoch begins, samples); return what went in and what came out."""
    thinner, at_s, epoch = StepThinner(), 0.0, 1
    fed, out = [], []
    for number, (pause_s, new_epoch, samples) in enumerate(moments):
        at_s, epoch = at_s + pause_s, epoch + new_epoch
        step = Step(epoch=epoch, step=number, loss=float(number), samples=samples)
        fed.append((at_s, step))
        out += thinner.add(at_s, step)
    return fed, out + thinner.rest()


@given(MOMENTS)
def test_no_step_and_no_sample_is_lost(moments: list[tuple[float, bool, int | None]]) -> None:
    """The steps covered and the samples of what comes out are those of what went in."""
    fed, out = _run(moments)
    assert sum(step.steps_covered for _, step in out) == len(fed)
    assert sum(step.samples or 0 for _, step in out) == sum(step.samples or 0 for _, step in fed)
    if all(step.samples is None for _, step in fed):
        assert all(step.samples is None for _, step in out)


@given(MOMENTS)
def test_each_epochs_last_step_comes_out(moments: list[tuple[float, bool, int | None]]) -> None:
    """For every epoch the last step that went in is the last that comes out, with its own values and time."""
    fed, out = _run(moments)
    last_fed = {step.epoch: (at_s, step.step, step.loss) for at_s, step in fed}
    last_out = {step.epoch: (at_s, step.step, step.loss) for at_s, step in out}
    assert last_out == last_fed


@given(MOMENTS)
def test_others_are_a_second_apart(moments: list[tuple[float, bool, int | None]]) -> None:
    """What is not its epoch's last comes at least a second after what came before it."""
    _, out = _run(moments)
    times = [at_s for at_s, _ in out]
    assert times == sorted(times)
    for (before_s, _), (at_s, step), (_, after) in zip(out, out[1:], out[2:], strict=False):
        assert at_s - before_s >= 1.0 or after.epoch != step.epoch


def test_later_values_stand_and_missing_ones_are_kept() -> None:
    """Of several steps in one, the last reported value of each field stands."""
    first = Step(epoch=1, step=1, loss=0.5, accuracy=0.7, samples=8, learning_rate=0.1, metrics={"a": 1.0, "b": 1.0})
    both = first.then(Step(epoch=1, step=2, loss=0.4, gradient_norm=2.0, metrics={"b": 2.0}))
    assert both == Step(
        epoch=1,
        step=2,
        loss=0.4,
        accuracy=0.7,
        samples=8,
        learning_rate=0.1,
        gradient_norm=2.0,
        metrics={"a": 1.0, "b": 2.0},
        steps_covered=2,
    )


def test_counts_of_several_steps_are_summed() -> None:
    """Samples and tokens are counted over all the steps that an event stands for."""
    both = Step(samples=8, tokens=100).then(Step(samples=None, tokens=50))
    assert (both.samples, both.tokens) == (8, 150)
    assert Step().then(Step()).tokens is None
