"""The Run page in a browser: what the energy bought, how a view is linked, and that only what lives is drawn anew."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from pymongo.database import Database

from tests.browser import until
from tests.dashboard_pages import figures, picture, wait_for_plots, wait_for_rest
from tests.dashboard_runs import Event, book, forget, recorded_run, summary_document
from wattline_common.events import RunStatus, StepCompleted
from wattline_common.store import Document
from wattline_dashboard.formats import ENERGY, MISSING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

MARK = f"run-{uuid.uuid4().hex[:8]}"
LIVE, OVER = f"{MARK}-live", f"{MARK}-over"
SECONDS = 300
PLOTS = 7
_X_OF_POWER = "document.querySelector('.wattline-plot').data?.[0].x.length ?? 0"
_RANGE = "document.querySelector('.wattline-plot').layout.xaxis.range.map(each => String(each).slice(0, 19))"


@pytest.fixture
def live(database: Database[Document]) -> Iterator[list[Event]]:
    """Book the first 200 s of a run that goes on; return all of its events."""
    started_at = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=200)
    events = recorded_run(LIVE, started_at, seconds=SECONDS, has_gpu=True, planned_epochs=31)
    book(database, events[:401])
    yield events
    forget(database, [LIVE])


@pytest.fixture(scope="module")
def over(database: Database[Document]) -> Iterator[list[Event]]:
    """Book a run that is over; return its events."""
    started_at = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=3)
    events = recorded_run(
        OVER, started_at, seconds=600, interval_s=5.0, has_gpu=True, status=RunStatus.COMPLETED, planned_epochs=13
    )
    book(database, events)
    yield events
    forget(database, [OVER])


def _points(page: Page) -> int:
    return int(page.evaluate(_X_OF_POWER))


@pytest.mark.parametrize("scheme", ["light", "dark"], indirect=True)
def test_costs_are_those_of_the_stores_events(page: Page, url: str, scheme: str, over: list[Event]) -> None:
    """Energy per epoch and per 1,000 samples follow from the run's own steps; a finished run has no forecast."""
    page.set_viewport_size({"width": 1440, "height": 2400})
    page.goto(f"{url}/run?run={OVER}")
    wait_for_plots(page, PLOTS)
    steps = [event for event in over if isinstance(event, StepCompleted)]
    energy_kwh = summary_document(over)["energy_kwh"]
    samples = sum(step.samples or 0 for step in steps)
    epochs = {step.epoch for step in steps}
    shown = figures(page)
    assert shown["Per 1,000 samples"] == ENERGY.text(1_000 * energy_kwh / samples)
    assert shown["Energy per epoch"] == ENERGY.text(energy_kwh / len(epochs))
    assert shown["Idle energy"] == "0.0 %"
    assert shown["Energy at end"] == MISSING
    words = page.inner_text(".stMain")
    assert f"{len(epochs)} over" in words
    assert "How it is computed" in words
    page.get_by_text("Hyperparameters and tags").click()
    cells = page.locator("[data-testid=stDataFrame] td")
    until(lambda: "learning.rate" in cells.all_text_contents(), "the hyperparameters")
    page.get_by_text("Hardware", exact=True).click()
    until(lambda: "per-vcpu" in cells.all_text_contents(), "the hardware")
    picture(page, f"run-costs-{scheme}")


@pytest.mark.parametrize("scheme", ["light"], indirect=True)
def test_a_forecast_is_shown_with_its_band(page: Page, url: str, live: list[Event]) -> None:
    """A run with a plan says what its end will show, and the band holds what it then is."""
    page.goto(f"{url}/run?run={LIVE}")
    wait_for_plots(page, PLOTS)
    shown = figures(page)["Energy at end"]
    final = summary_document(live)["energy_kwh"]
    value, unit = shown.split()
    scale = next(each for each in ENERGY.scales if each.unit == unit)
    assert float(value) / scale.factor == pytest.approx(final, rel=0.1)


@pytest.mark.parametrize("scheme", ["dark"], indirect=True)
def test_a_view_is_in_the_url(page: Page, url: str, over: list[Event]) -> None:
    """Power by device and learning over energy are chosen, linked, and there again after a reload."""
    page.goto(f"{url}/run?run={OVER}&power=device&against=energy&against2=x")
    wait_for_plots(page, PLOTS)
    for words in ("Power by device", "Loss over energy", "Accuracy over energy"):
        page.get_by_text(words).first.wait_for()
    page.get_by_role("radio", name="Kind").or_(page.get_by_role("button", name="Kind")).first.click()
    page.get_by_text("Power by kind").first.wait_for()
    until(lambda: "power=kind" in page.url or "power=" not in page.url, "the URL")
    page.reload()
    wait_for_plots(page, PLOTS)
    page.get_by_text("Power by kind").first.wait_for()
    page.get_by_text("Loss over energy").first.wait_for()


@pytest.mark.parametrize("scheme", ["dark"], indirect=True)
def test_a_refresh_keeps_zoom_and_plots(page: Page, url: str, live: list[Event], database: Database[Document]) -> None:
    """New points come into the same plot, the viewer's zoom stays, and a panel that is open stays open."""
    page.goto(f"{url}/run?run={LIVE}")
    wait_for_plots(page, PLOTS)
    page.get_by_text("Hyperparameters and tags").click()
    page.evaluate("document.querySelector('.wattline-plot').dataset.seen = 'yes'")
    first, last = page.evaluate("(({x}) => [x[20], x[60]])(document.querySelector('.wattline-plot').data[0])")
    page.evaluate(
        "([a, b]) => Plotly.relayout(document.querySelector('.wattline-plot'), {'xaxis.range': [a, b]})", [first, last]
    )
    zoom = page.evaluate(_RANGE)
    before = _points(page)
    book(database, live[:501], known=401)
    until(lambda: _points(page) > before, "the new points")
    assert page.evaluate(_RANGE) == zoom
    assert page.evaluate("document.querySelector('.wattline-plot').dataset.seen") == "yes"
    assert page.locator("[data-testid=stDataFrame]").first.is_visible()


@pytest.mark.parametrize("scheme", ["light"], indirect=True)
def test_pause_keeps_what_is_shown(
    page: Page, browser: Browser, url: str, live: list[Event], database: Database[Document]
) -> None:
    """A paused page stays as it is while another viewer's goes on, says since when, and catches up afterwards."""
    other = browser.new_page()
    try:
        for each in (page, other):
            each.goto(f"{url}/run?run={LIVE}")
            wait_for_plots(each, PLOTS)
        page.get_by_text("Pause", exact=True).click()
        page.get_by_text("paused at").wait_for()
        wait_for_rest(page)
        before, energy = _points(page), figures(page)["Energy"]
        book(database, live[:501], known=401)
        until(lambda: _points(other) > before, "the other viewer's new points")
        until(lambda: figures(other)["Energy"] != energy, "the other viewer's new energy")
        assert (_points(page), figures(page)["Energy"]) == (before, energy)
        page.get_by_text("Pause", exact=True).click()
        until(lambda: _points(page) > before, "the new points")
        until(lambda: page.get_by_text("paused at").count() == 0, "the badge to go")  # at the end of the same refresh
    finally:
        other.close()
