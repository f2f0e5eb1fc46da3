"""What a summary says in words and rows."""

from __future__ import annotations

import datetime
from typing import Any, cast

import pytest

from tests.dashboard_runs import GRID_INTENSITY_SOURCE, raw_documents, recorded_run, summary_document
from wattline_common.events import RunStatus
from wattline_common.store import RunSummary
from wattline_dashboard import facts
from wattline_dashboard.facts import RunState
from wattline_dashboard.formats import TIMES, literal

START = datetime.datetime(2026, 1, 1, 12, 0, 0, tzinfo=datetime.UTC)


def _summary(**options: Any) -> RunSummary:
    return cast("RunSummary", summary_document(recorded_run("r", START, seconds=30, **options)))


def _samples(**options: Any) -> list[dict[str, Any]]:
    documents = raw_documents(recorded_run("r", START, seconds=30, **options))
    return [document for document in documents if document["event_type"] == "HardwareSampled"][-1:]


@pytest.mark.parametrize(
    ("status", "later_s", "freshness", "label"),
    [
        (None, 2, "live", "running"),
        (None, 20, "stale", "running, stale"),
        (RunStatus.COMPLETED, 20, "final", "completed"),
        (RunStatus.FAILED, 2, "final", "failed"),
    ],
)
def test_state(status: RunStatus | None, later_s: int, freshness: str, label: str) -> None:
    """A running run that was not heard of for long is stale; one that is over never is."""
    now = START + datetime.timedelta(seconds=30 + later_s)
    state = RunState.at(_summary(status=status), now, stale_after_s=15)
    assert (state.freshness, state.label, state.age_s) == (freshness, label, later_s)


def test_a_clock_ahead_gives_no_negative_age() -> None:
    """A source whose clock is ahead of ours is simply fresh."""
    assert RunState.at(_summary(), START, stale_after_s=15).age_s == 0


def test_methods_are_told_apart() -> None:
    """Measured, modelled and simulated are different words; simulated wins over what its devices claim."""
    assert facts.method_labels(_summary()) == ["modelled"]
    assert facts.method_labels(_summary(has_gpu=True)) == ["measured", "modelled"]
    assert facts.method_labels(_summary(has_gpu=True, simulated=True)) == ["simulated"]
    assert facts.method_labels({"methods": ["FUSION"], "simulated": False}) == ["unknown"]


def test_computation_multiplies_out() -> None:
    """The line has the run's own energy, PUE, intensity and source, and they make its emissions."""
    text = facts.computation(_summary(), _samples())
    energy, pue, intensity = 1000 * _summary()["energy_kwh"], 1.25, 381.0
    assert text.startswith(
        f"{1000 * energy:.1f} mWh {TIMES} PUE 1.250 {TIMES} 381.0 g CO₂e/kWh = **{energy * pue * intensity:.1f} mg"
    )
    assert literal(GRID_INTENSITY_SOURCE) in text


def test_computation_says_which_emissions_the_grid_intensity_counts() -> None:
    """Since version 2 of the sample; one of version 1 does not say."""
    (sample,) = _samples()
    old = {name: value for name, value in sample.items() if name != "grid_intensity_kind"}
    assert "life cycle" in facts.computation(_summary(), [{**old, "grid_intensity_kind": "LIFECYCLE"}])
    assert "direct emissions only" in facts.computation(_summary(), [{**old, "grid_intensity_kind": "DIRECT"}])
    for said in (old, {**old, "grid_intensity_kind": "UNKNOWN"}):
        assert "(" not in facts.computation(_summary(), [said]).partition("Grid intensity: ")[2]


def test_computation_with_changing_intensity_shows_the_mean() -> None:
    """When the latest factors do not make the total, the line says so and shows the mean that does."""
    (sample,) = _samples()
    text = facts.computation(_summary(), [sample | {"grid_intensity_g_per_kwh": 100.0}])
    assert f"{TIMES} 476.2 g CO₂e/kWh (mean" in text
    assert f"{TIMES} 100.0" not in text
    assert facts.computation(_summary() | {"energy_kwh": 0.0}, []) == ""


