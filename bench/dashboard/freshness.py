"""How old an event is when its point appears on the Run page: the whole line, from the simulator to the browser."""

from __future__ import annotations

import time
from pathlib import Path

from bench.dashboard.served import served
from tests.browser import chromium
from tests.line import running_line, wait_for
from wattline_common import store

__all__ = ["ages_s"]

# Every new point of the first curve, with its age when it was first there: the plot's clock is set to UTC.
_WATCH = """() => {
  const seen = new Set();
  window.ages = [];
  let first = true;
  setInterval(() => {
    const times = document.querySelector(".wattline-plot")?.data?.[0]?.x ?? [];
    for (const time of times) {
      if (seen.has(time)) continue;
      seen.add(time);
      if (!first) window.ages.push((Date.now() - Date.parse(time + "Z")) / 1000);
    }
    first = first && times.length === 0;
  }, 50);
}"""
_RUNS = 3


def ages_s(folder: Path, seconds: float) -> list[float]:
    """Return the ages in seconds, of live runs that send a sample a second; all settings at their defaults."""
    with running_line(folder / "line", 1_000) as line:
        stream = line.start_stream()
        options = ["--runs", "0", "--live", str(_RUNS), "--for", str(seconds + 120), "--emit-interval", "1"]
        line.services.start("fleet", ["wattline_trainer", "simulate", *options])
        wait_for(lambda: line.stored() > 0, lambda: f"events in the store (stream: {stream.exit_code})")
        with served(line.endpoints.mongodb_uri, folder / "dashboard.log") as url, chromium() as browser:
            page = browser.new_context(timezone_id="UTC").new_page()
            run = line.database[store.TRAINING_RUN_SUMMARY].find_one({"status": "RUNNING"})
            page.goto(f"{url}/run?run={run['_id'] if run else ''}")
            page.wait_for_selector(".wattline-plot .main-svg", timeout=120_000)
            page.evaluate(_WATCH)
            time.sleep(seconds)
            return [float(age) for age in page.evaluate("window.ages")]
