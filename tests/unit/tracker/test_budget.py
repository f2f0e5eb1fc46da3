"""Budget and forecast of a run: warned in time, stopped only who asked for it, and an outlook that comes true."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import pytest

import wattline
from wattline import RunSummary
from wattline.recorder import Context, Plan, Price, Recorder
from wattline.run import Run
from wattline.steps import Step
from wattline.testing import ManualClock, MemoryPublisher, ReplayMeter
from wattline_common.carbon import grid_intensity
from wattline_common.events import DeviceKind, Method, RunFinished, RunStatus
from wattline_common.forecast import Forecast

G = 0.001
KW = 3.6e6  # joules a second: a kWh each second, 56 g in France


def _run(**options: object) -> tuple[Run, ManualClock, MemoryPublisher]:
    clock, publisher = ManualClock(), MemoryPublisher()
    fixed = {"region_iso": "FRA", "emit_interval_s": 0.1, "meters": [ReplayMeter([KW])]}
    run = wattline.track(**fixed, clock=clock, publisher=publisher, **options)  # type: ignore[arg-type]  # of any kind
    return run, clock, publisher


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_warns_once_at_80_percent_and_once_when_used_up(caplog: pytest.LogCaptureFixture) -> None:
    """And goes on: by default a budget stops nothing."""
    run, clock, publisher = _run(budget_kg=100 * G)
    with caplog.at_level(logging.WARNING, "wattline"), run:
        run.step(epoch=1)
        clock.advance(1.5)  # 84 g
        _until(lambda: run.summary().emissions_kg > 80 * G)
        assert not run.over_budget
        clock.advance(0.5)  # 112 g
        _until(lambda: run.over_budget)
        run.step(epoch=2)
        assert not run.stop_requested
    told = [record.getMessage() for record in caplog.records if "budget" in record.getMessage()]
    assert len(told) == 2
    assert "84% of the budget of 0.1 kg" in told[0]
    assert "used up" in told[1]
    assert run.summary().over_budget
    assert "above its budget of 100 g" in run.summary().line()
    last = publisher.events[-1]
    assert isinstance(last, RunFinished)
    assert last.status is RunStatus.COMPLETED


def test_who_asks_for_it_is_called_back_once_and_stopped() -> None:
    """`step` raises the documented error, and the run ends as STOPPED with all it has cost."""
    called: list[RunSummary] = []
    run, clock, publisher = _run(budget_kg=50 * G, budget_action="stop", on_budget=called.append)
    steps = 0
    with pytest.raises(wattline.BudgetExceededError, match=r"budget_kg=0\.05"), run:  # noqa: PT012  # the run ends with it
        run.step(step=0)
        clock.advance(1.0)
        _until(lambda: run.over_budget)
        assert run.stop_requested
        for steps in range(3):  # how far it came
            run.step(step=steps)
    assert steps == 0
    assert [summary.over_budget for summary in called] == [True]
    last = publisher.events[-1]
    assert isinstance(last, RunFinished)
    assert last.status is RunStatus.STOPPED
    assert last.source_emissions_kg > 50 * G


def test_ones_own_exception_in_the_callback_is_ones_own() -> None:
    """It passes, as it would from any function that the training calls."""

    def end(_: RunSummary) -> None:
        raise RuntimeError("mine")

    run, clock, _ = _run(budget_kg=0.0, on_budget=end)
    with pytest.raises(RuntimeError, match="mine"), run:  # noqa: PT012  # as above
        clock.advance(1.0)
        _until(lambda: run.over_budget)
        run.step()


@pytest.mark.parametrize("wrong", [{"budget_kg": -1.0}, {"budget_kg": "much"}, {"budget_kg": float("nan")}])
def test_a_wrong_budget_is_told_and_is_none(wrong: dict[str, object]) -> None:
    """Like every wrong argument."""
    run, _, _ = _run(**wrong)
    run.stop()
    assert run.summary().budget_kg is None
    assert run.summary().problems == 1


def test_the_budget_comes_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a cluster can set it; an argument stands above it."""
    monkeypatch.setenv("WATTLINE_BUDGET_KG", "2.5")
    run, _, _ = _run()
    run.stop()
    assert run.summary().budget_kg == 2.5
    run, _, _ = _run(budget_kg=1.0, budget_action="explode")
    run.stop()
    assert (run.summary().budget_kg, run.summary().problems) == (1.0, 1)


def _trained(plan: Plan, *, epochs: int, steps_per_epoch: int, step_s: float) -> tuple[Recorder, Forecast | None]:
    """Train at 1 kW, read once a second, report each step at its end."""
    recorder = Recorder(
        Context(run_id="r", source_id="s"),
        Price(grid_intensity("FRA"), 1.0),
        ManualClock().timestamp,
        start_s=0.0,
        emit_interval_s=5.0,
    )
    meter = ReplayMeter([1000.0], kind=DeviceKind.GPU, method=Method.COUNTER)
    recorder.started(0.0, plan, meter.start(0.0))
    read_s, step = 0.0, 0
    for epoch in range(epochs):
        for _ in range(steps_per_epoch):
            step += 1
            while read_s + 1.0 <= step * step_s:
                read_s += 1.0
                recorder.readings(read_s, meter.read(read_s))
            recorder.step(step * step_s, Step(epoch=epoch, step=step))
    return recorder, recorder.forecast()


@pytest.mark.parametrize(("steps_per_epoch", "step_s"), [(1, 7.3), (10, 0.77), (3, 1.0)])
def test_the_outlook_after_some_epochs_is_the_end_of_a_steady_run(steps_per_epoch: int, step_s: float) -> None:
    """At constant power: within 1 % of the planned end, though epochs end between two readings."""
    plan = Plan(planned_epochs=40)
    _, found = _trained(plan, epochs=8, steps_per_epoch=steps_per_epoch, step_s=step_s)
    assert found is not None
    end_kwh = 40 * steps_per_epoch * step_s / 3600
    assert found.energy_kwh == pytest.approx(end_kwh, rel=0.01)
    assert found.energy_low_kwh <= end_kwh <= found.energy_high_kwh
    assert found.emissions_kg == pytest.approx(end_kwh * 56.039 / 1000, rel=0.01)
    assert found.done == 7  # of the eighth nothing tells yet that it has ended


def test_of_few_long_epochs_the_steps_are_counted() -> None:
    """One epoch of many steps, as language models are trained."""
    _, found = _trained(Plan(planned_epochs=1, planned_steps=1000), epochs=1, steps_per_epoch=100, step_s=0.5)
    assert found is not None
    assert found.unit == "steps"
    assert found.energy_kwh == pytest.approx(1000 * 0.5 / 3600, rel=0.01)


def test_a_completed_run_has_no_outlook_and_one_without_a_plan_neither() -> None:
    """A failed or stopped one says what the end would have been, in its last line too."""
    recorder, found = _trained(Plan(planned_epochs=40), epochs=8, steps_per_epoch=1, step_s=5.0)
    assert found is not None
    recorder.finished(40.0, RunStatus.FAILED, events_dropped=0)
    ahead = recorder.forecast()
    assert ahead is not None
    assert "after 40 epochs it would be 0.0556 kWh" in RunSummary(run_id="r", source_id="s", forecast=ahead).line()
    recorder.finished(40.0, RunStatus.COMPLETED, events_dropped=0)
    assert recorder.forecast() is None
    assert _trained(Plan(), epochs=8, steps_per_epoch=1, step_s=5.0)[1] is None
