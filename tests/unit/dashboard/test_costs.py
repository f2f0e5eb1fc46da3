"""What a run's energy bought, and what its end will cost."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dashboard_runs import Event, raw_documents, recorded_run, summary_document, window_documents
from wattline_common.events import RunStatus
from wattline_dashboard import costs
from wattline_dashboard.curves import RunSeries
from wattline_dashboard.history import RunHistory, Sample
from wattline_dashboard.series import from_events

START = datetime.datetime(2026, 1, 1, 12, 0, 0, tzinfo=datetime.UTC)


def _read(events: list[Event]) -> tuple[Any, RunHistory, RunSeries]:
    history = RunHistory("r")
    history.add(raw_documents(events))
    summary: Any = summary_document(events)
    return summary, history, from_events(history.samples, history.steps)


def _sample(energy_kwh: float, cpu_pct: float | None, gpu_pct: float | None) -> Sample:
    return Sample("a", 0, 1.0, {}, {}, 0.0, 0.0, 0.0, 0.0, energy_kwh, cpu_pct, gpu_pct)


def test_epochs_sum_to_the_runs_energy() -> None:
    """A completed run's epochs cost what the run did; all of them are over."""
    events = recorded_run("r", START, seconds=105, status=RunStatus.COMPLETED)  # epochs 0 to 10 of ten steps
    summary, history, series = _read(events)
    cost = costs.learning(summary, history.steps, series.energy_kwh)
    assert [each.epoch for each in cost.epochs] == list(range(11))
    assert not any(each.is_open for each in cost.epochs)
    assert sum(each.energy_kwh for each in cost.epochs) == pytest.approx(summary["energy_kwh"], rel=1e-6)
    assert cost.per_epoch_kwh == pytest.approx(summary["energy_kwh"] / 11, rel=1e-6)


def test_the_epoch_under_way_is_not_in_the_mean() -> None:
    """While a run goes on its last epoch is marked open and counts in no mean; a failed run's likewise."""
    for status in (None, RunStatus.FAILED):
        summary, history, series = _read(recorded_run("r", START, seconds=105, status=status))
        cost = costs.learning(summary, history.steps, series.energy_kwh)
        assert [each.is_open for each in cost.epochs] == [False] * 10 + [True]
        closed = [each.energy_kwh for each in cost.epochs[:-1]]
        assert cost.per_epoch_kwh == pytest.approx(sum(closed) / 10)


def test_an_epoch_nobody_saw_shares_with_the_next() -> None:
    """Where the steps of an epoch are missing, what was used since the last one is spread over both."""
    summary, history, series = _read(recorded_run("r", START, seconds=59, status=RunStatus.COMPLETED))
    seen = [step for step in history.steps if step.epoch != 3]
    cost = costs.learning(summary, seen, series.energy_kwh)
    assert [(each.epoch, each.epochs) for each in cost.epochs] == [(0, 1), (1, 1), (2, 1), (4, 2), (5, 1)]
    whole = sum(each.energy_kwh * each.epochs for each in cost.epochs)
    assert whole == pytest.approx(summary["energy_kwh"], rel=1e-6)


def test_per_thousand_samples_counts_all_ranks() -> None:
    """Two ranks that split the data count both's samples and both's energy; epochs are those of the lowest rank."""
    ranks = [
        recorded_run("r", START + datetime.timedelta(seconds=rank), seconds=40, source_id=f"s{rank}", rank=rank)
        for rank in (0, 1)
    ]
    summary, history, series = _read([*ranks[0], *ranks[1]])
    cost = costs.learning(summary, history.steps, series.energy_kwh)
    assert cost.per_thousand_samples_kwh == pytest.approx(summary["energy_kwh"] / (2 * 40 * 256) * 1_000, rel=1e-6)
    assert [each.epoch for each in cost.epochs] == [0, 1, 2, 3, 4]
    thinned = costs.learning(summary, history.steps[::2], series.energy_kwh, thinning=2)
    assert thinned.per_thousand_samples_kwh == pytest.approx(cost.per_thousand_samples_kwh, rel=0.05)


