"""axe-core over every page that the router knows, in both themes: nothing that keeps people out."""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pymongo.database import Database

import wattline_dashboard
from tests.browser import until
from tests.dashboard_pages import is_dark
from tests.dashboard_runs import book, forget, recorded_run
from wattline_common.events import RunStatus
from wattline_common.store import Document

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("runs")]

MARK = f"axe-{uuid.uuid4().hex[:8]}"
REAL, SIMULATED, LIVE = f"{MARK}-real", f"{MARK}-simulated", f"{MARK}-live"
ROUTER = Path(wattline_dashboard.__file__).with_name("streamlit_app.py")
PAGES = re.findall(r'url_path="(\w+)"', ROUTER.read_text(encoding="utf-8"))
SERIOUS = {"serious", "critical"}
# Streamlit's own, which no page of ours can change: each with why it does not keep anybody out.
NOT_OURS: dict[str, str] = {}


@pytest.fixture(scope="module")
def runs(database: Database[Document]) -> Iterator[None]:
    """Book a real run, a simulated one and one that goes on."""
    now = datetime.datetime.now(datetime.UTC)
    hour = datetime.timedelta(hours=1)
    over: dict[str, Any] = {"seconds": 600, "interval_s": 5.0, "status": RunStatus.COMPLETED}
    book(database, recorded_run(REAL, now - hour, has_gpu=True, user_id="grace", **over))
    book(database, recorded_run(SIMULATED, now - 2 * hour, simulated=True, user_id="bot", **over))
    book(database, recorded_run(LIVE, now - datetime.timedelta(seconds=60), seconds=60, planned_epochs=12))
    yield
    forget(database, [REAL, SIMULATED, LIVE])


def _violations(page: Page) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [
        f"{each['id']} ({each['impact']}): {each['help']}: {node['html'][:300]}"
        for each in found
        if each["impact"] in SERIOUS and each["id"] not in NOT_OURS
        for node in each["nodes"][:3]
    ]


def _wait_until_still(page: Page) -> None:
    """Wait until the page is whole: what it shows does not change between two looks."""
    page.wait_for_selector("[data-testid=stHeading], [data-testid=stAlert]", timeout=60_000)
    seen: list[int] = []

    def is_still() -> bool:
        seen.append(int(page.evaluate("document.querySelectorAll('.stMain *').length")))
        idle = page.locator("[data-testid=stStatusWidget]").count() == 0
        return idle and len(seen) > 10 and len(set(seen[-10:])) == 1

    until(is_still, "the page to be whole", within_s=60)


@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing_serious(page: Page, url: str, scheme: str, path: str) -> None:
    """No serious or critical violation of axe-core's rules, WCAG AA's contrast among them."""
    query = {"run": f"?run={REAL}", "compare": f"?runs={REAL},{SIMULATED}"}
    page.goto(f"{url}/{path}{query.get(path, '')}")
    _wait_until_still(page)
    assert is_dark(page) == (scheme == "dark")
    assert _violations(page) == []


@pytest.mark.parametrize("scheme", ["light"], indirect=True)
def test_axe_would_find_something(page: Page, url: str) -> None:
    """The check bites: grey on grey and a picture without a text are found."""
    page.goto(f"{url}/runs")
    _wait_until_still(page)
    page.evaluate(
        "document.querySelector('.stMain').insertAdjacentHTML('beforeend',"
        ' \'<img src="data:,"><p style="color:#999;background:#aaa">hard to read</p>\')'
    )
    found = " ".join(_violations(page))
    assert "image-alt" in found
    assert "color-contrast" in found
