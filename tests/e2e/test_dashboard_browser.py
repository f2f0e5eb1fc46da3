"""The pages in a real browser, over a real server and the real store."""

from __future__ import annotations

import datetime
import os
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from pymongo.database import Database

from tests.browser import until
from tests.dashboard_pages import figures, is_dark, picture, wait_for_figures, wait_for_plots
from tests.dashboard_runs import Event, book, forget, recorded_run, summary_document
from wattline_common import store
from wattline_common.events import RunStatus
from wattline_common.store import Document
from wattline_dashboard.formats import EMISSIONS, ENERGY, POWER

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from wattline_stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("live")]

SECONDS = 60
MARK = f"browser-{uuid.uuid4().hex[:8]}"
LIVE, OVER, NOW = f"{MARK}-live", f"{MARK}-over", f"{MARK}-now"
FLEET = [f"{MARK}-fleet-{number:02}" for number in range(12)]
USER = f"{MARK}-bot"


@pytest.fixture(scope="module")
def live(database: Database[Document]) -> Iterator[list[Event]]:
    """Book a run that still goes, one that is over, and a fleet; return the first one's events."""
    now = datetime.datetime.now(datetime.UTC)
    events = recorded_run(LIVE, now - datetime.timedelta(seconds=SECONDS), seconds=SECONDS)
    book(database, events)
    over = recorded_run(
        OVER,
        now - datetime.timedelta(hours=1),
        seconds=600,
        interval_s=5.0,
        status=RunStatus.COMPLETED,
        has_gpu=True,
        user_id="grace",
        model_name="![x](http://192.0.2.1/x.png) resnet",
    )
    book(database, over)
    for number, run_id in enumerate(FLEET):
        simulated = recorded_run(
            run_id,
            now - datetime.timedelta(hours=1.7 * (number + 1)),
            seconds=2_400 + 300 * number,
            interval_s=30.0,
            status=RunStatus.FAILED if number % 5 == 4 else RunStatus.COMPLETED,
            has_gpu=number % 3 > 0,
            simulated=True,
            user_id=USER if number % 2 else "linus",
            project=("vision", "speech", None)[number % 3],
            model_name=("vit-base", "bert-base", "gbm-tabular", "unet")[number % 4],
            dataset_name=("imagenet", "c4", "coco")[number % 3],
            region_iso=("POL", "FRA", "SWE", "USA")[number % 4],
            environment="cluster" if number % 2 else "local",
        )
        book(database, simulated, has_raw=False)
    yield events
    forget(database, [LIVE, OVER, NOW, *FLEET])


def _day_sums(database: Database[Document], **condition: str) -> dict[str, Document]:
    """Return what the store's windows of the last day come to, real and simulated runs apart, by a way of its own."""
    since = datetime.datetime.now(datetime.UTC).replace(second=0, microsecond=0) - datetime.timedelta(hours=24)
    sums: dict[str, Document] = {
        name: {"energy_kwh": 0.0, "emissions_kg": 0.0, "runs": set()} for name in ("real", "simulated")
    }
    runs = {run["_id"]: run for run in database[store.TRAINING_RUN_SUMMARY].find(condition)}
    for window in database[store.AGGREGATED_METRICS].find():
        if window["run_id"] in runs and window["window_start"] >= since:
            mine = sums["simulated" if runs[window["run_id"]]["simulated"] else "real"]
            mine["runs"].add(window["run_id"])
            for name in ("energy_kwh", "emissions_kg"):
                mine[name] += window["aggregate"][name]
    return sums


def _wait_for_run(page: Page) -> None:
    wait_for_plots(page, 7)


def _points(page: Page) -> int:
    """Return how many points the first curve of the first plot has."""
    return int(page.evaluate("document.querySelector('.wattline-plot').data?.[0].x.length ?? 0"))


def _wait_for_overview(page: Page) -> None:
    wait_for_plots(page, 7)
    until(lambda: page.locator("[data-testid=stDataFrame]").count() == 1, "the top consumers", within_s=60)


def _assert_sums(page: Page, sums: dict[str, Document]) -> None:
    shown = figures(page)
    for name, mine in sums.items():
        if not mine["runs"]:
            assert f"Energy, {name}" not in shown
            continue
        assert shown[f"Energy, {name}"] == ENERGY.text(mine["energy_kwh"])
        assert shown[f"Emissions, {name}"] == EMISSIONS.text(mine["emissions_kg"])
        assert shown[f"Runs, {name}"] == str(len(mine["runs"]))


