"""`python -m bench.live_runs`: more and more live runs until something breaks; `--help` teaches."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.line import STORE_HEAP_MB
from bench.live_runs.report import report
from bench.live_runs.step import Plan, Step, step

_DESCRIPTION = """\
The whole line under many simulated live runs at the defaults: how far the stream is behind, whether the simulators keep
their own pace, what each process takes; and in the end whether each acknowledged event is stored once. Each step has
servers of its own, so that none pays for the data of another."""
_EPILOG = """\
examples
  python -m bench.live_runs --until-broken                       500 runs for 10 minutes, then twice as many, and so on
  python -m bench.live_runs --live 20 --minutes 1 --every 5      a short look
  python -m bench.live_runs --live 4000 --minutes 5 --simulators 2

It broke when the lag grew without bound, a process ended, the store was full, /readyz failed twice, or the simulators
did not keep pace, which is told apart. All looks are kept in bench/results/. Exit code 1: what was acknowledged is not
stored once, or could not be compared though nothing broke."""
_MOST_LIVE = 100_000


def main() -> int:
    """Measure step by step and print; return the exit code."""
    parser = argparse.ArgumentParser(
        "python -m bench.live_runs",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--live", type=int, default=500, help="runs at once, at first (default 500)")
    parser.add_argument("--minutes", type=float, default=10.0, help="of the first step (default 10)")
    parser.add_argument("--until-broken", action="store_true", help="double the runs until something breaks")
    parser.add_argument("--further-minutes", type=float, default=3.0, help="of each further step (default 3)")
    parser.add_argument("--simulators", type=int, default=1, help="processes that share the runs (default 1)")
    parser.add_argument("--every", type=float, default=10.0, metavar="SECONDS", help="between looks (default 10)")
    parser.add_argument("--store-heap-mb", type=int, default=STORE_HEAP_MB, help=f"(default {STORE_HEAP_MB})")
    options = parser.parse_args()
    if not 1 <= options.simulators <= options.live <= _MOST_LIVE or min(options.minutes, options.further_minutes) <= 0:
        parser.error(f"--live is from 1 to {_MOST_LIVE}, --simulators from 1 to --live, and minutes are above 0")
    path = Path(__file__).parents[1] / "results" / f"live-runs-{time.strftime('%Y-%m-%dT%H%M%S')}.json"
    steps: list[Step] = []
    for number in (signal.SIGINT, signal.SIGTERM):  # servers end with us, also where a shell started us to ignore one
        signal.signal(number, signal.default_int_handler)
    try:
        for plan in _plans(options):
            _say(f"{plan.live:,} live runs for {plan.seconds / 60:g} minutes")
            steps.append(step(plan, _say))
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps([each.as_json() for each in steps], indent=1) + "\n", encoding="utf-8")
            if steps[-1].breaks:
                break
    finally:  # what is measured is told, whatever ends the bench
        sys.stdout.write("\n".join(report(steps)) + "\n")
        _say(f"kept in {path}")
    return 0 if all(each.booking.is_once or (each.breaks and each.booking.is_once is None) for each in steps) else 1


def _plans(options: argparse.Namespace) -> Iterator[Plan]:
    """Yield the first step, and if asked for, further ones with twice as many runs each."""
    live, minutes = options.live, options.minutes
    while live <= _MOST_LIVE:
        yield Plan(live, minutes * 60, options.simulators, options.every, options.store_heap_mb)
        if not options.until_broken:
            break
        live, minutes = live * 2, options.further_minutes


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


if __name__ == "__main__":
    raise SystemExit(main())
