"""The page People in a browser: a month's sums are the store's by the viewer's clock, budgets alarm, links restore."""

from __future__ import annotations

import datetime
import math
import os
import uuid
import zoneinfo
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pymongo.database import Database

from tests.browser import until
from tests.dashboard_pages import figures, is_dark, picture, wait_for_plots
from tests.dashboard_runs import book, forget, recorded_run, window_documents
from wattline_common import store
from wattline_common.events import RunStatus
from wattline_common.store import Document
from wattline_dashboard.formats import EMISSIONS, ENERGY
from wattline_dashboard.spans import Span

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from wattline_stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("runs")]

MARK = f"people-{uuid.uuid4().hex[:8]}"
ADA, BOB = f"{MARK}-ada", f"{MARK}-bob"
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")  # where the browser of `page` stands
MARCH = Span("month", 2024, 3)  # long ago: nobody else's runs, and both ends by other clocks than UTC's
RUNS = [f"{MARK}-{number}" for number in range(7)]


@pytest.fixture(scope="module")
def runs(database: Database[Document]) -> Iterator[None]:
    """Book runs of this month and of a March, two of them over its edges by the clock of Berlin."""
    now, hour = datetime.datetime.now(datetime.UTC), datetime.timedelta(hours=1)
    since, until_ = MARCH.since(BERLIN), MARCH.until(BERLIN)
    starts = [since - hour / 2, since + 50 * hour, since + 300 * hour, until_ - hour / 3, until_ + hour]
    starts += [now - 2 * hour, now - 3 * hour]
    for number, (run_id, started_at) in enumerate(zip(RUNS, starts, strict=True)):
        events = recorded_run(
            run_id,
            started_at,
            seconds=3_600,
            interval_s=30.0,
            status=RunStatus.COMPLETED,
            has_gpu=number % 2 == 0,
            simulated=number == 2,
            user_id=ADA if number < 3 or number == 5 else BOB,
            project=f"{MARK}-vision",
        )
        book(database, events, has_raw=False)
    yield
    forget(database, RUNS)


@pytest.fixture(scope="module")
def dashboard_variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give Ada a budget that she has passed, and Bob one that he has not."""
    now = datetime.datetime.now(datetime.UTC)
    used = sum(
        window["aggregate"]["energy_kwh"]
        for window in window_documents(recorded_run("x", now, seconds=3_600, interval_s=30.0))
    )
    path: Path = tmp_path_factory.mktemp("budgets") / "budgets.toml"
    budgets = ((ADA, used / 4, "month"), (BOB, used * 1000, "month"), (BOB, used * 1000, "year"))
    path.write_text(
        "\n".join(f'[[budget]]\nuser = "{name}"\nkwh = {kwh!r}\nper = "{per}"' for name, kwh, per in budgets),
        encoding="utf-8",
    )
    return {"WATTLINE_DASHBOARD_BUDGETS": str(path)}


def _of_march(database: Database[Document], field: str, *, simulated: bool, **context: str) -> float:
    """Return what the store's windows of the month come to, by a way of its own."""
    return math.fsum(
        window["aggregate"][field]
        for window in database[store.AGGREGATED_METRICS].find({"run_id": {"$in": RUNS}})
        if MARCH.since(BERLIN) <= window["window_start"] < MARCH.until(BERLIN)
        and window["aggregate"]["context"]["simulated"] == simulated
        and all(window["aggregate"]["context"][name] == value for name, value in context.items())
    )


def test_a_months_sums_are_the_stores_in_both_themes(
    page: Page, url: str, scheme: str, database: Database[Document]
) -> None:
    """By the clock of the browser, real and simulated apart; and it looks the same in a link's every detail."""
    page.set_viewport_size({"width": 1440, "height": 2300})
    page.goto(f"{url}/people?span={MARCH.key}")
    wait_for_plots(page, 3)
    shown = figures(page)
    for name, simulated in (("real", False), ("simulated", True)):
        energy_kwh = _of_march(database, "energy_kwh", simulated=simulated)
        assert shown[f"Energy, {name}"] == ENERGY.text(energy_kwh)
        emitted_kg = _of_march(database, "emissions_kg", simulated=simulated)
        assert shown[f"Emissions, {name}"] == EMISSIONS.text(emitted_kg)
    assert (shown["Users, real"], shown["Runs, real"], shown["Runs, simulated"]) == ("2", "3", "1")
    words = page.inner_text(".stMain")
    for word in ("March 2024", "by the clock of Europe/Berlin", "A budget is passed", f"user {ADA}"):
        assert word in words
    assert is_dark(page) == (scheme == "dark")
    picture(page, f"people-{scheme}")