def test_overview_shows_the_stores_sums_in_both_themes(
    page: Page, url: str, scheme: str, live: list[Event], database: Database[Document]
) -> None:
    """The first page has the sums of the store's windows, real and simulated apart, and no run cut off."""
    page.set_viewport_size({"width": 1440, "height": 2500})
    page.goto(url)
    _wait_for_overview(page)
    _assert_sums(page, _day_sums(database))
    assert is_dark(page) == (scheme == "dark")
    words = page.inner_text(".stMain")
    for word in ("simulated is hatched", "never added up", "measured", "Energy by region"):
        assert word in words
    picture(page, f"overview-{scheme}")


@pytest.mark.parametrize("scheme", ["light"], indirect=True)
def test_overview_keeps_its_filters_in_the_url(
    page: Page, url: str, live: list[Event], database: Database[Document]
) -> None:
    """A choice is in the URL, a reload shows the same, and its figures are the store's for that choice."""
    page.goto(url)
    _wait_for_overview(page)
    page.get_by_role("radio", name="Simulated").or_(page.get_by_role("button", name="Simulated")).first.click()
    page.wait_for_url("**kind=simulated**", timeout=30_000)
    page.get_by_role("combobox", name="User").click()
    page.get_by_role("option", name=USER).click()
    page.wait_for_url(f"**user={USER}**", timeout=30_000)
    chosen = _day_sums(database, user_id=USER)
    wanted = ENERGY.text(chosen["simulated"]["energy_kwh"])
    until(lambda: figures(page).get("Energy, simulated") == wanted, "the filtered energy")
    until(lambda: "Energy, real" not in figures(page), "the real runs to go")
    _assert_sums(page, chosen)
    page.reload()
    _wait_for_overview(page)
    assert "kind=simulated" in page.url
    assert f"user={USER}" in page.url
    until(lambda: figures(page).get("Energy, simulated") == wanted, "the same energy after a reload")
    _assert_sums(page, chosen)
    assert page.get_by_role("combobox", name="User").input_value() == USER


@pytest.mark.parametrize("scheme", ["light"], indirect=True)
def test_runs_are_filtered_by_the_url(page: Page, url: str, live: list[Event], database: Database[Document]) -> None:
    """A link to a part of the runs shows their sums and their rows only."""
    page.goto(f"{url}/runs?user={USER}&status=completed&sort=energy&kind=nonsense")
    wait_for_figures(page)
    runs = list(database[store.TRAINING_RUN_SUMMARY].find({"user_id": USER, "status": "COMPLETED"}))
    wanted = ENERGY.text(sum(run["energy_kwh"] for run in runs))
    until(lambda: figures(page).get("Energy, simulated") == wanted, "the energy of the picked runs")
    assert figures(page)["Runs, simulated"] == str(len(runs))
    cells = page.locator("[data-testid=stDataFrame] tbody tr")
    until(lambda: cells.count() >= len(runs), "the rows")
    order = [run["_id"] for run in sorted(runs, key=lambda run: -run["energy_kwh"])]
    shown = [next((run_id for run_id in order if run_id in text), "?") for text in cells.all_text_contents()]
    assert shown[: len(order)] == order


@pytest.mark.parametrize("scheme", ["dark"], indirect=True)
def test_six_figures_stand_in_a_row(page: Page, url: str, live: list[Event]) -> None:
    """In a window of 1280 a run's figures stand in rows of six, and no text of theirs is cut."""
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(f"{url}/run?run={OVER}")
    _wait_for_run(page)
    boxes = [each.bounding_box() for each in page.locator("[data-testid=stMetric]").all()]
    assert len(boxes) == 12
    assert len({round(box["y"]) for box in boxes if box}) == 2
    cut = page.evaluate(
        "[...document.querySelectorAll('[data-testid=stMetric] *')]"
        ".filter(each => each.scrollWidth > each.clientWidth + 1 && each.clientWidth > 0).map(each => each.innerText)"
    )
    assert cut == []
    picture(page, "run-1280-dark")


