"""The command line of the simulation: its options, and one simulation from them."""

from __future__ import annotations

import argparse
import datetime
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wattline.courier import Wire
from wattline_common.errors import ConfigurationError
from wattline_trainer.simulate.chance import seeded
from wattline_trainer.simulate.faults import Faults
from wattline_trainer.simulate.fleet import Fleet
from wattline_trainer.simulate.ledger import FleetLedger
from wattline_trainer.simulate.outbox import Outbox
from wattline_trainer.simulate.population import HISTORY_EMIT_INTERVAL_S, history, live
from wattline_trainer.simulate.progress import Progress
from wattline_trainer.simulate.simulation import Simulation, SystemWatch
from wattline_trainer.stopping import StopRequest

__all__ = ["add_simulate", "simulate"]

_DAY_S = 86_400.0
_EPILOG = """\
examples:
  python -m wattline_trainer simulate                                  a day of 20 runs that has just ended
  python -m wattline_trainer simulate --runs 140 --days 7 --seed 3 --ledger fleet.json
  python -m wattline_trainer simulate --runs 0 --live 5                five runs now, until Ctrl-C
  python -m wattline_trainer simulate --live 5 --for 600               a history, then ten minutes of five live runs
  python -m wattline_trainer simulate --runs 0 --live 20 --speed 20    live runs that go 20 times as fast
  python -m wattline_trainer simulate --start 2026-03-01T00:00:00Z     the same bytes each time
  python -m wattline_trainer simulate --duplicates 0.05 --disorder-s 600   as a bad network would deliver it

Every event says simulated: true; nothing here was measured. Events go to KAFKA_BOOTSTRAP_SERVERS, schema ids come
from SCHEMA_REGISTRY_URL; both must be there. Nothing is dropped: a Kafka that is slow or away is waited for.

The history has a sample and at most one step per --history-interval and process, and is written without waiting. Live
runs last 10 to 90 minutes and a sample stands for --emit-interval seconds; one that is over is followed by another.
With --speed X a live run begins so far in the past that its end meets the wall clock: no event is dated in the future.

Ctrl-C and SIGTERM end all runs under way with the status STOPPED and everything delivered (exit code 130 and 143).
"""