@pytest.mark.parametrize("scheme", ["light"], indirect=True)
def test_one_users_month_is_linked_and_its_curve_ends_in_the_sum(
    page: Page, url: str, database: Database[Document]
) -> None:
    """A user that is picked is in the URL; the curve ends in the store's sum; a reload shows the same."""
    page.goto(f"{url}/people?span={MARCH.key}&kind=real")
    wait_for_plots(page, 3)
    page.get_by_role("combobox", name="User").click()
    page.get_by_role("option", name=ADA).click()
    page.wait_for_url(f"**name={ADA}**", timeout=30_000)
    energy_kwh = _of_march(database, "energy_kwh", simulated=False, user_id=ADA)
    wanted = ENERGY.text(energy_kwh)
    until(lambda: figures(page).get("Energy, real") == wanted, "the user's energy")
    page.reload()
    wait_for_plots(page, 3)
    until(lambda: figures(page).get("Energy, real") == wanted, "the same after a reload")
    budget_kwh = page.evaluate("document.querySelector('.wattline-plot').layout.shapes[0].y0")
    last = page.evaluate("document.querySelector('.wattline-plot').data[0].y.slice(-1)[0]")
    scale = ENERGY.scale(max(energy_kwh, budget_kwh / 1000))
    assert last == pytest.approx(energy_kwh * scale.factor, rel=1e-6)
    assert page.get_by_role("combobox", name="User").input_value() == ADA


@pytest.mark.parametrize("scheme", ["light"], indirect=True)
def test_the_statement_is_saved_and_has_the_stores_sums(
    page: Page, url: str, database: Database[Document], tmp_path: Path
) -> None:
    """The printable page has the user's sums and runs, needs nothing else, and prints on paper."""
    page.goto(f"{url}/people?span={MARCH.key}&name={ADA}")
    wait_for_plots(page, 3)
    with page.expect_download(timeout=30_000) as download:
        page.get_by_role("button", name="Statement to print").click()
    saved = tmp_path / "statement.html"
    download.value.save_as(saved)
    text = saved.read_text(encoding="utf-8")
    for words in (
        f"User {ADA}",
        "March 2024",
        ENERGY.text(_of_march(database, "energy_kwh", simulated=False, user_id=ADA)),
        EMISSIONS.text(_of_march(database, "emissions_kg", simulated=True, user_id=ADA)),
        RUNS[0],
    ):
        assert words in text
    assert RUNS[4] not in text
    page.set_content(text)
    page.emulate_media(media="print")
    assert page.locator("h1").inner_text() == f"User {ADA}"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.skipif(bool(os.environ.get("MONGODB_URI")), reason="MONGODB_URI names a store that is not ours to kill")
@pytest.mark.parametrize("scheme", ["dark"], indirect=True)
def test_a_lost_store_is_told(page: Page, url: str, running_stack: Stack) -> None:
    """With the store gone a new look gets a sentence; once it is back, the figures come back by a click."""
    page.goto(f"{url}/people?span={MARCH.key}")
    wait_for_plots(page, 3)
    running_stack.kill("store")
    try:
        page.get_by_text("Quarter", exact=True).click()
        page.get_by_text("does not answer").first.wait_for(timeout=60_000)
        assert "127.0.0.1" in page.inner_text("[data-testid=stAlert]")
    finally:
        running_stack.restart("store")
    wait_for_plots(page, 3)
    until(lambda: page.get_by_text("does not answer").count() == 0, "the sentence to go", within_s=60)
