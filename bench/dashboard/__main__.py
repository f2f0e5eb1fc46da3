"""`python -m bench.dashboard`: how fast pages paint, what an hour of refresh takes, how old a point is when drawn."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench.dashboard.fill import FULL
from bench.dashboard.freshness import ages_s
from bench.dashboard.memory import LIVE, begin_live_run, refreshed
from bench.dashboard.paint import pages, paint_seconds
from bench.dashboard.served import counted, filled_store, served
from wattline_common import store

_PARTS = ("paint", "memory", "freshness")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.dashboard", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=_PARTS, help="what is measured (default: all)")
    parser.add_argument("--looks", type=int, default=20, help="at each page (default 20)")
    parser.add_argument("--refreshes", type=int, default=1_800, help="of the live page (default: an hour's, 1800)")
    parser.add_argument("--seconds", type=float, default=180.0, help="of watching fresh points (default 180)")
    parser.add_argument("--store", metavar="URI", help="a store that is filled already, instead of one made for this")
    parser.add_argument("--runs", type=int, default=FULL.runs, help="in the store (default %(default)s)")
    options = parser.parse_args(arguments)
    found: dict[str, Any] = {"load_average_before": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(prefix="wattline-bench-") as folder:
        try:
            _measure(options, Path(folder), found)
        finally:
            sys.stdout.write(f"{_kept(found)}\n")
    return 0


def _measure(options: argparse.Namespace, folder: Path, found: dict[str, Any]) -> None:
    with ExitStack() as stack:
        if {"paint", "memory"} & set(options.parts):
            if options.store:
                uri, database = options.store, store.connect(options.store)
                filled = counted(database)
            else:
                size = replace(FULL, runs=options.runs)
                uri, database, filled = stack.enter_context(filled_store(folder / "store", size))
            found["store"] = asdict(filled)
            events = begin_live_run(database)
            if "paint" in options.parts:
                with served(uri, folder / "paint.log") as url:
                    found["paint"] = paint_seconds(url, pages(filled.longest_run_id, LIVE), options.looks)
            if "memory" in options.parts:
                found["memory"] = asdict(refreshed(database, uri, folder / "live.log", events, options.refreshes))
    if "freshness" in options.parts:
        found["ages_s"] = ages_s(folder, options.seconds)


def _kept(found: dict[str, Any]) -> str:
    """Keep everything in a file and return the table."""
    found["load_average_after"] = os.getloadavg()[0]
    path = Path(__file__).parents[1] / "results" / f"dashboard-{time.strftime('%Y%m%dT%H%M%S')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    load = f"{found['load_average_before']:.1f} before, {found['load_average_after']:.1f} after"
    lines = [f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, load average {load}", ""]
    if "store" in found:
        lines += [", ".join(f"{value} {name}" for name, value in found["store"].items()), ""]
    lines += ["| | p50 | p95 | highest |", "| --- | --- | --- | --- |"]
    for name, each in found.get("paint", {}).items():
        lines.append(_row(f"{name}: full paint, s", each["seconds"]))
        lines.append(_row(f"{name}: CPU of server and browser, s", each["cpu_seconds"]))
    if found.get("ages_s"):
        lines.append(_row(f"age of a point when drawn, s, of {len(found['ages_s'])}", found["ages_s"]))
    if memory := found.get("memory"):
        rss, third = memory["rss_mb"], max(1, len(memory["rss_mb"]) // 3)
        first, last = statistics.fmean(rss[:third]), statistics.fmean(rss[-third:])
        lines.append(_row(f"server's memory, MB, over {memory['refreshes']} refreshes", rss))
        lines.append(_row("the page's heap, MB", memory["page_mb"]))
        lines += ["", f"the page's heap, MB, in turn: {', '.join(f'{each:.0f}' for each in memory['page_mb'])}"]
        lines += ["", f"memory, first and last third: {first:.0f} and {last:.0f} MB, in {memory['seconds']:.0f} s"]
    return "\n".join([*lines, "", f"all of it: {path}"])


def _row(name: str, figures: Sequence[float]) -> str:
    ordered = sorted(figures)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return f"| {name} | {statistics.median(ordered):.2f} | {p95:.2f} | {ordered[-1]:.2f} |"


if __name__ == "__main__":
    raise SystemExit(main())
