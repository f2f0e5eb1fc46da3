"""`python -m tests.faults`: the fault campaign, and with `--minutes` a soak; `--help` teaches."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from tests.faults import growth
from tests.faults.campaign import Campaign, Kind, Outcome, campaign, schedule
from tests.faults.kinds_producers import PRODUCER_KINDS
from tests.faults.kinds_servers import SERVER_KINDS
from tests.faults.kinds_stream import STREAM_KINDS
from tests.faults.measures import Measures

__all__ = ["KINDS", "main", "table"]

KINDS = [*SERVER_KINDS, *STREAM_KINDS, *PRODUCER_KINDS]
_DESCRIPTION = """\
One line of real servers and processes, struck by every kind of fault in an order drawn by a seed. After each fault it
must be healed within a minute, what was emitted must be in the store once, to the millijoule, and a run's page must
show its energy. A soak draws the kinds at random until its time is up; memory, disk, open files and threads, read after
each healed fault, must be flat but for what holds the data."""
_EPILOG = """\
examples
  make campaign                                          each kind twice, about an hour
  make campaign ARGS='--seed 7 --times 3'                another order, other moments
  make campaign ARGS='--only store --times 1'            the kinds with "store" in their names
  make campaign ARGS='--folder /var/tmp/one'             one that can be stopped and taken up again, in that folder
  make soak ARGS='--minutes 480 --seed 7'                a night of it
  make soak ARGS='--only page --only clock'              which leaves the stream alive, so that its memory can be judged

A fault that hit nothing fails the campaign, as does any difference; seed and number replay it. Store and checkpoint get
disks of their own where root can mount some; without, the kinds that fill a disk are left out, and named. The page is
looked at in Chromium, which must be there."""


def main() -> int:
    """Run a campaign, or the rest of it; return the exit code."""
    parser = argparse.ArgumentParser(
        "python -m tests.faults",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=1, help="of order and moments (default 1)")
    parser.add_argument("--times", type=int, default=2, help="how often each kind strikes (default 2)")
    parser.add_argument("--minutes", type=float, help="a soak: so long, kinds as the seed draws them")
    parser.add_argument("--only", action="append", default=[], metavar="WORDS", help="kinds with these words")
    parser.add_argument("--folder", type=Path, help="of the line's data (default: a new one below artifacts/)")
    parser.add_argument("--list", action="store_true", help="list the kinds")
    options = parser.parse_args()
    kinds = [kind for kind in KINDS if not options.only or any(words in kind.name for words in options.only)]
    if options.list or not kinds:
        sys.stdout.write("\n".join(kind.name for kind in kinds) + "\n")
        return 0 if kinds else 2
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    folder = options.folder or Path("artifacts", f"campaign-{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        with campaign(folder.absolute(), options.seed) as line:
            if options.minutes is None:
                return _campaign(line, _possible(line, kinds), options.times, options.seed)
            return _soak(line, _possible(line, kinds), options.minutes, options.seed)
    except pytest.skip.Exception as missing:
        _say(str(missing))
        return 2
    except KeyboardInterrupt:
        _say(f"stopped; the same command with --folder {folder} goes on with it")
        return 130


def _possible(line: Campaign, kinds: Sequence[Kind]) -> list[Kind]:
    if line.disks:
        return list(kinds)
    left_out = [kind.name for kind in kinds if kind.needs_disks]
    _say(f"no disks can be mounted here (that takes root), so these are left out: {', '.join(left_out)}")
    return [kind for kind in kinds if not kind.needs_disks]


def _campaign(line: Campaign, kinds: list[Kind], times: int, seed: int) -> int:
    """Strike each kind so often, or what is left of that; return the exit code."""
    order = schedule(kinds, times, seed)
    done = len(line.done())
    for number, kind in enumerate(order[done:], start=done):
        _strike(line, kind, number, f"{number + 1} of {len(order)}, seed {seed}")
    sys.stdout.write("\n".join(table(line.done())) + "\n")
    return 0


def _soak(line: Campaign, kinds: list[Kind], minutes: float, seed: int) -> int:
    """Strike until the time is up, or the rest of it; tell what grew, and return the exit code."""
    measures = Measures(line)
    try:
        while (elapsed_s := measures.elapsed_s()) < minutes * 60:
            number = len(line.done())
            # By number, not in a row: what is taken up again goes on with the fault that would have come.
            kind = random.Random(f"soak {seed} {number}").choice(kinds)
            _strike(line, kind, number, f"{elapsed_s / 60:.0f} of {minutes:g} min, seed {seed}, fault {number + 1}")
            measures.take()
    finally:
        found = growth.growths(measures.readings)
        sys.stdout.write("\n".join([*table(line.done()), "", *growth.table(found)]) + "\n")
    grown = [f"{each.part}: {each.quantity}" for each in found if each.verdict == growth.Verdict.GROWS]
    if grown:
        _say(f"these must be flat and are not: {', '.join(grown)}")
    return 1 if grown else 0


def _strike(line: Campaign, kind: Kind, number: int, of: str) -> None:
    _say(f"{of}: {kind.name}")
    outcome = line.run(kind, number)
    _say(f"    hit: {outcome.hit}; right again {outcome.healed_s:.0f} s later; {outcome.events} events")


def table(outcomes: Iterable[Outcome]) -> list[str]:
    """Return a table of the kinds in Markdown: how often each struck, the longest healing, what it hit last."""
    by_kind: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_kind.setdefault(outcome.kind, []).append(outcome)
    rows = [
        f"| {kind} | {len(of)} | {max(each.healed_s for each in of):.0f} | {of[-1].hit} |"
        for kind, of in sorted(by_kind.items())
    ]
    return ["| fault | times | right again after, s | hit, the last time |", "|---|---|---|---|", *rows]


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


if __name__ == "__main__":
    raise SystemExit(main())
