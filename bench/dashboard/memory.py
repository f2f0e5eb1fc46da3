"""What an hour of live refresh leaves in the server's memory: the hour's events and refreshes, in less time."""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pymongo.database import Database

from bench.dashboard.served import served, server_of
from tests.browser import chromium
from tests.dashboard_runs import Event, raw_documents, recorded_run, summary_document, window_documents
from wattline_common import store
from wattline_common.store import Document

__all__ = ["LIVE", "Memory", "begin_live_run", "refreshed"]

LIVE = "bench-live"
_HOUR_S = 3_600
_PACE_S = 0.5
_LOOKS_AT_HEAP = 30
_COUNT = """() => {
  const app = document.querySelector("[data-testid=stApp]");
  window.refreshes = 0;
  new MutationObserver(() => {
    if (app.getAttribute("data-test-script-state") === "notRunning") window.refreshes += 1;
  }).observe(app, { attributes: true, attributeFilter: ["data-test-script-state"] });
}"""


@dataclass(frozen=True)
class Memory:
    """Resident memory of the server and, each time all garbage was collected, JavaScript's heap of the page; in MB."""

    rss_mb: Sequence[float]
    page_mb: Sequence[float]
    refreshes: int
    seconds: float


def begin_live_run(database: Database[Document]) -> list[Event]:
    """Book the beginning of a run that goes on, an event a second and a step; return all of its hour."""
    now = datetime.datetime.now(datetime.UTC)
    events = recorded_run(
        LIVE, now - datetime.timedelta(seconds=120), seconds=_HOUR_S, has_gpu=True, planned_epochs=360
    )
    for name in (store.TRAINING_METRICS, store.AGGREGATED_METRICS):
        database[name].delete_many({"run_id": LIVE})  # of a bench before, where the store is not a new one
    _write(database, events, 0, 240)
    return events


def refreshed(database: Database[Document], uri: str, log: Path, events: list[Event], refreshes: int) -> Memory:
    """Look at the live run for as many refreshes as an hour has, while the hour's events come in."""
    with served(uri, log, WATTLINE_DASHBOARD_REFRESH_S=str(_PACE_S)) as url, chromium() as browser:
        server, page = server_of(url), browser.new_page()
        page.goto(f"{url}/run?run={LIVE}")
        page.wait_for_selector(".wattline-plot .main-svg", timeout=300_000)
        page.evaluate(_COUNT)
        tools = page.context.new_cdp_session(page)
        rss_mb, page_mb = list[float](), list[float]()
        known, done, began_s = 240, 0, time.monotonic()
        while done < refreshes:
            time.sleep(_PACE_S)
            done = int(page.evaluate("window.refreshes"))
            until = min(len(events), 240 + (len(events) - 240) * done // refreshes)
            if until > known:
                _write(database, events, known, until)
                known = until
            rss_mb.append(server.memory_info().rss / 2**20)
            if done >= len(page_mb) * refreshes // _LOOKS_AT_HEAP:
                tools.send("HeapProfiler.collectGarbage")
                page_mb.append(tools.send("Runtime.getHeapUsage")["usedSize"] / 2**20)
        return Memory(rss_mb, page_mb, done, time.monotonic() - began_s)


def _write(database: Database[Document], events: list[Event], known: int, until: int) -> None:
    database[store.TRAINING_METRICS].insert_many(raw_documents(events[known:until]), ordered=False)
    summary = summary_document(events[:until])
    database[store.TRAINING_RUN_SUMMARY].replace_one({"_id": LIVE}, summary, upsert=True)
    lately = events[max(0, until - 240) : until]  # its first minute may be cut: that window stays as it is
    for window in window_documents(lately)[1 if until > 240 else 0 :]:
        database[store.AGGREGATED_METRICS].replace_one({"_id": window["_id"]}, window, upsert=True)
