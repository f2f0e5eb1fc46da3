"""A fixed numpy job in one process: alone first, then with a tracker; run with the Python of the tracker's own venv.

It imports nothing of Wattline but where Wattline is the tracker, and prints one line of JSON.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

# What stops a tracker returns the CPU energy that it found, in kWh, and its seconds; None where it tells none.
Stop = Callable[[], tuple[float, float] | None]


def _codecarbon() -> Stop:
    from codecarbon import OfflineEmissionsTracker  # type: ignore[import-not-found,unused-ignore]  # pants: no-infer-dep

    tracker = OfflineEmissionsTracker(
        country_iso_code="FRA",
        measure_power_secs=1,
        save_to_file=False,
        log_level="critical",
        allow_multiple_runs=True,
    )
    tracker.start()

    def stop() -> tuple[float, float] | None:
        tracker.stop()
        found = tracker.final_emissions_data
        return float(found.cpu_energy), float(found.duration)

    return stop


def _carbontracker() -> Stop:
    from carbontracker.tracker import CarbonTracker  # type: ignore[import-not-found,unused-ignore]  # pants: no-infer-dep

    tracker = CarbonTracker(epochs=1, update_interval=1, verbose=0, components="cpu", ignore_errors=True)
    tracker.epoch_start()

    def stop() -> tuple[float, float] | None:
        tracker.epoch_end()
        tracker.stop()
        return None

    return stop


def _loop() -> Stop:
    import psutil

    ended, own = threading.Event(), psutil.Process()

    def work() -> None:
        while not ended.wait(1.0):
            psutil.cpu_percent(), own.cpu_times(), own.memory_info()

    psutil.cpu_percent()
    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def stop() -> tuple[float, float] | None:
        ended.set()
        thread.join()
        return None

    return stop


def _wattline(*, delivers: bool = True) -> Stop:
    import wattline
    from wattline.testing import MemoryPublisher

    publisher = None if delivers else MemoryPublisher()
    run = wattline.track(model_name="bench", dataset_name="none", publisher=publisher)

    def stop() -> tuple[float, float] | None:
        run.stop()
        return None

    return stop


_TRACKERS: dict[str, Callable[[], Stop]] = {
    "Wattline": _wattline,
    "Wattline, no delivery": functools.partial(_wattline, delivers=False),
    "CodeCarbon": _codecarbon,
    "CarbonTracker": _carbontracker,
    "psutil loop": _loop,
}


def main() -> None:
    """Measure one tracker once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tracker", choices=tuple(_TRACKERS))
    parser.add_argument("--products", type=int, default=120, help="matrix products of the job")
    parser.add_argument("--idle-s", type=float, default=15.0, help="seconds in which only the tracker works")
    options = parser.parse_args()
    _job(10)
    alone_s = _job(options.products)
    rss_mib, began_s, began_cpu_s = _rss_mib(), time.perf_counter(), time.process_time()
    stop = _TRACKERS[options.tracker]()
    setup_s, setup_cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    time.sleep(3.0)  # what it does first is part of no second's cost
    idle_s, idle_cpu_s = time.perf_counter(), time.process_time()
    time.sleep(options.idle_s)
    idle_cpu_s, idle_s = time.process_time() - idle_cpu_s, time.perf_counter() - idle_s
    tracked_s = _job(options.products)
    again_mib = _rss_mib()
    stopping_s = time.perf_counter()
    energy = stop()
    found = {
        "tracker": options.tracker,
        "cpu_pct": 100 * idle_cpu_s / idle_s,
        "memory_mib": again_mib - rss_mib,
        "setup_s": setup_s,
        "setup_cpu_s": setup_cpu_s,
        "stop_s": time.perf_counter() - stopping_s,
        "slowdown_pct": 100 * (tracked_s / alone_s - 1),
        "cpu_kwh": energy[0] if energy else None,
        "cpu_kwh_over_s": energy[1] if energy else None,
        "ended_s": time.monotonic(),
    }
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    os._exit(0)  # some trackers leave threads that would not end


def _job(products: int) -> float:
    """Return the seconds of the job: numpy, and Python between, which needs the interpreter's lock."""
    matrix = np.random.default_rng(1).random((400, 400))
    began_s = time.perf_counter()
    for _ in range(products):
        matrix = matrix @ matrix.T
        matrix /= np.abs(matrix).max()
        sum(range(20_000))  # a training's loop is Python, too
    return time.perf_counter() - began_s


def _rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
