"""What broke in a step, by its looks alone: producers are told apart from the line that carries their events."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.live_runs.looks import Look
from tests.trends import slope

__all__ = ["WARM_SHARE", "Break", "arrival_per_s", "breaks", "is_judged", "warm"]

WARM_SHARE = 1 / 3
"""The share of a step in which the stream warms up: what it shows then is not judged."""
_FEWEST = 5  # looks that tell a trend
_GROWS = 0.05  # by more than this share of what comes, so that a lag that only wavers does not count
_LATE_S = 10.0
_FULL = "store is full"


@dataclass(frozen=True)
class Break:
    """What broke, since when in the step, and how it was seen."""

    what: str
    at_s: float
    seen: str


def warm(looks: Sequence[Look]) -> list[Look]:
    """Return the looks that are judged."""
    return [look for look in looks if look.at_s >= looks[-1].at_s * WARM_SHARE] if looks else []


def is_judged(looks: Sequence[Look]) -> bool:
    """Say whether there are enough looks to tell a trend."""
    return len(warm(looks)) // 2 >= _FEWEST


def arrival_per_s(looks: Sequence[Look]) -> float:
    """Return how many events came on the topic a second."""
    seconds = looks[-1].at_s - looks[0].at_s if looks else 0.0
    return (looks[-1].written - looks[0].written) / seconds if seconds else 0.0


def breaks(looks: Sequence[Look], dead: str = "") -> list[Break]:
    """Return all that broke, in the order of time; ``dead`` is the process that ended, and its last words."""
    judged = warm(looks)
    found = [Break(_named(dead, "a process died"), looks[-1].at_s if looks else 0.0, dead)] if dead else []
    found += [*_unready(looks), *_late_producer(judged), *_growing_lag(judged)]
    return sorted(found, key=lambda each: each.at_s)


def _unready(looks: Sequence[Look]) -> list[Break]:
    """Find two probes in a row that failed; what they say is told."""
    for before, look in itertools.pairwise(looks):
        if not before.ready and not look.ready:
            return [Break(_named(look.told, "the stream is not ready"), before.at_s, f"/readyz: {look.told}")]
    return []


def _named(told: str, else_: str) -> str:
    return f"the {_FULL}" if _FULL in told else else_


def _late_producer(looks: Sequence[Look]) -> list[Break]:
    """Find simulators that get later by a second in twenty, and are late in the end."""
    if not looks or not _grows(looks, lambda look: look.producer_late_s, _GROWS):
        return []
    if (late_s := looks[-1].producer_late_s) < _LATE_S:
        return []
    waiting = looks[-1].undelivered
    why = (
        f"{waiting} events wait for Kafka" if waiting > arrival_per_s(looks) * _LATE_S else "Kafka takes what it sends"
    )
    seen = f"the newest event is {late_s:.0f} s old when it reaches the topic, and {why}"
    return [Break("the simulator does not keep pace", _since(looks, lambda look: look.producer_late_s), seen)]


def _growing_lag(looks: Sequence[Look]) -> list[Break]:
    """Find a lag that takes a share of what comes, and is more than a moment in the end."""
    arrival = arrival_per_s(looks)
    if not arrival or not _grows(looks, lambda look: look.lag, _GROWS * arrival):
        return []
    last = statistics.median(look.lag for look in looks[-3:])
    if last < _LATE_S * arrival:
        return []
    per_s = slope([[(look.at_s, look.lag) for look in looks]]) or 0.0
    seen = f"{last:.0f} events behind, {last / arrival:.0f} s of what comes; {per_s / arrival:.0%} of it is left over"
    return [Break("the lag grows without bound", _since(looks, lambda look: look.lag / arrival), seen)]


def _grows(looks: Sequence[Look], of: Callable[[Look], float], least_per_s: float) -> bool:
    """Say whether it grows faster than that over all the looks, and in the second half of them as well."""
    second = looks[len(looks) // 2 :]
    if len(second) < _FEWEST:
        return False
    slopes = [slope([[(look.at_s, of(look)) for look in each]]) for each in (looks, second)]
    return all(found is not None and found > least_per_s for found in slopes)


def _since(looks: Sequence[Look], seconds: Callable[[Look], float]) -> float:
    """Return from when on it has been too late without a break."""
    since_s = looks[-1].at_s
    for look in reversed(looks):
        if seconds(look) < _LATE_S:
            break
        since_s = look.at_s
    return since_s
