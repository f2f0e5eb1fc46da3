"""What grows while a line is struck for hours, and whether it may: pure, on readings that were taken before.

What holds all that ever came grows with it. All else must be flat once it is warm, or a long life ends it.
"""

from __future__ import annotations

import enum
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tests.trends import slope

__all__ = ["Bound", "Growth", "Reading", "Verdict", "growths", "table"]

_FEWEST = 5  # readings of one life: two or three are a line through noise
_HOUR_S = 3600.0
_EVENTS = 1000.0


@dataclass(frozen=True)
class Bound:
    """How much a measure that must be flat may grow in what was seen of one life: a share of it, or the least."""

    unit: str
    share: float
    least: float


_BOUNDS = {
    "RSS": Bound("MB", 0.10, 24.0),
    "disk": Bound("MB", 0.10, 8.0),
    "files": Bound("", 0.10, 200.0),
    "open files": Bound("", 0.10, 24.0),
    "threads": Bound("", 0.10, 12.0),
    "count": Bound("", 0.0, 0.0),
}
# They hold every event that came, a word of each thing that happened, or have not yet all that they keep.
_MUST_GROW = {
    ("store", "RSS"),
    ("store journal", "disk"),
    ("Kafka log", "disk"),
    ("logs", "disk"),
    ("checkpoint that fills", "disk"),
    ("checkpoint that fills", "files"),
    ("raw events", "count"),
    ("messages of the topic", "count"),
}
# A JVM takes its heap and compiles for some minutes.
_WARM_AFTER_S = {"stream JVM": 600.0, "Kafka": 600.0, "registry": 600.0, "store": 600.0}
_ELSE_WARM_AFTER_S = 180.0


@dataclass(frozen=True)
class Reading:
    """One measure at a moment of quiet: ``life`` tells one process, or one folder, from what came in its place.

    ``at_s`` counts the time under faults only, in seconds; ``events`` are those in the store by then.
    """

    at_s: float
    events: int
    part: str
    quantity: str
    life: str
    value: float


class Verdict(enum.StrEnum):
    """What is to be said of a measure."""

    MAY_GROW = "may grow"
    FLAT = "flat"
    GROWS = "GROWS"
    UNKNOWN = "not judged"


@dataclass(frozen=True)
class Growth:
    """One measure's growth, beyond its warm-up where it must be flat.

    ``growth`` is that over ``seen_s``, the longest life that was seen; slopes are none where too little was.
    """

    part: str
    quantity: str
    unit: str
    median: float
    highest: float
    per_hour: float | None
    per_1000_events: float | None
    growth: float
    allowed: float | None
    seen_s: float
    verdict: Verdict


def growths(readings: Iterable[Reading]) -> list[Growth]:
    """Judge each measure by its readings."""
    by_measure: dict[tuple[str, str], list[Reading]] = {}
    for reading in readings:
        by_measure.setdefault((reading.part, reading.quantity), []).append(reading)
    return [_judged(part, quantity, of) for (part, quantity), of in sorted(by_measure.items())]


def _judged(part: str, quantity: str, readings: Sequence[Reading]) -> Growth:
    bound, may_grow = _BOUNDS[quantity], (part, quantity) in _MUST_GROW
    warm_after_s = 0.0 if may_grow else _WARM_AFTER_S.get(part, _ELSE_WARM_AFTER_S)
    lives = _lives(readings, warm_after_s)
    per_s = slope(_points(life, lambda reading: reading.at_s) for life in lives)
    per_event = slope(_points(life, lambda reading: reading.events) for life in lives)
    seen_s = max((life[-1].at_s - life[0].at_s for life in lives), default=0.0)
    values = [reading.value for life in lives for reading in life] or [reading.value for reading in readings]
    growth, median = (per_s or 0.0) * seen_s, statistics.median(values)
    allowed = None if may_grow else max(bound.least, bound.share * median)
    return Growth(
        part=part,
        quantity=quantity,
        unit=bound.unit,
        median=median,
        highest=max(values),
        per_hour=None if per_s is None else per_s * _HOUR_S,
        per_1000_events=None if per_event is None else per_event * _EVENTS,
        growth=growth,
        allowed=allowed,
        seen_s=seen_s,
        verdict=_verdict(growth, allowed, max(map(len, lives), default=0)),
    )


def _verdict(growth: float, allowed: float | None, readings: int) -> Verdict:
    if allowed is None:
        return Verdict.MAY_GROW
    if readings < _FEWEST:
        return Verdict.UNKNOWN
    return Verdict.GROWS if growth > allowed else Verdict.FLAT


def _lives(readings: Sequence[Reading], warm_after_s: float) -> list[list[Reading]]:
    """Return the readings of each life that were taken when it was warm, in the order of time."""
    lives: dict[str, list[Reading]] = {}
    for reading in sorted(readings, key=lambda reading: reading.at_s):
        lives.setdefault(reading.life, []).append(reading)
    warm = ([each for each in life if each.at_s - life[0].at_s >= warm_after_s] for life in lives.values())
    return [life for life in warm if life]


def _points(life: Sequence[Reading], of: Callable[[Reading], float]) -> list[tuple[float, float]]:
    return [(of(reading), reading.value) for reading in life]


def table(found: Iterable[Growth]) -> list[str]:
    """Return a table in Markdown: what must be flat first."""
    rows = [
        f"| {each.part}: {each.quantity}{f', {each.unit}' if each.unit else ''} | {each.median:,.0f} "
        f"| {each.highest:,.0f} | {_signed(each.per_hour)} | {_signed(each.per_1000_events)} | {_told(each)} |"
        for each in sorted(found, key=lambda each: (each.allowed is None, each.part, each.quantity))
    ]
    return [
        "| measure, beyond its warm-up | median | highest | an hour | 1,000 events | verdict |",
        "|---|---|---|---|---|---|",
        *rows,
    ]


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+,.{0 if abs(value) >= 10 else 1}f}"


def _told(each: Growth) -> str:
    if each.allowed is None:
        return each.verdict
    if each.verdict == Verdict.UNKNOWN:
        return f"{each.verdict}: no life had {_FEWEST} readings when it was warm"
    return f"{each.verdict}: {_signed(each.growth)} in {each.seen_s / 60:.0f} min, {each.allowed:,.0f} allowed"
