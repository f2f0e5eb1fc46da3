"""What the steps showed, as text: a row a step, then what broke and how it showed."""

from __future__ import annotations

import itertools
import statistics
import textwrap
from collections.abc import Iterator, Sequence

from bench.live_runs.looks import Look
from bench.live_runs.step import Step
from bench.live_runs.verdict import arrival_per_s, is_judged, warm
from tests.trends import slope

__all__ = ["report"]

_HEAD = (
    *("live runs", "minutes", "events/s", "lag, s: median, highest", "lag grows by, of what comes", "a batch, s"),
    *("simulator late, s", "undelivered", "cores", "load average", "stored once", "all stored, settled after, s"),
)


def report(steps: Sequence[Step]) -> list[str]:
    """Return tables in Markdown; all but the time is of the looks after the stream has warmed up."""
    rows = ["| " + " | ".join(_HEAD) + " |", "|" + " --- |" * len(_HEAD)]
    rows += ["| " + " | ".join(_row(step)) + " |" for step in steps]
    return [*rows, "", *_processes(steps), "", *_ends(steps)]


def _row(step: Step) -> list[str]:
    looks = warm(step.looks)
    if len(looks) < 2:
        return [f"{step.plan.live:,}", *[""] * (len(_HEAD) - 1)]
    arrival = arrival_per_s(looks) or 1.0
    lags_s = [look.lag / arrival for look in looks]
    grows = (slope([[(look.at_s, look.lag) for look in looks]]) or 0.0) / arrival
    first, last = looks[0], looks[-1]
    batches = last.batches - first.batches
    return [
        *(f"{step.plan.live:,}", f"{step.looks[-1].at_s / 60:.1f}", f"{arrival:.0f}"),
        *(f"{statistics.median(lags_s):.1f}, {max(lags_s):.1f}", f"{grows:+.1%}"),
        f"{(last.batch_s - first.batch_s) / batches:.2f}" if batches else "none ended",
        f"{statistics.median(look.producer_late_s for look in looks):.1f}, {last.producer_late_s:.1f} at the end",
        f"{max(look.undelivered for look in looks)}",
        f"{sum(_cores(looks).values()):.2f}",
        f"{statistics.median(look.load_average for look in looks):.1f}",
        *(
            _ONCE[step.booking.is_once],
            f"{_after(step.booking.stored_s)}, {_after(step.booking.settled_s)}",
        ),
    ]


def _after(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.0f}"


def _cores(looks: Sequence[Look]) -> dict[str, float]:
    """Return how many cores each process kept busy; a worker that ended takes its seconds with it, not below none."""
    found = {}
    for name in {name for look in looks for name in look.cpu_s}:
        seen = [look for look in looks if name in look.cpu_s]
        spent_s = sum(max(0.0, b.cpu_s[name] - a.cpu_s[name]) for a, b in itertools.pairwise(seen))
        found[name] = spent_s / max(seen[-1].at_s - seen[0].at_s, 1.0)
    return found


def _processes(steps: Sequence[Step]) -> Iterator[str]:
    """Yield cores and highest memory of each process, a column a step."""
    seen = [(step, warm(step.looks), _cores(warm(step.looks))) for step in steps]
    names = sorted({name for _, _, cores in seen for name in cores})
    yield "| cores; MB at most | " + " | ".join(f"{step.plan.live:,} runs" for step, _, _ in seen) + " |"
    yield "| --- |" + " --- |" * len(seen)
    for name in names:
        most = [max((look.memory_mb.get(name, 0.0) for look in looks), default=0.0) for _, looks, _ in seen]
        pairs = zip((cores.get(name) for _, _, cores in seen), most, strict=True)
        cells = ["" if cores is None else f"{cores:.2f}; {mb:.0f}" for cores, mb in pairs]
        yield f"| {_NAMES.get(name, name)} | " + " | ".join(cells) + " |"


_ONCE = {True: "yes", False: "NO", None: "not compared"}
_MOST_CHARACTERS = 400
_NAMES = {"process": "stream driver", "jvm": "stream JVM", "python workers": "stream workers"}


def _ends(steps: Sequence[Step]) -> Iterator[str]:
    for step in steps:
        if not step.breaks:
            told = "nothing broke" if is_judged(step.looks) else "nothing broke, but too few looks to tell a trend"
            yield f"{step.plan.live:,} live runs: {told}; {step.booking.words}"
            continue
        for each in step.breaks:
            yield f"{step.plan.live:,} live runs: {each.what}, from {each.at_s:.0f} s on: {_short(each.seen)}"
        yield from (f"    {_short(shown)}" for shown in step.shown)
        yield f"    in the end: {_short(step.booking.words)}"


def _short(text: str) -> str:
    return textwrap.shorten(text, _MOST_CHARACTERS, placeholder=" …")
