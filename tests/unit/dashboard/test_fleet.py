"""Many runs' windows to totals, bars and groups; and to figures."""

from __future__ import annotations

import datetime
import json
import math
from typing import Any

import pytest

from wattline_dashboard import fleet_charts
from wattline_dashboard.filters import DIMENSIONS, Filters
from wattline_dashboard.fleet import Fleet, FleetRow, fold, ranked
from wattline_dashboard.formats import ENERGY, TIMES, change
from wattline_dashboard.sparks import MAX_POINTS, sparks

NOW = datetime.datetime(2026, 5, 2, 12, 30, tzinfo=datetime.UTC)
SINCE = NOW - datetime.timedelta(hours=24)


def _summary(run_id: str, **fields: Any) -> dict[str, Any]:
    return {
        "_id": run_id,
        "user_id": "ada",
        "project": None,
        "model_name": "m",
        "dataset_name": "d",
        "region_iso": "DEU",
        "environment": "local",
        "simulated": False,
        "methods": ["COUNTER", "MODELLED"],
    } | fields


def _row(run_id: str, hours_ago: float, energy_kwh: float, *, measured: float = 0.0) -> FleetRow:
    start = (NOW - datetime.timedelta(hours=hours_ago)).replace(minute=0)
    return FleetRow(
        run_id=run_id,
        start=start,
        is_current=start + datetime.timedelta(hours=1) > SINCE,
        energy_kwh=energy_kwh,
        measured_energy_kwh=measured,
        emissions_kg=energy_kwh * 0.4,
        kind_energy_kwh={"CPU": energy_kwh * 0.25, "GPU": energy_kwh * 0.75, "MEMORY": 0.0, "OTHER": 0.0},
    )


ROWS = [
    _row("real", 2, 1.0, measured=0.75),
    _row("real", 30, 0.5),
    _row("real-2", 3, 3.0),
    _row("simulated", 2, 100.0),
    _row("simulated", 5, 20.0),
    _row("simulated", 40, 60.0),
]
SUMMARIES = {
    "real": _summary("real"),
    "real-2": _summary("real-2", user_id="grace", project="vision"),
    "simulated": _summary("simulated", simulated=True, methods=["SIMULATED"]),
}


def _fold(filters: Filters | None = None, rows: list[FleetRow] = ROWS, summaries: Any = SUMMARIES) -> Fleet:
    return fold(rows, summaries, filters or Filters(), SINCE, NOW, datetime.UTC)


def test_real_and_simulated_are_never_added() -> None:
    """Each class has its own totals, runs and trend; nowhere is there a sum of both."""
    fleet = _fold()
    real, simulated = fleet.classes["real"], fleet.classes["simulated"]
    assert (real.totals.energy_kwh, real.totals.measured_energy_kwh, real.totals.run_ids) == (
        *(4.0, 0.75),
        {"real", "real-2"},
    )
    assert real.totals.measured_share == pytest.approx(0.1875)
    assert real.before is not None
    assert simulated.before is not None
    assert (real.before.energy_kwh, simulated.before.energy_kwh) == (0.5, 60.0)
    assert simulated.totals.energy_kwh == 120.0
    for each in (real, simulated):
        parts = (
            sum(bar.energy_kwh for bar in each.bars),
            math.fsum(sum(values) for values in each.bar_kinds.values()),
            sum(share.totals.energy_kwh for share in each.runs),
            *(sum(group.totals.energy_kwh for group in each.groups[name]) for name in DIMENSIONS),
        )
        assert parts == pytest.approx([each.totals.energy_kwh] * len(parts), rel=1e-12)
    assert [each.name for each in fleet.shown] == ["real", "simulated"]


def test_bars_stand_where_the_energy_was_used() -> None:
    """The bars cover the period, empty hours too."""
    fleet = _fold()
    used = {start.hour: bar.energy_kwh for start, bar in zip(fleet.starts, fleet.classes["real"].bars, strict=True)}
    assert len(fleet.starts) == 25
    assert (used[10], used[9], used[8]) == (1.0, 3.0, 0.0)


def test_energy_of_a_clock_that_is_ahead_is_in_the_last_bar() -> None:
    """And that of a stretch which began before the period in the first."""
    late, early = _row("real", -1, 5.0), _row("real", 24.5, 7.0)
    bars = _fold(rows=[late, early]).classes["real"].bars
    assert (bars[0].energy_kwh, bars[-1].energy_kwh) == (7.0, 5.0)


def test_filters_leave_runs_out_of_everything() -> None:
    """A filter acts on totals, the period before, groups and runs alike; what may be chosen stays."""
    fleet = _fold(Filters(user="ada", kind="real"))
    assert fleet.classes["real"].totals.energy_kwh == 1.0
    assert fleet.classes["simulated"].is_empty
    assert [group.label for group in fleet.classes["real"].groups["user"]] == ["ada"]
    assert fleet.options["user"] == ["ada", "grace"]
    assert fleet.options["project"] == ["vision"]