def test_bands() -> None:
    """The band of the emissions is relatively as wide as that of the energy; mean power is energy over time."""
    summary = _summary()
    low_kg, high_kg = facts.emissions_band_kg(summary)
    low_kwh, high_kwh = facts.energy_band_kwh(summary)
    assert low_kg / summary["emissions_kg"] == pytest.approx(low_kwh / summary["energy_kwh"])
    assert high_kg / summary["emissions_kg"] == pytest.approx(high_kwh / summary["energy_kwh"])
    assert facts.mean_power_w(summary) == pytest.approx(summary["energy_kwh"] * 3.6e6 / 30)
    nothing = cast("RunSummary", summary_document(recorded_run("r", START, seconds=0)))
    assert facts.emissions_band_kg(nothing) == (0.0, 0.0)
    assert facts.mean_power_w(nothing) is None


def test_table_of_runs() -> None:
    """A row has the summary's figures as numbers; power now is only there while the run is heard of."""
    now = START + datetime.timedelta(seconds=31)
    summaries: list[Any] = [_summary(), _summary(status=RunStatus.COMPLETED)]
    zone = datetime.timezone(datetime.timedelta(hours=2))
    judged = [(summary, RunState.at(summary, now, 15, 120)) for summary in summaries]
    live, over = facts.run_table(judged, zone, {"r": [1.0, 2.0]}).to_dict("records")
    assert live["Energy"] == summaries[0]["energy_kwh"]
    assert live["Power now"] == pytest.approx(summaries[0]["power_w"])
    assert over["Power now"] != over["Power now"], "not a number"
    assert (live["Status"], live["User"], live["Run"], live["Method"]) == ("running", "ada", "r", "modelled")
    assert live["Started"].isoformat() == "2026-01-01T14:00:00"
    assert live["Power"] == [1.0, 2.0]
    for later_min, label in ((1, "running, stale"), (5, "stalled 5 min")):
        state = RunState.at(summaries[0], now + datetime.timedelta(minutes=later_min), 15, 120)
        (silent,) = facts.run_table([(summaries[0], state)], zone, {}).to_dict("records")
        assert (silent["Status"], silent["Power now"], silent["Power"]) == (label, None, [])


def test_devices_are_listed_with_their_method() -> None:
    """Each device names how its energy was got and by which meter or model."""
    rows = facts.device_table(_samples(has_gpu=True)).set_index("Device")
    assert rows.loc["cpu-0", "Method"] == "modelled (MODELLED)"
    assert rows.loc["gpu-0", "Method"] == "measured (COUNTER)"
    assert rows.loc["cpu-0", "Meter or model"] == "per-vcpu"
    assert rows.loc["cpu-0", "Share counted"] == "40.0 %"
    assert facts.device_table([]).empty


def test_numbers_of_sources() -> None:
    """The highest number of each source, and that of its latest sample, the last heard of first."""
    events = recorded_run("r", START, seconds=30) + recorded_run("r", START, seconds=40, source_id="b")
    summary = cast("RunSummary", summary_document(events))
    assert facts.seq_max(summary) == {"source-1": 60, "b": 80}
    assert facts.latest_sample_numbers(summary) == (("b", 79), ("source-1", 59))


def test_a_run_whose_old_events_come_in_now_is_arriving() -> None:
    """An old event that was stored a moment ago is no sign of a stall; it is none of life now either."""
    now = START + datetime.timedelta(days=3)
    summary = _summary()
    just_now, long_ago = now - datetime.timedelta(seconds=5), now - datetime.timedelta(hours=1)
    arriving = RunState.at(summary, now, 15, 120, just_now)
    assert (arriving.is_arriving, arriving.is_stalled, arriving.is_stale) == (True, False, True)
    assert (arriving.freshness, arriving.label, arriving.filter_status) == ("arriving", "arriving", "running")
    for ingested_at in (long_ago, None):
        stalled = RunState.at(summary, now, 15, 120, ingested_at)
        assert (stalled.is_arriving, stalled.is_stalled) == (False, True)
    over = RunState.at(_summary(status=RunStatus.COMPLETED), now, 15, 120, just_now)
    assert not over.is_arriving
