"""A browser that looks at a run on the page, and what it must find there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.browser import chromium
from tests.dashboard_pages import figures
from tests.ledgers import RunFigures
from tests.line import wait_for
from wattline_dashboard.formats import ENERGY

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["Viewer", "viewer"]

_MILLIJOULES_PER_KWH = 3.6e9


class Viewer:
    """Somebody who opens the page of a run and reads its energy."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def assert_shows(self, url: str, run_id: str, expected: RunFigures) -> None:
        """Wait until the page of a run shows the energy that its producer's ledger has."""
        energy = ENERGY.text(expected.energy_millijoules / _MILLIJOULES_PER_KWH)
        self._page.goto(f"{url}/run?run={run_id}")
        wait_for(lambda: self._energy() == energy, lambda: f"{energy} of {run_id} on the page, not {self._energy()}")
        self._page.goto("about:blank")  # a page left open goes on refreshing

    def _energy(self) -> str | None:
        return figures(self._page).get("Energy")


@contextmanager
def viewer() -> Iterator[Viewer]:
    """Open a browser; skips where there is none."""
    with chromium() as browser:
        yield Viewer(browser.new_page())
