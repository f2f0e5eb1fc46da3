"""The page Compare in a browser: the store's figures beside each other, picked on the page, by ticks, or by a link."""

from __future__ import annotations

import datetime
import os
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from pymongo.database import Database

from tests.browser import until
from tests.dashboard_pages import is_dark, picture
from tests.dashboard_runs import book, forget, recorded_run, summary_document
from wattline_common.events import RunStatus
from wattline_common.store import Document
from wattline_dashboard.differences import BEST, DIFFERENT
from wattline_dashboard.formats import ENERGY, TIMES

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from wattline_stack import Stack

pytestmark = pytest.mark.browser

MARK = f"compare-{uuid.uuid4().hex[:8]}"
SMALL, BIG, SIMULATED = f"{MARK}-small", f"{MARK}-big", f"{MARK}-sim"
USER = f"{MARK}-user"
PLOTS = ".wattline-plot .main-svg .infolayer"
CELLS = "[data-testid=stDataFrame] tbody tr"


@pytest.fixture(scope="module")
def runs(database: Database[Document]) -> Iterator[dict[str, Document]]:
    """Book a run by raw events, a long one by its windows, and a simulated one; return their summaries."""
    ago = datetime.datetime.now(datetime.UTC)
    over: dict[str, Any] = {"status": RunStatus.COMPLETED, "user_id": USER}
    events = {
        SMALL: recorded_run(SMALL, ago - datetime.timedelta(hours=2), seconds=600, interval_s=5.0, **over),
        BIG: recorded_run(
            BIG,
            ago - datetime.timedelta(hours=6),
            seconds=7_200,
            interval_s=30.0,
            has_gpu=True,
            **(over | {"model_name": "![x](http://192.0.2.1/x.png)"}),
        ),
        SIMULATED: recorded_run(
            SIMULATED, ago - datetime.timedelta(hours=9), seconds=900, interval_s=10.0, simulated=True, **over
        ),
    }
    for run_id, each in events.items():
        book(database, each, has_raw=run_id != BIG)
    yield {run_id: summary_document(each) for run_id, each in events.items()}
    forget(database, list(events))


def _wait(page: Page, plots: int = 2) -> None:
    until(lambda: page.locator(PLOTS).count() >= plots, "the plots", within_s=60)
    until(lambda: page.locator(CELLS).count() > 10, "the table", within_s=60)


def _rows(page: Page) -> list[list[str]]:
    return [row.locator("td").all_text_contents() for row in page.locator(CELLS).all()]


def test_a_link_shows_the_stores_figures_in_both_themes(
    page: Page, url: str, scheme: str, runs: dict[str, Document]
) -> None:
    """Each run's energy is the store's; curves end there; what differs is marked; a user's text is text."""
    page.set_viewport_size({"width": 1440, "height": 2300})
    page.goto(f"{url}/compare?runs={SMALL},{BIG},{SIMULATED}")
    _wait(page)
    energies = [runs[run_id]["energy_kwh"] for run_id in (SMALL, BIG, SIMULATED)]
    scale = ENERGY.scale(max(energies))
    row = next(cells for cells in _rows(page) if cells[:2] == ["Energy", "Energy"])
    shown = [cell.removeprefix(f"{BEST} ") for cell in row[-3:]]
    assert shown == [ENERGY.text(energy, scale) for energy in energies]
    assert row[2].startswith(f"{DIFFERENT} {TIMES}")
    ends = page.evaluate(
        "document.querySelector('.wattline-plot').data.filter(each => /^[A-C] /.test(each.name))"
        ".map(each => each.x[each.x.length - 1])"
    )
    assert ends == pytest.approx([energy * scale.factor for energy in energies], rel=1e-6)
    assert page.locator("img[src*='192.0.2.1']").count() == 0
    assert is_dark(page) == (scheme == "dark")
    picture(page, f"compare-{scheme}")


@pytest.mark.parametrize("scheme", ["dark"], indirect=True)
def test_choices_are_in_the_url_and_come_back(page: Page, url: str, runs: dict[str, Document]) -> None:
    """What is chosen outlives a reload: the measure, and only the rows that differ."""
    page.goto(f"{url}/compare?runs={SMALL},{BIG}")
    _wait(page)
    rows = page.locator(CELLS).count()
    page.get_by_text("Only what differs").click()
    page.wait_for_url("**rows=differing**", timeout=30_000)
    page.get_by_text("Emissions", exact=True).first.click()
    page.wait_for_url("**measure=emissions**", timeout=30_000)
    page.get_by_text("against emissions").first.wait_for(timeout=30_000)
    until(lambda: page.locator(CELLS).count() < rows, "fewer rows")
    page.reload()
    _wait(page)
    assert page.get_by_text("against emissions").count() == 2
    assert page.locator(CELLS).count() < rows


@pytest.mark.parametrize("scheme", ["light"], indirect=True)
def test_ticked_runs_are_compared(page: Page, url: str, runs: dict[str, Document]) -> None:
    """Rows ticked on the page Runs stay ticked while it refreshes, and a click compares just these."""
    page.goto(f"{url}/runs?user={USER}&sort=energy")
    table = page.locator("[data-testid=stDataFrame]")
    table.wait_for(timeout=60_000)
    until(lambda: page.locator(CELLS).count() >= len(runs), "the rows")
    for number in (1, 2):
        box = table.bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + 18, box["y"] + 35 * number + 17)
        words = "Tick 2 to 6" if number == 1 else "Compare 2 runs"
        page.get_by_text(words).first.wait_for(timeout=30_000)
    updated = page.locator(CELLS).first.text_content()
    until(lambda: page.locator(CELLS).first.text_content() != updated, "a refresh")
    page.get_by_role("link", name="Compare 2 runs").click()
    page.wait_for_url("**/compare?runs=*", timeout=30_000)
    _wait(page)
    order = sorted(runs, key=lambda run_id: -float(runs[run_id]["energy_kwh"]))
    links = page.locator("[data-testid=stPageLink] a").all()
    assert [link.inner_text().strip() for link in links][:2] == order[:2]


@pytest.mark.skipif(bool(os.environ.get("MONGODB_URI")), reason="MONGODB_URI names a store that is not ours to kill")
@pytest.mark.parametrize("scheme", ["dark"], indirect=True)
def test_a_lost_store_is_told_and_comes_back(
    page: Page, url: str, runs: dict[str, Document], running_stack: Stack
) -> None:
    """A killed store gives a sentence on the open page; once it is back, so is the comparison."""
    page.goto(f"{url}/compare?runs={SMALL},{BIG}")
    _wait(page)
    running_stack.kill("store")
    try:
        page.get_by_text("does not answer").first.wait_for(timeout=60_000)
    finally:
        running_stack.restart("store")
    _wait(page)
    until(lambda: page.get_by_text("does not answer").count() == 0, "the sentence to go", within_s=60)
