"""The page Method in a real browser, over the real store."""

from __future__ import annotations

import datetime
import os
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from pymongo.database import Database

from tests.browser import until
from tests.dashboard_pages import is_dark, picture
from tests.dashboard_runs import GRID_INTENSITY_G_PER_KWH, PUE, book, forget, recorded_run
from wattline_common import store
from wattline_common.carbon import emissions_kg
from wattline_common.events import RunStatus
from wattline_common.store import Document
from wattline_dashboard.formats import EMISSIONS, ENERGY, TIMES

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from wattline_stack import Stack

RUN = f"method-{uuid.uuid4().hex[:8]}"

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("run")]
only_light = pytest.mark.parametrize("scheme", ["light"], indirect=True)


@pytest.fixture(scope="module")
def run(database: Database[Document]) -> Iterator[None]:
    """Book a run that is over."""
    started_at = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=20)
    book(database, recorded_run(RUN, started_at, seconds=300, interval_s=5.0, status=RunStatus.COMPLETED, has_gpu=True))
    yield
    forget(database, [RUN])


def _words(page: Page) -> str:
    return page.inner_text(".stMain")


def test_formulas_multiply_out_to_the_stores_figures_in_both_themes(
    page: Page, url: str, scheme: str, database: Database[Document]
) -> None:
    """Energy, PUE, intensity and emissions on the page are the run's, and they make one another."""
    page.set_viewport_size({"width": 1440, "height": 2500})
    page.goto(f"{url}/method?run={RUN}")
    until(lambda: "What is in no figure" in _words(page), "the page", within_s=60)
    stored = database[store.TRAINING_RUN_SUMMARY].find_one({"_id": RUN})
    assert stored is not None
    energy, emissions = ENERGY.text(stored["energy_kwh"]), EMISSIONS.text(stored["emissions_kg"])
    words = _words(page)
    assert f"{energy} {TIMES} 1.250 {TIMES} 381.0 g CO₂e/kWh" in words
    assert f"= {emissions}" in words
    assert f"= {ENERGY.text(stored['energy_kwh'] * PUE)}" in words
    product_kg = emissions_kg(stored["energy_kwh"], pue=PUE, grid_intensity_g_per_kwh=GRID_INTENSITY_G_PER_KWH)
    assert EMISSIONS.text(product_kg) == emissions
    assert "km" not in words.split("How each kind")[0].split(), "equivalents are off unless asked for"
    assert is_dark(page) == (scheme == "dark")
    picture(page, f"method-{scheme}")


@only_light
def test_a_link_restores_run_and_equivalents(page: Page, url: str) -> None:
    """The URL names the run and says whether there are comparisons; a switch changes the URL."""
    page.goto(f"{url}/method?run={RUN}&equivalents=1")
    until(lambda: "Odyssee-Mure" in _words(page), "the comparisons", within_s=60)
    assert RUN in page.get_by_role("combobox", name="Numbers of the run").input_value()
    page.get_by_text("Compare with things of every day").click()
    page.wait_for_url(lambda address: "equivalents" not in address, timeout=30_000)
    until(lambda: "Odyssee-Mure" not in _words(page), "the comparisons to go")
    page.reload()
    until(lambda: "What is in no figure" in _words(page), "the page after a reload", within_s=60)
    assert f"run={RUN}" in page.url
    assert "Odyssee-Mure" not in _words(page)


@only_light
def test_narrow_screens_can_read_it(page: Page, url: str) -> None:
    """On a phone nothing but a wide table needs a sideways move."""
    page.set_viewport_size({"width": 400, "height": 1600})
    page.goto(f"{url}/method?run={RUN}")
    until(lambda: "What is in no figure" in _words(page), "the page", within_s=60)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    picture(page, "method-narrow-light")


@pytest.mark.skipif(bool(os.environ.get("MONGODB_URI")), reason="MONGODB_URI names a store that is not ours to kill")
@only_light
def test_a_lost_store_is_told(page: Page, url: str, running_stack: Stack) -> None:
    """A viewer who comes while the store is away is told, and is helped by a click once it is back."""
    running_stack.kill("store")
    try:
        page.goto(f"{url}/method?run={RUN}")
        page.get_by_text("does not answer").wait_for(timeout=60_000)
    finally:
        running_stack.restart("store")
    page.get_by_role("button", name="Try again now").click()
    until(lambda: "Energy of the run" in _words(page), "the formulas", within_s=60)
