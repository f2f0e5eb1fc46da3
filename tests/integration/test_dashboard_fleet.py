"""The overview and the list of runs against the real store: figures on the page are the sums of its documents."""

from __future__ import annotations

import datetime
import math
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import streamlit as st
from pymongo.database import Database
from streamlit.testing.v1 import AppTest

import wattline_dashboard
from tests.dashboard_runs import book, forget, recorded_run
from wattline_common import store
from wattline_common.events import RunStatus
from wattline_common.store import Document
from wattline_dashboard import data, fleet_data, fleet_queries
from wattline_dashboard.filters import DIMENSIONS, Filters
from wattline_dashboard.formats import EMISSIONS, ENERGY
from wattline_dashboard.periods import PERIODS

if TYPE_CHECKING:
    from wattline_stack import Endpoints

APP = Path(wattline_dashboard.__file__).parent / "streamlit_app.py"
MARK = f"fleet-{uuid.uuid4().hex[:8]}"
RUNS = 24
KINDS = ("cpu", "gpu", "memory", "other")


@pytest.fixture(scope="module")
def fleet_ids() -> list[str]:
    """Return the identities of this module's runs."""
    return [f"{MARK}-{number:02}" for number in range(RUNS)]


@pytest.fixture
def database(stack: Endpoints, monkeypatch: pytest.MonkeyPatch, fleet_ids: list[str]) -> Iterator[Database[Document]]:
    """Return the store that the pages read too, with two days of runs in it, every third simulated."""
    monkeypatch.setenv("MONGODB_URI", stack.mongodb_uri)
    st.cache_data.clear()
    st.cache_resource.clear()
    database = store.connect(stack.mongodb_uri)
    store.ensure(database)
    for number, run_id in enumerate(fleet_ids):
        options: dict[str, Any] = {"simulated": True} if number % 3 == 0 else {}
        events = recorded_run(
            run_id,
            data.now() - datetime.timedelta(hours=2 * number + 1, minutes=number),
            seconds=2_000 + 60 * number,
            interval_s=20.0,
            status=RunStatus.COMPLETED,
            has_gpu=number % 2 == 0,
            user_id=f"{MARK}-user-{number % 4}",
            project=f"{MARK}-project",
            region_iso=("DEU", "FRA")[number % 2],
            **options,
        )
        book(database, events, has_raw=False)
    yield database
    forget(database, fleet_ids)
    database.client.close()
    st.cache_data.clear()
    st.cache_resource.clear()


def _windows(database: Database[Document], run_ids: list[str], hours: int) -> list[Document]:
    since = data.now().replace(second=0, microsecond=0) - datetime.timedelta(hours=hours)
    return list(database[store.AGGREGATED_METRICS].find({"run_id": {"$in": run_ids}, "window_start": {"$gte": since}}))


def _sum(windows: list[Document], field: str) -> float:
    return math.fsum(window["aggregate"][field] for window in windows)


@pytest.mark.parametrize(("period", "hours"), [("24h", 24), ("7d", 168), ("all", 24 * 365)])
def test_every_part_adds_up_to_the_stores_sum(
    database: Database[Document], fleet_ids: list[str], period: str, hours: int
) -> None:
    """Totals, bars, kinds of device and every breakdown are the sum of the same windows, to 1e-9."""
    fleet, is_cut = fleet_data.fleet(Filters(period=period, project=f"{MARK}-project"))
    assert not is_cut
    assert fleet.strays == 0
    simulated = [run_id for number, run_id in enumerate(fleet_ids) if number % 3 == 0]
    for name, mine in (("simulated", simulated), ("real", [each for each in fleet_ids if each not in simulated])):
        windows, found = _windows(database, mine, hours), fleet.classes[name]
        assert found.totals.energy_kwh == pytest.approx(_sum(windows, "energy_kwh"), rel=1e-9)
        assert found.totals.emissions_kg == pytest.approx(_sum(windows, "emissions_kg"), rel=1e-9)
        assert found.totals.measured_energy_kwh == pytest.approx(_sum(windows, "measured_energy_kwh"), rel=1e-9)
        assert found.totals.run_ids == {window["run_id"] for window in windows}
        assert sum(bar.energy_kwh for bar in found.bars) == pytest.approx(found.totals.energy_kwh, rel=1e-9)
        for kind in KINDS:
            in_bars = math.fsum(found.bar_kinds.get(kind.upper(), [0.0]))
            assert in_bars == pytest.approx(_sum(windows, f"energy_{kind}_kwh"), rel=1e-9)
        for dimension in DIMENSIONS:
            parts = math.fsum(group.totals.energy_kwh for group in found.groups[dimension])
            assert parts == pytest.approx(found.totals.energy_kwh, rel=1e-9)
        by_user = {group.label: group.totals.energy_kwh for group in found.groups["user"]}
        for user, energy_kwh in by_user.items():
            own = [run_id for number, run_id in enumerate(fleet_ids) if user.endswith(f"-{number % 4}")]
            of_user = [window for window in windows if window["run_id"] in own]
            assert energy_kwh == pytest.approx(_sum(of_user, "energy_kwh"), rel=1e-9)


def test_the_period_before_is_the_one_before(database: Database[Document], fleet_ids: list[str]) -> None:
    """The trend is against the windows of the 24 hours that end where this period begins."""
    fleet, _ = fleet_data.fleet(Filters(project=f"{MARK}-project", kind="real"))
    real = [run_id for number, run_id in enumerate(fleet_ids) if number % 3]
    both, last = (_sum(_windows(database, real, hours), "energy_kwh") for hours in (48, 24))
    before = fleet.classes["real"].before
    assert before is not None
    assert before.energy_kwh == pytest.approx(both - last, rel=1e-9)
    assert before.energy_kwh > 0


