"""How long a page takes until everything on it is drawn, from the click, with a warm browser and a warm server."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

from tests.browser import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["pages", "paint_seconds"]

_TIMEOUT_MS = 300_000  # on a busy machine
# Drawn: Streamlit rests, something is said, every plot that is there has its curves, and no placeholder is left.
_PAINTED = """() => {
  const app = document.querySelector("[data-testid=stApp]");
  const all = (selector) => [...document.querySelectorAll(selector)];
  const is_drawn =
    app?.getAttribute("data-test-script-state") === "notRunning" &&
    all("[data-testid=stMetricValue], [data-testid=stAlert], [data-testid=stDataFrame]").length > 0 &&
    all(".wattline-plot").every((plot) => plot.querySelector(".main-svg .infolayer")) &&
    all("[data-testid=stSkeleton]").length === 0;
  return is_drawn && performance.now() / 1000;
}"""


def pages(run_id: str, live_run_id: str) -> Mapping[str, str]:
    """Return what is looked at: name and address."""
    return {
        "Overview, 24 hours": "/",
        "Overview, 30 days": "/?period=30d",
        "Runs": "/runs",
        "Run, over an hour": f"/run?run={run_id}",
        "Run, live": f"/run?run={live_run_id}",
    }


def paint_seconds(url: str, looks: Mapping[str, str], times: int) -> dict[str, dict[str, list[float]]]:
    """Return how long each look at each page took, after one that does not count; in turn, by one viewer.

    Beside it stand the CPU seconds that server and browser spent: they suffer less from what else the machine does.
    """
    took: dict[str, dict[str, list[float]]] = {name: {"seconds": [], "cpu_seconds": []} for name in looks}
    with chromium() as browser:
        page = _page(browser)
        for turn in range(times + 1):
            for name, path in looks.items():
                before_s = _cpu_seconds()
                page.goto(url + path, wait_until="commit", timeout=_TIMEOUT_MS)
                seconds = float(page.wait_for_function(_PAINTED, timeout=_TIMEOUT_MS).json_value())
                if turn:
                    took[name]["seconds"].append(seconds)
                    took[name]["cpu_seconds"].append(_cpu_seconds() - before_s)
    return took


def _cpu_seconds() -> float:
    """Return what the processes started here have spent: the server, and the browser with all it consists of."""
    spent = 0.0
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            spent += times.user + times.system
    return spent


def _page(browser: Browser) -> Page:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, timezone_id="Europe/Berlin")
    return context.new_page()