def test_a_run_without_a_summary_is_told_not_guessed() -> None:
    """Windows whose run is unknown are in no figure, and how many there are is said."""
    fleet = _fold(rows=[*ROWS, _row("stray", 1, 9.0)])
    assert fleet.strays == 1
    assert fleet.classes["real"].totals.energy_kwh == 4.0


def test_nothing_at_all() -> None:
    """An empty period has bars and no class to show; so has one without a start."""
    assert _fold(rows=[]).shown == []
    endless = fold([], {}, Filters(period="all"), None, NOW, datetime.UTC)
    assert endless.shown == []
    assert len(endless.starts) == 1


def test_all_begins_with_the_first_window_and_has_no_trend() -> None:
    """Without a start there is no period before, and the bars begin where the energy does."""
    rows = [_row("real", 2, 1.0)]
    fleet = fold(rows, SUMMARIES, Filters(period="all"), None, NOW, datetime.UTC)
    assert fleet.classes["real"].before is None
    assert [start.isoformat() for start in fleet.starts] == ["2026-05-02T00:00:00"]


def test_the_rest_is_one_group() -> None:
    """At most so many groups, the biggest first by the measure, and what is left is one that holds it all."""
    summaries = {f"r{number}": _summary(f"r{number}", user_id=f"u{number}") for number in range(9)}
    rows = [_row(f"r{number}", 2, number + 1.0) for number in range(9)]
    groups = _fold(rows=rows, summaries=summaries).classes["real"].groups["user"]
    top = ranked(groups, "emissions", 4)
    assert [group.label for group in top] == ["u8", "u7", "u6", "6 others"]
    assert sum(group.totals.energy_kwh for group in top) == 45.0
    assert top[-1].is_rest
    assert top[-1].totals.run_ids == {f"r{number}" for number in range(6)}
    assert [group.label for group in ranked(groups[:3], "energy", 4)] == ["u2", "u1", "u0"]


@pytest.mark.parametrize(
    ("value", "before", "words"),
    [
        (1.5, 1.0, "+50.0 %"),
        (0.5, 1.0, "-50.0 %"),
        (20.0, 1.0, f"+{TIMES}20"),
        (1.0, 0.0, None),
        (0.0, 2.0, "-100.0 %"),
    ],
)
def test_trend(value: float, before: float, words: str | None) -> None:
    """Growth and fall in percent; many times over as a factor; against nothing there is no trend."""
    assert change(value, before) == words


def _spec(figure: Any) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads(figure.to_json())
    return spec


def test_time_is_drawn_on_an_axis_for_each_class() -> None:
    """Simulated bars are hatched and stand on their own axis; heights add up to the class's total."""
    fleet = _fold()
    spec = _spec(fleet_charts.over_time(fleet, fleet.shown))
    hatched = {trace["yaxis"]: "pattern" in trace["marker"] for trace in spec["data"]}
    assert hatched == {"y": False, "y2": True}
    heights = sum(sum(trace["y"]) for trace in spec["data"] if trace["yaxis"] == "y2")
    assert heights == pytest.approx(120.0)
    assert spec["layout"]["yaxis2"]["title"]["text"] == "simulated (kWh)"
    assert sum(trace["showlegend"] for trace in spec["data"]) == 2


def test_breakdown_marks_how_energy_was_got() -> None:
    """Bars are shares of their own class, split into measured, modelled and simulated; amounts stand beside."""
    fleet = _fold()
    spec = _spec(fleet_charts.breakdown(fleet.shown, "user", "energy"))
    bars = {trace["name"]: trace["x"] for trace in spec["data"]}
    assert bars["measured"] == pytest.approx([0.0, 0.1875, 0.0])
    assert bars["modelled"] == pytest.approx([0.75, 0.0625, 0.0])
    assert bars["simulated"] == [0.0, 0.0, 1.0]
    texts = [each["text"] for each in spec["layout"]["annotations"]]
    assert texts == [f"{ENERGY.text(3.0)} · 75 %", f"{ENERGY.text(1.0)} · 25 %", f"{ENERGY.text(120.0)} · 100 %"]


def test_breakdown_shows_users_text_as_text() -> None:
    """A name like markup is escaped, a long one cut."""
    summaries = {"real": _summary("real", user_id="<a href=x>" + "y" * 40)}
    fleet = _fold(rows=ROWS[:1], summaries=summaries)
    (label,) = _spec(fleet_charts.breakdown(fleet.shown, "user", "energy"))["layout"]["yaxis"]["ticktext"]
    assert label.startswith("&lt;a href=x&gt;")
    assert "…" in label


def test_sparks_are_short_and_in_order() -> None:
    """A run's windows, newest first, become at most so many means, oldest first; without power there is no point."""
    windows = [{"run_id": "a", "aggregate": {"power_avg_w": float(number)}} for number in range(99, -1, -1)]
    windows += [{"run_id": "b", "aggregate": {"power_avg_w": 5.0}}, {"run_id": "c", "aggregate": {}}]
    found = sparks(windows)
    assert len(found["a"]) == MAX_POINTS
    assert found["a"] == sorted(found["a"])
    assert found["a"][0] == 1.0
    assert found["b"] == [5.0, 5.0]
    assert "c" not in found
