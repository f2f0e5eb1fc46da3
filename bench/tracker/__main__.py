"""`python -m bench.tracker`: what Wattline costs a training, beside CodeCarbon, CarbonTracker and a psutil loop."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.tracker.agreement import Beside
from tools.venvs import locked_python
from wattline_common.errors import WattlineError
from wattline_stack import ConsoleProgress, StackSettings

_HERE = Path(__file__).parent
_LOCKS = {"CodeCarbon": "codecarbon", "CarbonTracker": "carbontracker", "psutil loop": "loop"}
_OURS = ("Wattline", "Wattline, no delivery")
_TRACKERS = (*_OURS, *_LOCKS)
_FIGURES = {
    "CPU, % of a core": ("cpu_pct", 3),
    "memory added, MiB": ("memory_mib", 1),
    "set-up, s": ("setup_s", 2),
    "set-up, CPU s": ("setup_cpu_s", 2),
    "end, s": ("stop_s", 2),
    "slowdown of the job, %": ("slowdown_pct", 1),
}

Trial = Mapping[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.tracker", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="of each tracker, in turn (default 5)")
    parser.add_argument("--idle-s", type=float, default=30.0, help="seconds in which only the tracker works")
    parser.add_argument("--products", type=int, default=200, help="matrix products of the job")
    options = parser.parse_args(arguments)
    progress, trials = ConsoleProgress(), list[Trial]()
    try:
        cache_dir = StackSettings.from_environment().cache_dir
        pythons = dict.fromkeys(_OURS, Path(sys.executable))
        for tracker, lock in _LOCKS.items():
            pythons[tracker] = locked_python(_HERE / "peers" / f"{lock}.lock", cache_dir, progress)
        for repeat in range(options.repeats):
            # Each repeat begins with another one: nobody always comes after the same.
            turn = repeat % len(_TRACKERS)
            for tracker in (*_TRACKERS[turn:], *_TRACKERS[:turn]):
                with progress.task(f"{tracker}, repeat {repeat + 1} of {options.repeats}"):
                    trials.append(_trial(pythons[tracker], tracker, options.products, options.idle_s))
    except WattlineError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        if trials:
            sys.stdout.write(f"{_kept(trials)}\n")
    return 0


def _trial(python: Path, tracker: str, products: int, idle_s: float) -> Trial:
    """Return what one process of the job measured."""
    job = [str(python), str(_HERE / "job.py"), tracker, "--products", str(products), "--idle-s", str(idle_s)]
    # One thread of linear algebra: its own threads' spinning would hide what a tracker costs.
    surroundings = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "WATTLINE_QUIET": "1"}
    load = os.getloadavg()[0]
    with Beside() as beside:
        done = subprocess.run(job, env=surroundings, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    trial: dict[str, Any] = {**json.loads(done.stdout.splitlines()[-1]), "load_average": load}
    if trial["cpu_kwh"] is not None:
        trial["ours_kwh"] = beside.kwh(trial["ended_s"] - trial["cpu_kwh_over_s"], trial["ended_s"])
    return trial


def _kept(trials: Sequence[Trial]) -> str:
    """Keep all trials in a file and return the table."""
    path = _HERE.parent / "results" / f"tracker-{time.strftime('%Y%m%dT%H%M%S')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(trials, indent=1) + "\n", encoding="utf-8")
    rows = [["", *_FIGURES], ["---"] * (len(_FIGURES) + 1)]
    for tracker in dict.fromkeys(trial["tracker"] for trial in trials):
        own = [trial for trial in trials if trial["tracker"] == tracker]
        rows.append([tracker, *(_spread([trial[name] for trial in own], digits) for name, digits in _FIGURES.values())])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{_head(trials)}\n\n{table}\n\n{_agreement(trials)}\n\nall of it: {path}"


def _head(trials: Sequence[Trial]) -> str:
    locked = {}
    for lock in ("codecarbon", "carbontracker", "loop"):
        lines = (_HERE / "peers" / f"{lock}.lock").read_text(encoding="utf-8").splitlines()
        pins = dict(line.split()[0].split("==") for line in lines if "==" in line)
        name = "psutil" if lock == "loop" else lock
        locked[name] = pins[name]
    versions = ", ".join(f"{name} {version}" for name, version in locked.items())
    return (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, Python {platform.python_version()}; "
        f"numpy {importlib.metadata.version('numpy')}, {versions}; "
        f"load average {_spread([trial['load_average'] for trial in trials], 1)}. Median, lowest and highest:"
    )


def _agreement(trials: Sequence[Trial]) -> str:
    both = [trial for trial in trials if "ours_kwh" in trial]
    if not both:
        return "CodeCarbon has not run, so nothing is said of agreement with it."
    apart = _spread([100 * (trial["ours_kwh"] / trial["cpu_kwh"] - 1) for trial in both], 2)
    return f"codecarbon-compatible, over CodeCarbon's own seconds, differs from its CPU energy by {apart} %."


def _spread(figures: Sequence[float], digits: int) -> str:
    return f"{statistics.median(figures):.{digits}f} ({min(figures):.{digits}f} to {max(figures):.{digits}f})"


if __name__ == "__main__":
    raise SystemExit(main())