def add_simulate(trainings: Any, *, seed: int, emit_interval_s: float) -> None:  # noqa: ANN401  # argparse's private type
    """Add the command to the trainer's parser."""
    parser = trainings.add_parser(
        "simulate",
        help="a fleet of invented runs: a history, and runs that are live",
        description="Simulate a fleet of trainings through the tracker's own code, for demos, tests and load.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=_count, default=20, help="runs in the history (default 20; 0 for none)")
    parser.add_argument("--days", type=_days, default=1.0, help="length of the history in days (default 1)")
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--start", type=_moment, metavar="TIME", help="when the history starts, ISO 8601")
    when.add_argument("--end", type=_moment, metavar="TIME", help="when it ends (default: now)")
    parser.add_argument("--seed", type=int, default=seed, help=f"of all that is drawn (default {seed})")
    parser.add_argument("--live", type=_count, default=0, metavar="K", help="keep K runs alive afterwards (default 0)")
    parser.add_argument("--for", type=_above_zero, dest="for_s", metavar="SECONDS", help="end the live runs then")
    parser.add_argument("--speed", type=_speed, default=1.0, metavar="X", help="of live runs' time, 1 to 1000")
    parser.add_argument(
        "--emit-interval",
        type=_interval,
        default=emit_interval_s,
        metavar="SECONDS",
        help=f"between a live run's hardware samples (default {emit_interval_s:g}; WATTLINE_EMIT_INTERVAL_S)",
    )
    parser.add_argument(
        "--history-interval",
        type=_interval,
        default=HISTORY_EMIT_INTERVAL_S,
        metavar="SECONDS",
        help=f"between hardware samples of the history (default {HISTORY_EMIT_INTERVAL_S:g})",
    )
    parser.add_argument("--ledger", type=Path, metavar="FILE", help="keep there what was emitted, as JSON")
    parser.add_argument(
        "--duplicates", type=_share, default=0.0, metavar="SHARE", help="of the messages that are sent twice, 0 to 1"
    )
    parser.add_argument(
        "--disorder-s", type=_disorder, default=0.0, metavar="S", help="hold each message back by up to S seconds"
    )


def simulate(options: argparse.Namespace, stop: StopRequest, open_wire: Callable[[], Wire]) -> int:
    """Simulate; return the exit code.

    Raises `ConfigurationError` when options or settings make no sense, `UnavailableError` when a server is away.
    """
    _refuse_nonsense(options)
    now = datetime.datetime.now(datetime.UTC)
    length_s = options.days * _DAY_S
    start = _start(options, now, length_s)
    outbox = Outbox(open_wire(), _tell, stop.is_asked)
    ledger = FleetLedger(options.seed, _arguments(options, start))
    fleet = Fleet(options.seed, start, ledger)
    faults = Faults(seeded(options.seed, "faults"), duplicates=options.duplicates, disorder_s=options.disorder_s)
    progress = Progress(ledger, options.ledger, lambda: outbox.delivered, _tell)
    progress.write(complete=False)
    simulation = Simulation(fleet, faults, outbox, stop.is_asked)
    complete = False
    try:
        try:
            if options.runs:
                runs = history(options.seed, options.runs, start, length_s, options.history_interval)
                simulation.write_history(runs, lambda at_s: progress.history(at_s / length_s))
            if options.live and not stop.is_asked():
                plans = live(options.seed, f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(2)}", options.emit_interval)
                watch = SystemWatch(start, datetime.datetime.now(datetime.UTC), time.monotonic)
                simulation.keep_live(plans, options.live, options.speed, watch, options.for_s, progress.live)
        finally:
            outbox.close()
        complete = True
    finally:
        progress.write(complete=complete)
    _tell(f"{ledger.events:,} events of {len(ledger)} runs written; {faults.copies:,} of them twice")
    return stop.exit_code or 0


def _refuse_nonsense(options: argparse.Namespace) -> None:
    if not options.runs and not options.live:
        raise ConfigurationError("--runs 0 without --live is nothing to simulate; give one of them")
    if options.for_s is not None and not options.live:
        raise ConfigurationError("--for says when live runs end; give --live K too")


def _start(options: argparse.Namespace, now: datetime.datetime, length_s: float) -> datetime.datetime:
    length = datetime.timedelta(seconds=length_s)
    end: datetime.datetime = options.end or now.replace(microsecond=0)
    start: datetime.datetime = options.start or end - length
    if options.runs and start + length > now:
        raise ConfigurationError(
            f"the history would end at {start + length:%Y-%m-%dT%H:%M:%SZ}, in the future, and its events would be "
            "refused; give an earlier --start or --end, or fewer --days"
        )
    return start


def _arguments(options: argparse.Namespace, start: datetime.datetime) -> dict[str, Any]:
    given = {name: value for name, value in vars(options).items() if name not in {"training", "ledger", "end", "start"}}
    return {**given, "start": start.isoformat()}


def _tell(line: str) -> None:
    sys.stderr.write(f"simulate: {line}\n")


def _number(text: str, low: float, high: float) -> float:
    value = float(text)
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text} is not between {low:g} and {high:g}")
    return value


def _count(text: str) -> int:
    return int(_number(str(int(text)), 0, 100_000))


def _above_zero(text: str) -> float:
    return _number(text, 0.01, 10_000_000)


def _days(text: str) -> float:
    return _number(text, 0.001, 10_000)


def _speed(text: str) -> float:
    return _number(text, 1, 1000)


def _interval(text: str) -> float:
    return _number(text, 0.1, 300)


def _share(text: str) -> float:
    return _number(text, 0, 1)


def _disorder(text: str) -> float:
    return _number(text, 0, _DAY_S)


def _moment(text: str) -> datetime.datetime:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no ISO 8601 time such as 2026-03-01T00:00:00Z") from error
    return moment.replace(tzinfo=datetime.UTC) if moment.tzinfo is None else moment.astimezone(datetime.UTC)
