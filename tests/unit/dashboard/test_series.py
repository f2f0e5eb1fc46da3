"""A run's curves."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import pytest

from tests.dashboard_runs import Event, raw_documents, recorded_run, summary_document, window_documents
from wattline_common.events import HardwareSampled, RunStatus
from wattline_dashboard.curves import MAX_POINTS, RunSeries
from wattline_dashboard.facts import spans
from wattline_dashboard.history import RunHistory
from wattline_dashboard.series import by_device, from_events, from_windows

START = datetime.datetime(2026, 1, 1, 12, 0, 0, tzinfo=datetime.UTC)


def _series(events: Sequence[Event]) -> RunSeries:
    history = RunHistory("r")
    history.add(raw_documents(events))
    return from_events(history.samples, history.steps)


def test_curves_end_in_the_summary() -> None:
    """The last point of each running total is the run's total, band and all."""
    events = recorded_run("r", START, seconds=90, has_gpu=True)
    summary = summary_document(events)
    series = _series(events)
    energy, emissions = series.energy_kwh, series.emissions_kg
    assert energy.value[-1] == pytest.approx(summary["energy_kwh"], rel=1e-12)
    assert energy.low[-1] == pytest.approx(summary["energy_low_kwh"], rel=1e-12)
    assert energy.high[-1] == pytest.approx(summary["energy_high_kwh"], rel=1e-12)
    assert emissions.value[-1] == pytest.approx(summary["emissions_kg"], rel=1e-12)
    assert all(low <= value <= high for low, value, high in zip(energy.low, energy.value, energy.high, strict=True))
    assert sum(series.kind_energy.values()) == pytest.approx(summary["energy_kwh"], rel=1e-9)
    assert list(series.power.watts) == ["CPU", "GPU", "MEMORY"]


def test_sources_add_up() -> None:
    """The running total of a run is the sum over its sources, a restarted one included; power is of those alive."""
    first = recorded_run("r", START, seconds=30, source_id="a")
    second = recorded_run("r", START + datetime.timedelta(seconds=60), seconds=30, source_id="b")
    third = recorded_run("r", START + datetime.timedelta(seconds=60.5), seconds=30, source_id="c")
    events = [*first, *second, *third]
    series = _series(events)
    assert series.energy_kwh.value[-1] == pytest.approx(summary_document(events)["energy_kwh"], rel=1e-12)
    assert series.energy_kwh.value == sorted(series.energy_kwh.value)
    memory_w = series.power.watts["MEMORY"]
    assert memory_w[15] == pytest.approx(3.0)
    assert memory_w[30] == pytest.approx(3.0), "the source that ended draws nothing any more"
    assert memory_w[-5] == pytest.approx(6.0), "two ranks draw together"
    assert [curve.source_id for curve in series.loss] == ["a", "b", "c"]


def test_windows_and_events_tell_the_same() -> None:
    """The curves of windows end where those of raw events end, at the run's end and not at the window's."""
    events = recorded_run("r", START, seconds=150, has_gpu=True, status=RunStatus.COMPLETED)
    until = START + datetime.timedelta(seconds=150)
    by_events, by_windows = _series(events), from_windows(window_documents(events), until=until)
    assert by_windows.energy_kwh.value[-1] == pytest.approx(by_events.energy_kwh.value[-1], rel=1e-9)
    assert by_windows.emissions_kg.high[-1] == pytest.approx(by_events.emissions_kg.high[-1], rel=1e-9)
    assert by_windows.energy_kwh.times_us[-1] == by_events.energy_kwh.times_us[-1]
    assert by_windows.kind_energy == pytest.approx(dict(by_events.kind_energy), rel=1e-9)
    assert len(by_windows.power.times_us) == 3
    assert sum(watts[1] for watts in by_windows.power.watts.values()) == pytest.approx(
        window_documents(events)[1]["aggregate"]["power_avg_w"]
    )


def test_power_from_windows_is_the_runs_and_not_a_sources() -> None:
    """Where two ranks run at once their windows show both's power; a restart, one after the other, shows its own."""
    ranks = [recorded_run("r", START, seconds=180, source_id=name, interval_s=55.0) for name in ("a", "b")]
    again = recorded_run("r", START + datetime.timedelta(seconds=240), seconds=180, source_id="c", interval_s=55.0)
    events = [*ranks[0], *ranks[1], *again]
    summary: Any = summary_document(events)
    series = from_windows(window_documents(events), until=summary["last_event_at"], sources=spans(summary))
    memory_w = series.power.watts["MEMORY"]
    assert memory_w[0] == pytest.approx(6.0)
    assert memory_w[-2] == pytest.approx(3.0)


def test_a_source_that_only_reports_steps_adds_no_power() -> None:
    """A rank that does not measure, or a script inside `wattline run`: it is there, and the watts are the other's."""
    measuring = recorded_run("r", START, seconds=180, source_id="a", interval_s=55.0)
    reporting = [
        event
        for event in recorded_run("r", START, seconds=180, source_id="b", interval_s=55.0)
        if not isinstance(event, HardwareSampled)
    ]
    summary: Any = summary_document([*measuring, *reporting])
    windows = window_documents([*measuring, *reporting])
    series = from_windows(windows, until=summary["last_event_at"], sources=spans(summary))
    assert series.power.watts["MEMORY"] == pytest.approx([3.0] * len(series.power.watts["MEMORY"]))


def test_devices_are_told_apart() -> None:
    """By device there is a layer for each, with its host where there are several; the least are one layer."""
    hosts = [
        recorded_run("r", START, seconds=20, source_id=f"s{number}", host=f"host-{number}", has_gpu=True)
        for number in range(4)
    ]
    history = RunHistory("r")
    history.add(raw_documents([event for events in hosts for event in events]))
    one = by_device([each for each in history.samples if each.source_id == "s0"], {"s0": "host-0"})
    assert list(one.watts) == ["cpu-0", "gpu-0", "memory"]
    power = by_device(history.samples, {f"s{number}": f"host-{number}" for number in range(4)})
    assert len(power.watts) == 10
    assert list(power.watts)[-1] == "3 others"
    assert power.kinds["host-1 gpu-0"] == "GPU"
    whole = from_events(history.samples, history.steps).power
    assert sum(watts[-1] for watts in power.watts.values()) == pytest.approx(
        sum(watts[-1] for watts in whole.watts.values())
    )


def test_long_curves_are_thinned() -> None:
    """No curve has more points than a browser likes; totals keep their end, power its mean."""
    events = recorded_run("r", START, seconds=2_500)
    series = _series(events)
    assert MAX_POINTS / 2 <= len(series.power.times_us) <= MAX_POINTS
    assert len(series.energy_kwh.value) == len(series.energy_kwh.times_us) <= MAX_POINTS
    assert len(series.loss[0].values) <= MAX_POINTS
    assert series.energy_kwh.value[-1] == pytest.approx(summary_document(events)["energy_kwh"], rel=1e-12)
    watts = series.power.watts["CPU"]
    assert sum(watts) / len(watts) == pytest.approx(28, abs=0.3)


def test_nothing_sampled_is_empty() -> None:
    """A run that only started has no curve, and says so."""
    assert from_events([], []).is_empty
    assert from_windows([], until=START).is_empty
    assert from_windows(window_documents(recorded_run("r", START, seconds=0)), until=START).is_empty
