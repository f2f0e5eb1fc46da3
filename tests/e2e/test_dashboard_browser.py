"""The pages in a real browser, over a real server and the real store."""

from __future__ import annotations

import datetime
import os
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from pymongo.database import Database

from tests.browser import ARTIFACTS, Requests, chromium, dashboard_server, until
from tests.dashboard_runs import Event, book, recorded_run, summary_document
from wattline_common import store
from wattline_common.events import RunStatus
from wattline_common.store import Document
from wattline_dashboard.formats import EMISSIONS, ENERGY, POWER

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from wattline_stack import Stack

pytestmark = pytest.mark.browser

PLOT = ".wattline-plot .main-svg"
SECONDS = 60
MARK = f"browser-{uuid.uuid4().hex[:8]}"
LIVE, OVER, NOW = f"{MARK}-live", f"{MARK}-over", f"{MARK}-now"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run one browser for all tests here."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def database(running_stack: Stack, browser: Browser) -> Iterator[Database[Document]]:
    """Return the session's store."""
    database = store.connect(running_stack.endpoints().mongodb_uri)
    store.ensure(database)
    yield database
    database[store.TRAINING_RUN_SUMMARY].delete_many({"_id": {"$in": [LIVE, OVER, NOW]}})
    for name in (store.TRAINING_METRICS, store.AGGREGATED_METRICS):
        database[name].delete_many({"run_id": {"$in": [LIVE, OVER, NOW]}})
    database.client.close()


@pytest.fixture(scope="module")
def live(database: Database[Document]) -> list[Event]:
    """Book a run that still goes and one that is over; return the first one's events."""
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
    return events


@pytest.fixture(scope="module")
def url(database: Database[Document], live: list[Event], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the dashboard over the session's store."""
    host, port = database.client.address or ("127.0.0.1", 0)
    log = tmp_path_factory.mktemp("dashboard") / "server.log"
    with dashboard_server(f"mongodb://{host}:{port}/", log, WATTLINE_DASHBOARD_REFRESH_S="1") as url:
        yield url


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    """Return what the viewer's system prefers."""
    return str(request.param)


@pytest.fixture
def page(browser: Browser, scheme: str) -> Iterator[Page]:
    """Open a page; it must have asked nobody but this machine, and thrown nothing."""
    context = browser.new_context(
        color_scheme=scheme,  # type: ignore[arg-type]  # one of the two
        viewport={"width": 1440, "height": 1800},
        timezone_id="Europe/Berlin",
    )
    page = context.new_page()
    requests, thrown = Requests(page), list[str]()
    page.on("pageerror", lambda error: thrown.append(str(error)))
    yield page
    context.close()
    assert requests.urls
    assert requests.outside() == []
    assert thrown == []


def _figures(page: Page) -> dict[str, str]:
    labels = page.locator("[data-testid=stMetricLabel]").all_inner_texts()
    values = page.locator("[data-testid=stMetricValue]").all_inner_texts()
    return dict(zip(labels, values, strict=False))


def _wait_for_plots(page: Page) -> None:
    page.wait_for_selector("[data-testid=stMetricValue]", timeout=60_000)
    until(lambda: page.locator(PLOT).count() >= 6 * 3, "six plots", within_s=60)


def _points(page: Page) -> int:
    """Return how many points the first curve of the first plot has."""
    return int(page.evaluate("document.querySelector('.wattline-plot').data?.[0].x.length ?? 0"))


def _background(page: Page) -> tuple[int, ...]:
    colour = page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    return tuple(int(part) for part in str(colour).strip("rgba()").split(",")[:3])


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
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"dashboard-runs-{scheme}.png")
    box = table.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 300, box["y"] + 35 * (row + 1) + 17)
    page.wait_for_url(f"**/run?run={LIVE}", timeout=30_000)
    _wait_for_plots(page)


def test_run_shows_the_stores_figures_in_both_themes(
    page: Page, url: str, scheme: str, database: Database[Document]
) -> None:
    """A finished run's page has the figures of the store, in the colours that the viewer prefers."""
    page.goto(f"{url}/run?run={OVER}")
    _wait_for_plots(page)
    summary = database[store.TRAINING_RUN_SUMMARY].find_one({"_id": OVER})
    assert summary is not None
    figures = _figures(page)
    assert figures["Energy"] == ENERGY.text(summary["energy_kwh"])
    assert figures["Emissions"] == EMISSIONS.text(summary["emissions_kg"])
    assert figures["Data age"].endswith("ago")
    words = page.inner_text(".stMain")
    for word in ("completed", "measured", "modelled", "PUE 1.250", "![x](http", "/x.png) resnet"):
        assert word in words
    assert page.locator("h1 a, h1 img").count() == 0, "a model's name is text"
    assert (sum(_background(page)) < 3 * 128) == (scheme == "dark")
    page.screenshot(path=ARTIFACTS / f"dashboard-run-{scheme}.png")
    page.reload()
    _wait_for_plots(page)
    assert page.url == f"{url}/run?run={OVER}"
    assert _figures(page)["Energy"] == figures["Energy"]


@pytest.mark.parametrize("scheme", ["dark"], indirect=True)
def test_live_run_gains_points_in_place(page: Page, url: str, database: Database[Document]) -> None:
    """New events show within seconds: figures and curves grow, in the same plots, without a reload."""
    started_at = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=SECONDS)
    events = recorded_run(NOW, started_at, seconds=2 * SECONDS)
    known = 2 * SECONDS + 1
    book(database, events[:known])
    page.goto(f"{url}/run?run={NOW}")
    _wait_for_plots(page)
    assert _points(page) == SECONDS
    page.evaluate("document.querySelector('.wattline-plot').dataset.seen = 'yes'")
    seconds_passed = (datetime.datetime.now(datetime.UTC) - started_at).seconds
    booked = 2 * max(seconds_passed, SECONDS + 1) + 1
    book(database, events[:booked], known=known)
    summary = summary_document(events[:booked])
    until(lambda: _points(page) == booked // 2, "the new points")
    until(lambda: _figures(page).get("Energy") == ENERGY.text(summary["energy_kwh"]), "the new energy")
    assert _figures(page)["Power now"] == POWER.text(summary["power_w"])
    assert "live" in page.inner_text(".stMain")
    assert page.evaluate("document.querySelector('.wattline-plot').dataset.seen") == "yes", "the plot was made anew"
    page.screenshot(path=ARTIFACTS / "dashboard-live-dark.png")


@pytest.mark.skipif(bool(os.environ.get("MONGODB_URI")), reason="MONGODB_URI names a store that is not ours to kill")
@pytest.mark.parametrize("scheme", ["light"], indirect=True)
def test_a_lost_store_is_told_and_comes_back(page: Page, url: str, running_stack: Stack) -> None:
    """A killed store gives a sentence on the open page; once it is back, so are the plots, without a reload."""
    page.set_viewport_size({"width": 900, "height": 1400})
    page.goto(f"{url}/run?run={LIVE}")
    _wait_for_plots(page)
    page.screenshot(path=ARTIFACTS / "dashboard-narrow-light.png")
    running_stack.kill("store")
    try:
        page.get_by_text("does not answer").wait_for(timeout=60_000)
        assert "127.0.0.1" in page.inner_text("[data-testid=stAlert]")
        page.screenshot(path=ARTIFACTS / "dashboard-store-away-light.png")
    finally:
        running_stack.restart("store")
    _wait_for_plots(page)
    assert page.get_by_text("does not answer").count() == 0