def test_nothing_is_made_up() -> None:
    """Without steps, epochs, samples or a plan there is no figure."""
    summary, _, series = _read(recorded_run("r", START, seconds=30))
    cost = costs.learning(summary, [], series.energy_kwh)
    assert (cost.epochs, cost.per_epoch_kwh, cost.per_thousand_samples_kwh) == ([], None, None)
    assert costs.forecast(summary, [], series.energy_kwh) is None
    assert costs.idle_energy([]).share is None


def test_forecast_of_a_steady_run_is_its_end() -> None:
    """After a third of its epochs a steady run's forecast holds what it then costs, within its band."""
    whole = recorded_run("r", START, seconds=300, planned_epochs=31)
    summary, history, series = _read(whole[:201])
    end = costs.forecast(summary, history.steps, series.energy_kwh)
    assert end is not None
    assert (end.unit, end.planned, end.done) == ("epochs", 31, 10)
    final = summary_document(whole)["energy_kwh"]
    assert end.energy_kwh == pytest.approx(final, rel=0.1)
    assert end.energy_low_kwh <= final <= end.energy_high_kwh
    assert end.emissions_kg == pytest.approx(end.energy_kwh * 1.25 * 0.381, rel=1e-6)


def test_a_run_that_is_over_has_no_forecast() -> None:
    """What is known needs no forecast."""
    events = recorded_run("r", START, seconds=60, planned_epochs=31, status=RunStatus.STOPPED)
    summary, history, series = _read(events)
    assert costs.forecast(summary, history.steps, series.energy_kwh) is None


def test_a_restart_goes_on_counting() -> None:
    """A second source that begins again from an earlier epoch pays for it, and takes the forecast further."""
    first = recorded_run("r", START, seconds=100, source_id="a", planned_epochs=20)
    again = recorded_run("r", START + datetime.timedelta(seconds=200), seconds=150, source_id="b", planned_epochs=20)
    summary, history, series = _read([*first, *again])
    cost = costs.learning(summary, history.steps, series.energy_kwh)
    numbers = [each.epoch for each in cost.epochs]
    assert numbers == list(range(16))
    dearest = max(cost.epochs, key=lambda each: each.energy_kwh)
    assert dearest.epoch == 10, "where it broke off: all that was done again is in it"
    assert sum(each.energy_kwh for each in cost.epochs) == pytest.approx(summary["energy_kwh"], rel=1e-6)


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.none() | st.floats(0, 100, allow_nan=False), st.none() | st.floats(0, 100)),
        max_size=30,
    )
)
def test_idle_is_a_part_of_what_is_known(parts: list[tuple[float, float | None, float | None]]) -> None:
    """Idle energy never is more than the energy whose use is known, and a busy GPU is not idle."""
    idle = costs.idle_energy(_sample(*part) for part in parts)
    assert 0 <= idle.idle_kwh <= idle.known_kwh
    assert idle.share is None or 0 <= idle.share <= 1
    busy = costs.idle_energy(_sample(energy, cpu, 50.0) for energy, cpu, _ in parts)
    assert busy.idle_kwh == 0


def test_idle_needs_cpu_and_gpu_to_be() -> None:
    """Under 5 % both, or the CPU alone where there is no GPU; a sample that does not tell counts nowhere."""
    samples = [
        _sample(1, 4.9, None),
        _sample(2, 4.9, 4.9),
        _sample(4, 4.9, 5.0),
        _sample(8, 5.0, 0),
        _sample(16, None, 0),
    ]
    idle = costs.idle_energy(samples)
    assert (idle.idle_kwh, idle.known_kwh) == (3, 15)


def test_idle_windows_go_by_their_means() -> None:
    """A run drawn from windows has the idle share of its minutes."""
    windows = window_documents(recorded_run("r", START, seconds=150))
    assert costs.idle_windows(windows).share == 0
    windows[0]["aggregate"]["cpu_utilization_avg_pct"] = 1.0
    assert costs.idle_windows(windows).idle_kwh == windows[0]["aggregate"]["energy_kwh"]
