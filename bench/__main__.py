"""`make bench`: Wattline beside what a Python team would write instead, on this machine."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.contestants import PLAIN_LOOP, QUIX, WATTLINE, Contestant, contestants
from bench.recording import LARGE_FLEET, SMALL_FLEET, Fleet, Recording, recording
from bench.report import Report
from bench.speed import speed_trial
from bench.steady import steady_trial
from wattline_common.errors import WattlineError
from wattline_stack import ConsoleProgress, StackSettings

_NAMES = (WATTLINE, QUIX, PLAIN_LOOP)
_FLEETS = {"50": SMALL_FLEET, "5000": LARGE_FLEET}
_EPILOG = """\
parts:
  speed    a backlog of 100,000 events is worked off, cold and then warm, by each in turn
  steady   live traffic: the age of events when they can be read, CPU and memory; Wattline for --steady-s, the peers
           for a minute

examples:
  make bench                                         all of it, about an hour
  make bench ARGS=--quick                            one small round of each, about five minutes
  make bench ARGS='--parts speed --fleets 50 --repeats 3'
  make bench ARGS='--contestants Wattline "plain loop" --parts steady'

Each trial has a broker, a registry and a store of its own, fresh. A rate is printed only once raw events, summaries and
windows in the store agree with the simulator's ledger, run by run, in events and in millijoules. The tables are printed
in Markdown; everything measured is in bench/results/<date>.json.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench; return the exit code."""
    options = _parser().parse_args(arguments)
    progress = ConsoleProgress()
    cache_dir = StackSettings.from_environment().cache_dir
    path = Path(__file__).parent / "results" / f"{time.strftime('%Y%m%dT%H%M%S')}.json"
    report = Report(path)
    try:
        rivals = contestants(cache_dir, options.contestants, progress)
        with tempfile.TemporaryDirectory(prefix="wattline-bench-") as folder:
            if "speed" in options.parts:
                _speed(options, rivals, report, cache_dir / "bench-recordings", Path(folder), progress)
            if "steady" in options.parts:
                _steady(options, rivals, report, Path(folder), progress)
    except WattlineError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        if report.speed or report.steady:
            sys.stdout.write(f"{report.as_text()}\n\nall of it: {path}\n")
    return 0


def _speed(
    options: argparse.Namespace,
    rivals: Sequence[Contestant],
    report: Report,
    recordings: Path,
    folder: Path,
    progress: ConsoleProgress,
) -> None:
    work = {name: _recordings(_FLEETS[name], recordings, progress) for name in options.fleets}
    for repeat in range(options.repeats):
        for fleet in options.fleets:
            # Each repeat begins with another one: nobody always comes after the same.
            for contestant in (*rivals[repeat % len(rivals) :], *rivals[: repeat % len(rivals)]):
                with progress.task(f"{contestant.name}, {fleet} runs, repeat {repeat + 1} of {options.repeats}"):
                    trial = speed_trial(contestant, fleet, repeat, work[fleet], folder)
                report.add(trial)
                rates = f"{trial.cold.events_per_s:,.0f} events/s cold, {trial.warm.events_per_s:,.0f} warm"
                progress.say(f"{contestant.name}, {fleet} runs: {rates}, load average {trial.load_average:.1f}")


def _steady(
    options: argparse.Namespace, rivals: Sequence[Contestant], report: Report, folder: Path, progress: ConsoleProgress
) -> None:
    for contestant in rivals:
        seconds = options.steady_s if contestant.name == WATTLINE else min(60.0, options.steady_s)
        with progress.task(f"{contestant.name}, {options.rate:g} events/s for {seconds:g} s"):
            trial = steady_trial(
                contestant, folder, events_per_s=options.rate, warm_up_s=options.warm_up_s, seconds=seconds
            )
        report.add(trial)
        progress.say(f"{contestant.name}: p50 {trial.p50_s:.2f} s, p95 {trial.p95_s:.2f} s, p99 {trial.p99_s:.2f} s")


def _recordings(fleet: Fleet, folder: Path, progress: ConsoleProgress) -> tuple[Recording, Recording]:
    """Return two, the second later in event time."""
    with progress.task(f"events of {fleet.keep} runs (simulated once, then kept in {folder})"):
        return recording(fleet, 1, folder), recording(fleet, 2, folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=("speed", "steady"), default=["speed", "steady"])
    parser.add_argument("--contestants", nargs="+", choices=_NAMES, default=list(_NAMES), metavar="NAME")
    parser.add_argument("--fleets", nargs="+", choices=tuple(_FLEETS), default=list(_FLEETS), help="numbers of runs")
    parser.add_argument("--repeats", type=int, default=5, help="alternating ones, of the speed part (default 5)")
    parser.add_argument("--rate", type=float, default=500.0, help="events/s of the steady part (default 500)")
    parser.add_argument("--steady-s", type=float, default=300.0, help="seconds of the steady part (default 300)")
    parser.add_argument("--warm-up-s", type=float, default=60.0, help="seconds before it (default 60)")
    quick = {"fleets": ["50"], "repeats": 1, "steady_s": 30.0, "warm_up_s": 20.0}
    parser.add_argument(
        "--quick", action=_Quick, nargs=0, const=quick, help="one repeat of 50 runs, short live traffic"
    )
    return parser


class _Quick(argparse.Action):
    """Sets several options at once."""

    def __call__(self, _parser: argparse.ArgumentParser, options: argparse.Namespace, *_: object) -> None:
        for name, value in self.const.items():
            setattr(options, name, value)


if __name__ == "__main__":
    raise SystemExit(main())
