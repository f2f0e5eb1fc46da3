"""What browser tests read off the pages: figures, plots, the background's colour, and a picture of it all."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.browser import ARTIFACTS, until

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["figures", "is_dark", "picture", "wait_for_figures", "wait_for_plots", "wait_for_rest"]

_REST_S = 2.0
_RUNS_NOT = "document.querySelector('[data-testid=stApp]').dataset.testScriptState === 'notRunning'"
_HALF_GREY = 3 * 128  # of red, green and blue together


def figures(page: Page) -> dict[str, str]:
    """Return the text of every metric by its label."""
    labels = page.locator("[data-testid=stMetricLabel]").all_inner_texts()
    values = page.locator("[data-testid=stMetricValue]").all_inner_texts()
    return dict(zip(labels, values, strict=False))


def wait_for_figures(page: Page) -> None:
    """Wait until the first metric is there: a server's first page takes a while."""
    page.wait_for_selector("[data-testid=stMetricValue]", timeout=60_000)


def wait_for_plots(page: Page, plots: int) -> None:
    """Wait for the figures, and until at least so many plots are drawn."""
    wait_for_figures(page)
    until(lambda: page.locator(".wattline-plot .main-svg .infolayer").count() >= plots, "the plots", within_s=60)


def wait_for_rest(page: Page) -> None:
    """Wait until the server has drawn nothing for two seconds: a refresh asked for before a pause may come after it."""
    last_busy_s = time.monotonic()

    def rests() -> bool:
        nonlocal last_busy_s
        if not page.evaluate(_RUNS_NOT):
            last_busy_s = time.monotonic()
        return time.monotonic() - last_busy_s > _REST_S

    until(rests, "the page to rest", within_s=60)


def is_dark(page: Page) -> bool:
    """Say whether the page's background is dark."""
    colour = page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    return sum(int(part) for part in str(colour).strip("rgba()").split(",")[:3]) < _HALF_GREY


def picture(page: Page, name: str) -> None:
    """Keep a picture of the page in `ARTIFACTS`, taken between two refreshes."""
    ARTIFACTS.mkdir(exist_ok=True)
    until(lambda: page.locator("[data-stale=true]").count() == 0, "a picture between two refreshes")
    page.screenshot(path=ARTIFACTS / f"dashboard-{name}.png")