def test_runs_lists_runs_and_opens_one(page: Page, url: str, scheme: str, live: list[Event]) -> None:
    """The table has the run with the store's energy; a click on its row opens it, and the URL names it."""
    page.goto(f"{url}/runs")
    table = page.locator("[data-testid=stDataFrame]")
    table.wait_for(timeout=60_000)
    cells = page.locator("[data-testid=stDataFrame] td")
    until(lambda: LIVE in cells.all_text_contents(), "the run in the table")
    energy_kwh = summary_document(live)["energy_kwh"]
    assert str(energy_kwh) in cells.all_text_contents(), "the canvas is painted, its cells hold the figure itself"
    row = next(
        number
        for number, text in enumerate(page.locator("[data-testid=stDataFrame] tbody tr").all_text_contents())
        if LIVE in text
    )
    picture(page, f"runs-{scheme}")
    box = table.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 300, box["y"] + 35 * (row + 1) + 17)
    page.wait_for_url(f"**/run?run={LIVE}", timeout=30_000)
    _wait_for_run(page)


def test_run_shows_the_stores_figures_in_both_themes(
    page: Page, url: str, scheme: str, database: Database[Document]
) -> None:
    """A finished run's page has the figures of the store, in the colours that the viewer prefers."""
    page.goto(f"{url}/run?run={OVER}")
    _wait_for_run(page)
    summary = database[store.TRAINING_RUN_SUMMARY].find_one({"_id": OVER})
    assert summary is not None
    shown = figures(page)
    assert shown["Energy"] == ENERGY.text(summary["energy_kwh"])
    assert shown["Emissions, CO₂e"] + " CO₂e" == EMISSIONS.text(summary["emissions_kg"])
    assert shown["Data age"].endswith("ago")
    words = page.inner_text(".stMain")
    for word in ("completed", "measured", "modelled", "PUE 1.250", "![x](http", "/x.png) resnet"):
        assert word in words
    assert page.locator("h1 a, h1 img").count() == 0, "a model's name is text"
    assert is_dark(page) == (scheme == "dark")
    picture(page, f"run-{scheme}")
    page.reload()
    _wait_for_run(page)
    assert page.url == f"{url}/run?run={OVER}"
    assert figures(page)["Energy"] == shown["Energy"]


@pytest.mark.parametrize("scheme", ["dark"], indirect=True)
def test_live_run_gains_points_in_place(page: Page, url: str, database: Database[Document]) -> None:
    """New events show within seconds: figures and curves grow, in the same plots, without a reload."""
    started_at = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=SECONDS)
    events = recorded_run(NOW, started_at, seconds=2 * SECONDS)
    known = 2 * SECONDS + 1
    book(database, events[:known])
    page.goto(f"{url}/run?run={NOW}")
    _wait_for_run(page)
    assert _points(page) == SECONDS
    page.evaluate("document.querySelector('.wattline-plot').dataset.seen = 'yes'")
    seconds_passed = (datetime.datetime.now(datetime.UTC) - started_at).seconds
    booked = 2 * max(seconds_passed, SECONDS + 1) + 1
    book(database, events[:booked], known=known)
    summary = summary_document(events[:booked])
    until(lambda: _points(page) == booked // 2, "the new points")
    until(lambda: figures(page).get("Energy") == ENERGY.text(summary["energy_kwh"]), "the new energy")
    assert figures(page)["Power now"] == POWER.text(summary["power_w"])
    assert "live" in page.inner_text(".stMain")
    assert page.evaluate("document.querySelector('.wattline-plot').dataset.seen") == "yes", "the plot was made anew"
    picture(page, "live-dark")


@pytest.mark.skipif(bool(os.environ.get("MONGODB_URI")), reason="MONGODB_URI names a store that is not ours to kill")
@pytest.mark.parametrize("scheme", ["light"], indirect=True)
def test_a_lost_store_is_told_and_comes_back(page: Page, url: str, running_stack: Stack) -> None:
    """A killed store gives a sentence on the open page; once it is back, so are the plots, without a reload."""
    page.set_viewport_size({"width": 900, "height": 1400})
    page.goto(f"{url}/run?run={LIVE}")
    _wait_for_run(page)
    picture(page, "narrow-light")
    running_stack.kill("store")
    try:
        page.get_by_text("does not answer").wait_for(timeout=60_000)
        assert "127.0.0.1" in page.inner_text("[data-testid=stAlert]")
        picture(page, "store-away-light")
    finally:
        running_stack.restart("store")
    _wait_for_run(page)
    assert page.get_by_text("does not answer").count() == 0