def test_hours_tell_what_windows_do(database: Database[Document], fleet_ids: list[str]) -> None:
    """A period read from rollups is the one added up from all windows, though an hour's rollup is not settled yet."""
    hours = database[store.AGGREGATED_ROLLUPS]
    whole = {"$gt": data.now() - datetime.timedelta(hours=20), "$lt": data.now() - datetime.timedelta(hours=2)}
    of_fleet = {"dimension": "run_id", "length_s": store.HOUR_S, "key": {"$in": fleet_ids}, "window_start": whole}
    hour = hours.find_one(of_fleet)
    assert hour is not None
    unsettled = hour["window_start"]
    assert hours.delete_many({"dimension": "run_id", "window_start": unsettled}).deleted_count
    mark = {"_id": f"{MARK}|mark", "run_id": hour["key"], "window_start_us": round(unsettled.timestamp()) * 1_000_000}
    database[store.DIRTY_WINDOWS].insert_one({**mark, "due_at": data.now() + datetime.timedelta(hours=1)})
    try:
        now = data.now()
        by_hours = fleet_data._rows(PERIODS["24h"], store.HOUR_S, now)
        since = PERIODS["24h"].since(now)
        assert since is not None
        stretch = (since - datetime.timedelta(hours=24), now + datetime.timedelta(hours=1))
        by_windows = fleet_queries.window_rows(database, [stretch], since, store.HOUR_S)
    finally:
        database[store.DIRTY_WINDOWS].delete_one({"_id": mark["_id"]})
    told, wanted = (
        {tuple(row["_id"].values()): row["energy_kwh"] for row in rows if row["_id"]["run_id"] in fleet_ids}
        for rows in (by_hours, by_windows)
    )
    assert told == pytest.approx(wanted, rel=1e-9)


def test_overview_page_has_the_stores_figures(database: Database[Document], fleet_ids: list[str]) -> None:
    """What the page says of one user is what the store's windows of that user's runs come to."""
    page = AppTest.from_file(str(APP), default_timeout=60)
    page.query_params.update({"user": f"{MARK}-user-1", "period": "7d"})
    page.run()
    assert not page.exception
    figures = {metric.label: metric.value for metric in page.metric}
    for name, remainder in (("simulated", [0]), ("real", [1, 2])):
        mine = [run_id for number, run_id in enumerate(fleet_ids) if number % 4 == 1 and number % 3 in remainder]
        windows = _windows(database, mine, 168)
        assert figures[f"Energy, {name}"] == ENERGY.text(_sum(windows, "energy_kwh"))
        assert figures[f"Emissions, {name}"] == EMISSIONS.text(_sum(windows, "emissions_kg"))
        assert figures[f"Runs, {name}"] == str(len(mine))


def test_runs_page_draws_curves_of_the_stores_windows(database: Database[Document], fleet_ids: list[str]) -> None:
    """Every listed run has a small curve within the powers of its windows."""
    page = AppTest.from_file(str(APP), default_timeout=60)
    page.run().switch_page("app_pages/runs.py")
    page.query_params.update({"text": MARK, "sort": "energy"})
    page.run()
    assert not page.exception
    table = page.dataframe[0].value.set_index("Run")
    assert set(table.index) == set(fleet_ids)
    assert list(table["Energy"]) == sorted(table["Energy"], reverse=True)
    watts = [w["aggregate"]["power_avg_w"] for w in _windows(database, fleet_ids[:1], 10_000)]
    known = [power_w for power_w in watts if power_w is not None]
    curve: list[float] = table["Power"].to_dict()[fleet_ids[0]]
    assert 2 < len(curve) <= 30
    assert min(known) <= min(curve) <= max(curve) <= max(known)


def test_a_day_of_a_fleet_is_added_up_in_time(database: Database[Document]) -> None:
    """30,000 windows of 300 runs are answered within the 3 seconds of a page, seven times that on a busy machine."""
    others = database.client[f"test_{MARK}"]
    begin = data.now().replace(second=0, microsecond=0) - datetime.timedelta(hours=20)
    figures = dict.fromkeys(("energy_kwh", "measured_energy_kwh", "emissions_kg"), 0.5)
    figures |= {f"energy_{kind}_kwh": 0.125 for kind in KINDS}
    try:
        others[store.AGGREGATED_METRICS].insert_many(
            (
                {
                    "_id": f"run-{number // 100}|{number % 100}",
                    "run_id": f"run-{number // 100}",
                    "window_start": begin + datetime.timedelta(minutes=number % 100 + number // 100),
                    "length_s": store.WINDOW_LENGTH_S,
                    "aggregate": figures,
                }
                for number in range(30_000)
            ),
            ordered=False,
        )
        since = data.now() - datetime.timedelta(hours=24)
        took_s = []
        for _ in range(3):
            started_s = time.monotonic()
            rows = fleet_queries.window_rows(others, [(since, data.now())], since, 3_600)
            took_s.append(time.monotonic() - started_s)
        assert math.fsum(row["energy_kwh"] for row in rows) == pytest.approx(15_000.0)
        assert len(rows) < 1_000
        assert min(took_s) < 20, took_s
    finally:
        database.client.drop_database(others.name)
