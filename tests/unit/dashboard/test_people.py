"""What users, projects and models used: sums of rollups by anybody's months, against the windows themselves."""

from __future__ import annotations

import datetime
import math
import zoneinfo
from typing import Any, cast

import pytest
from pymongo.database import Database

from tests.dashboard_runs import recorded_run, rollup_documents, summary_document, window_documents
from tests.unit.dashboard.fake_store import FakeStore
from wattline_common import store
from wattline_common.events import RunStatus
from wattline_common.store import Document
from wattline_dashboard import people_queries
from wattline_dashboard.budget_use import BudgetUse
from wattline_dashboard.budgets import Budget
from wattline_dashboard.formats import EMISSIONS, ENERGY
from wattline_dashboard.people import GroupUse, Usage, by_group, by_run, curve, in_spans, run_classes, total
from wattline_dashboard.people_charts import running_totals, spans_in_a_row
from wattline_dashboard.spans import Span
from wattline_dashboard.statement import Statement, groups_to_save, printable, runs_to_save

NOVEMBER = Span("month", 2026, 11)
ZONES = [zoneinfo.ZoneInfo(name) for name in ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")]


def _filled() -> tuple[FakeStore, list[Any]]:
    """Return a store with runs around both ends of November, some over its very edge, and all their windows."""
    fake = FakeStore()
    windows: list[Any] = []
    first = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
    starts = [first + datetime.timedelta(hours=hours) for hours in (-30, -7, -5.2, -1.6, -0.4, 3, 200, 714.2, 719, 721)]
    for number, started_at in enumerate(starts):
        events = recorded_run(
            f"run-{number}",
            started_at,
            seconds=5_400,
            interval_s=60,
            status=RunStatus.COMPLETED,
            has_gpu=number % 2 == 0,
            simulated=number % 3 == 0,
            user_id=("ada", "grace")[number % 2],
            project=("vision", None)[number // 2 % 2],
        )
        windows += window_documents(events)
        fake.put(store.TRAINING_RUN_SUMMARY, summary_document(events))
    fake.put(store.AGGREGATED_METRICS, *windows)
    fake.put(store.AGGREGATED_ROLLUPS, *rollup_documents(windows))
    return fake, windows


def _direct(windows: list[Any], since: datetime.datetime, until: datetime.datetime, **context: Any) -> float:
    return math.fsum(
        window["aggregate"]["energy_kwh"]
        for window in windows
        if since <= window["window_start"] < until
        and all(window["aggregate"]["context"][name] == value for name, value in context.items())
    )


@pytest.mark.parametrize("zone", ZONES, ids=str)
def test_sums_are_those_of_the_windows_by_anybodys_months(zone: zoneinfo.ZoneInfo) -> None:
    """Whatever the clock, a month has exactly the windows that begin in it, by user and project, real and simulated."""
    fake, windows = _filled()
    database = cast("Database[Document]", fake)
    before, since, until = NOVEMBER.shifted(-1).since(zone), NOVEMBER.since(zone), NOVEMBER.until(zone)
    for dimension in ("user_id", "project"):
        runs = people_queries.run_sums(database, dimension, since, until)
        groups = by_group(people_queries.group_sums(database, dimension, before, since, until), runs)
        assert {group.name for group in groups} == {w["aggregate"]["context"][dimension] for w in windows}
        for group in groups:
            context = {dimension: group.name, "simulated": group.class_name == "simulated"}
            assert group.now.energy_kwh == pytest.approx(_direct(windows, since, until, **context), rel=1e-12)
            assert group.before.energy_kwh == pytest.approx(_direct(windows, before, since, **context), rel=1e-12)
            mine = {run for (run, name), usage in by_run(runs, group.name).items() if name == group.class_name}
            assert mine == group.run_ids
        of_all = by_run(runs, None, of_all=True)
        wanted = _direct(windows, since, until)
        assert math.fsum(usage.energy_kwh for usage in of_all.values()) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("zone", ZONES, ids=str)
def test_curves_end_in_the_sums_and_never_fall(zone: zoneinfo.ZoneInfo) -> None:
    """The running total of a month begins with nothing and ends with what was used; months in a row are these ends."""
    fake, windows = _filled()
    spans = [NOVEMBER.shifted(back) for back in (-2, -1, 0, 1)]
    boundaries = [*(span.since(zone) for span in spans), spans[-1].until(zone)]
    rows = people_queries.course(cast("Database[Document]", fake), "user_id", "ada", boundaries)
    since, until = NOVEMBER.since(zone), NOVEMBER.until(zone)
    for name, simulated in (("real", False), ("simulated", True)):
        steps = curve(rows, name, since, until)
        assert steps[0].usage == Usage()
        values = [step.usage.energy_kwh for step in steps]
        assert values == sorted(values)
        assert all(since <= step.until <= until for step in steps)
        for span, usage in zip(spans, in_spans(rows, spans, zone)[name], strict=True):
            wanted = _direct(windows, span.since(zone), span.until(zone), user_id="ada", simulated=simulated)
            assert usage.energy_kwh == pytest.approx(wanted, rel=1e-12)


def test_a_curve_is_level_where_nothing_was_used() -> None:
    """What was used on the third day is not spread over the first two."""
    days = [NOVEMBER.since(datetime.UTC) + datetime.timedelta(days=number) for number in range(5)]
    used = dict.fromkeys(people_queries.SUMS, 2.0)
    rows = [{"_id": {"start": day, "length_s": 86_400, "simulated": False}, **used} for day in (days[2], days[3])]
    steps = curve(rows, "real", days[0], days[4])
    assert [(step.until, step.usage.energy_kwh) for step in steps] == [
        (days[0], 0.0),
        (days[2], 0.0),
        (days[3], 2.0),
        (days[4], 4.0),
    ]


def test_a_month_of_whole_days_is_read_by_days_only() -> None:
    """A year costs days, not minutes: windows are asked for only where a month begins inside an hour."""
    fake, _ = _filled()
    year = Span("year", 2026, 1)
    for zone in (datetime.UTC, zoneinfo.ZoneInfo("Europe/Berlin")):
        fake.asked.clear()
        edges = (year.shifted(-1).since(zone), year.since(zone), year.until(zone))
        people_queries.group_sums(cast("Database[Document]", fake), "user_id", *edges)
        assert {each.collection for each in fake.asked} == {store.AGGREGATED_ROLLUPS}
        assert len(fake.asked) <= 2
        assert all(each.pipeline[-1] == {"$limit": people_queries.MAX_ROWS} for each in fake.asked)


def test_names_are_compared_never_run() -> None:
    """A name that looks like an operator finds nothing."""
    fake, _ = _filled()
    boundaries = [NOVEMBER.since(datetime.UTC), NOVEMBER.until(datetime.UTC)]
    people_queries.course(cast("Database[Document]", fake), "user_id", '{"$ne": 1}', boundaries)
    assert all(each.condition["key"] == {"$eq": '{"$ne": 1}'} for each in fake.asked)


def _uses(limit: float) -> list[BudgetUse]:
    return [BudgetUse(Budget("user", "ada", "energy", limit, "month"), NOVEMBER, 2.0)]


def test_charts_keep_classes_apart_and_draw_the_budget() -> None:
    """Each class has an axis and a unit of its own; a budget's line stands where what it counts is drawn."""
    rows = [
        {"_id": {"start": NOVEMBER.since(datetime.UTC), "length_s": 86_400, "simulated": simulated}}
        | dict.fromkeys(people_queries.SUMS, 0.001 if simulated else 2.0)
        for simulated in (False, True)
    ]
    since, until = NOVEMBER.since(datetime.UTC), NOVEMBER.until(datetime.UTC)
    curves = {name: curve(rows, name, since, until) for name in ("real", "simulated")}
    figure = running_totals(curves, [_uses(3.0)[0].budget], NOVEMBER, datetime.UTC, until, "energy")
    assert [trace.name for trace in figure.data] == ["real", "simulated"]
    assert figure.layout.yaxis.title.text == "real (kWh)"
    assert figure.layout.yaxis2.title.text == "simulated (Wh)"
    (line,) = figure.layout.shapes
    assert (line.y0, line.yref) == (3.0, "y")
    assert figure.layout.annotations[0].text == "budget 3.000 kWh"
    assert figure.layout.yaxis.range[1] > 3.0
    assert list(figure.data[0].y) == [0.0, 2.0, 2.0], "and from there on nothing"
    bars = spans_in_a_row(in_spans(rows, [NOVEMBER], datetime.UTC), [NOVEMBER], NOVEMBER, "energy")
    assert [list(bar.y) for bar in bars.data] == [[2.0], [1.0]]
    assert bars.data[1].marker.pattern.shape == "/", "simulated is hatched"


def test_groups_are_shown_as_shares_of_their_own_class() -> None:
    """Real and simulated groups make two classes, and what used nothing is in neither."""
    groups = [
        GroupUse("ada", "real", Usage(energy_kwh=1.0), run_ids={"a"}),
        GroupUse(None, "simulated", Usage(energy_kwh=2.0), run_ids={"b", "c"}),
        GroupUse("past", "real", before=Usage(energy_kwh=9.0)),
    ]
    real, simulated = run_classes(groups, "project")
    assert [group.label for group in real.groups["project"]] == ["ada"]
    assert [group.label for group in simulated.groups["project"]] == [""]
    assert simulated.totals.run_ids == {"b", "c"}
    assert total(groups, "real")[1].energy_kwh == 9.0


def _statement(name: str = "<b>ada</b>", runs: int = 2) -> Statement:
    used = {(f"=run-{number}", "real"): Usage(2.0, 1.5, 2.5, 1.0, 0.5) for number in range(runs)}
    used["sim", "simulated"] = Usage(7.0, 7.0, 7.0, 0.0, 1.0)
    groups = [
        GroupUse(name, "real", Usage(2.0 * runs, 1.5 * runs, 2.5 * runs, 1.0 * runs, 0.5 * runs)),
        GroupUse(name, "simulated", Usage(7.0, 7.0, 7.0, 0.0, 1.0)),
    ]
    return Statement("user", name, NOVEMBER, zoneinfo.ZoneInfo("Europe/Berlin"), groups, used, {}, _uses(1.0))


def test_the_statement_for_paper_tells_all_and_runs_nothing() -> None:
    """Sums, bands, the clock, budgets and every run are on it; names are escaped, and nothing is fetched."""
    page = printable(_statement(), datetime.datetime(2026, 12, 2, tzinfo=datetime.UTC)).decode()
    for words in (
        "User &lt;b&gt;ada&lt;/b&gt;",
        "November 2026 · 2026-11-01 to 2026-11-30, time zone Europe/Berlin",
        ENERGY.text(4.0),
        ENERGY.band(3.0, 5.0),
        EMISSIONS.text(1.0),
        "50.0 %",
        "Budget user ada: 1.000 kWh a month: 2.000 kWh used, 200.0 %, passed",
        "Simulated: no machine drew this energy",
        "=run-1",
    ):
        assert words in page
    assert "goes on" not in page
    assert "<b>" not in page
    assert "http" not in page
    assert ENERGY.text(11.0) not in page, "real and simulated are never added up"


def test_a_long_statement_sums_up_what_it_does_not_list() -> None:
    """Sixty runs fit; the others are one line, and the sum is of all."""
    page = printable(_statement(runs=100), datetime.datetime(2026, 11, 2, tzinfo=datetime.UTC)).decode()
    assert "40 more runs" in page
    assert ENERGY.text(80.0) in page
    assert ENERGY.text(200.0) in page
    assert "goes on: figures of 2026-11-02 01:00" in page


def test_saved_tables_have_the_stores_figures_and_the_edges_of_the_span() -> None:
    """A row for each run, marked when simulated, in the store's units and with the span in UTC."""
    table = runs_to_save(_statement()).set_index("run_id")
    assert table.loc["=run-0", "span_energy_kwh"] == 2.0
    assert table["simulated"].tolist() == [False, False, True]
    assert table.loc["sim", "span_start"] == datetime.datetime(2026, 10, 31, 23, tzinfo=datetime.UTC)
    groups = groups_to_save("user", NOVEMBER, datetime.UTC, _statement().groups)
    assert groups["span_emissions_kg"].tolist() == [1.0, 1.0]
    assert len(runs_to_save(Statement("user", None, NOVEMBER, datetime.UTC, [], {}, {}))) == 0
