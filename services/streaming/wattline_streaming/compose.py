"""How rollups are composed, as pure functions: windows make a run's hours; these its days and the groups' hours.

Sums are rounded once, so neither the order of the parts nor how they are grouped matters.
"""

from __future__ import annotations

import datetime
import operator
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from wattline_common.store import (
    DAY_S,
    HOUR_S,
    MEAN_WEIGHTS,
    ROLLUP_DIMENSIONS,
    Document,
    Rollup,
    rollup_id,
)
from wattline_common.sums import total
from wattline_streaming.typed import UNKNOWN

__all__ = [
    "GROUPS",
    "RUN",
    "all_rollups",
    "floor",
    "group_days",
    "group_hours",
    "is_whole",
    "run_days",
    "run_hours",
]

RUN, GROUPS = ROLLUP_DIMENSIONS[0], ROLLUP_DIMENSIONS[1:]
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_COUNTS = ("windows", "events", "samples", *(name for name in MEAN_WEIGHTS.values() if name.endswith("_count")))
_SUMS = (
    "energy_kwh",
    "energy_low_kwh",
    "energy_high_kwh",
    "measured_energy_kwh",
    "energy_cpu_kwh",
    "energy_gpu_kwh",
    "energy_memory_kwh",
    "energy_other_kwh",
    "emissions_kg",
    "interval_s",
)

_WEIGHTLESS = dict.fromkeys(MEAN_WEIGHTS.values(), 0)
_COLUMNS = (*_COUNTS, *_SUMS, *MEAN_WEIGHTS, "power_min_w", "power_max_w")
_NEEDED = {"context", *_COLUMNS} - {"windows", "power_min_w", *MEAN_WEIGHTS.values()}
_row = operator.itemgetter(*_COLUMNS)
_Figures = Mapping[str, Any]


def is_whole(window: Mapping[str, Any]) -> bool:
    """Return whether a window has all that rollups are made of; one that has not is damaged, which the audit tells."""
    aggregate = window.get("aggregate") or {}
    return isinstance(window.get("window_start"), datetime.datetime) and aggregate.keys() >= _NEEDED


def run_hours(windows: Iterable[Mapping[str, Any]]) -> list[Rollup]:
    """Return the hours of runs that all of their windows make.

    An hour counts in one group by dimension: the highest that its windows name, as a window does with its events.
    """
    parts: dict[tuple[str, bool, datetime.datetime], list[Document]] = defaultdict(list)
    for window in filter(is_whole, windows):
        aggregate = window["aggregate"]
        hour = floor(window["window_start"], HOUR_S)
        parts[window["run_id"], bool(aggregate["context"]["simulated"]), hour].append(aggregate)
    hours = []
    for (run_id, simulated, hour), aggregates in parts.items():
        keys = {name: [max((one["context"][name] for one in aggregates), key=_rank)] for name in GROUPS}
        figures = [{**one, "windows": 1, "power_min_w": one["power_avg_w"]} for one in aggregates]
        hours.append(_rollup(RUN, run_id, simulated, hour, HOUR_S, figures, runs=1) | {"keys": keys})
    return cast(list[Rollup], hours)


def run_days(hours: Iterable[Rollup]) -> list[Rollup]:
    """Return the days of runs that all of their hours make."""
    parts: dict[tuple[str | None, bool, datetime.datetime], list[Rollup]] = defaultdict(list)
    for hour in hours:
        parts[hour["key"], hour["simulated"], floor(hour["window_start"], DAY_S)].append(hour)
    days = []
    for (run_id, simulated, day), of_day in parts.items():
        keys = {name: sorted({key for hour in of_day for key in hour["keys"][name]}, key=_rank) for name in GROUPS}
        figures = [hour["aggregate"] for hour in of_day]
        days.append(_rollup(RUN, run_id, simulated, day, DAY_S, figures, runs=1) | {"keys": keys})
    return cast(list[Rollup], days)


def group_hours(hours: Iterable[Rollup]) -> list[Rollup]:
    """Return the hours of users, projects, models and regions that the hours of all runs make."""
    parts: dict[tuple[str, str | None, bool, datetime.datetime], list[_Figures]] = defaultdict(list)
    for hour in hours:
        for name, keys in hour["keys"].items():
            for key in keys:
                parts[name, key, hour["simulated"], hour["window_start"]].append(hour["aggregate"])
    made = [_rollup(*group, HOUR_S, figures, runs=len(figures)) for group, figures in parts.items()]
    return cast(list[Rollup], made)


def group_days(hours: Iterable[Rollup], days_of_runs: Iterable[Mapping[str, Any]]) -> list[Rollup]:
    """Return the days of groups that all of their hours make; the days of all runs tell how many runs these are."""
    runs = Counter(
        (name, key, day["simulated"], day["window_start"])
        for day in days_of_runs
        for name, keys in day["keys"].items()
        for key in keys
    )
    parts: dict[tuple[str, str | None, bool, datetime.datetime], list[_Figures]] = defaultdict(list)
    for hour in hours:
        day = floor(hour["window_start"], DAY_S)
        parts[hour["dimension"], hour["key"], hour["simulated"], day].append(hour["aggregate"])
    return cast(list[Rollup], [_rollup(*g, DAY_S, figures, runs=runs[g]) for g, figures in parts.items()])


def all_rollups(hours_of_runs: Sequence[Rollup]) -> list[Rollup]:
    """Return the hours of runs with all that they make; a day has to be whole in them."""
    days, hours = run_days(hours_of_runs), group_hours(hours_of_runs)
    return [*hours_of_runs, *days, *hours, *group_days(hours, days)]


def floor(moment: datetime.datetime, length_s: int) -> datetime.datetime:
    """Return the start of the hour or day of UTC that holds a moment."""
    return moment - (moment - _EPOCH) % datetime.timedelta(seconds=length_s)


def _rollup(
    dimension: str,
    key: str | None,
    simulated: bool,
    start: datetime.datetime,
    length_s: int,
    parts: Sequence[_Figures],
    *,
    runs: int,
) -> Document:
    return {
        "_id": rollup_id(dimension, key, simulated, start, length_s),
        "dimension": dimension,
        "key": key,
        "simulated": simulated,
        "window_start": start,
        "window_end": start + datetime.timedelta(seconds=length_s),
        "length_s": length_s,
        "aggregate": {"runs": runs, **_composed(parts)},
    }


def _composed(parts: Sequence[_Figures]) -> Document:
    """Return what the parts make together. A window of an older version has no weights, and so no part in means."""
    columns = dict(zip(_COLUMNS, zip(*(_row({**_WEIGHTLESS, **part}) for part in parts), strict=True), strict=True))
    return {
        **{name: sum(columns[name]) for name in _COUNTS},
        **{name: total(columns[name]) for name in _SUMS},
        **{mean: _weighted_mean(columns[mean], columns[weight]) for mean, weight in MEAN_WEIGHTS.items()},
        "power_min_w": min((value for value in columns["power_min_w"] if value is not None), default=None),
        "power_max_w": max((value for value in columns["power_max_w"] if value is not None), default=None),
    }


def _weighted_mean(means: Sequence[float | None], weights: Sequence[float]) -> float | None:
    weighed = [
        (mean * weight, weight) for mean, weight in zip(means, weights, strict=True) if mean is not None and weight
    ]
    if not weighed:
        return None
    return total(value for value, _ in weighed) / total(weight for _, weight in weighed)


def _rank(key: str | None) -> tuple[bool, bool, str]:
    return key is not None, key != UNKNOWN, key or ""
