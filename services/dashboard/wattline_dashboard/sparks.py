"""The small curves of tables: a run's power from its windows, in a few points; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

__all__ = ["MAX_POINTS", "sparks"]

MAX_POINTS = 30


def sparks(windows_newest_first: Iterable[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Return each run's power in order of time, at most `MAX_POINTS` means; a window without a sample has none."""
    watts: dict[str, list[float]] = {}
    for window in windows_newest_first:
        power_w = window["aggregate"].get("power_avg_w")
        if power_w is not None:
            watts.setdefault(window["run_id"], []).append(power_w)
    return {run_id: _line(values[::-1]) for run_id, values in watts.items()}


def _line(values: Sequence[float]) -> list[float]:
    if len(values) == 1:
        return [values[0], values[0]]  # one point draws nothing
    count = min(len(values), MAX_POINTS)
    edges = [len(values) * number // count for number in range(count + 1)]
    return [sum(values[begin:end]) / (end - begin) for begin, end in pairwise(edges)]
