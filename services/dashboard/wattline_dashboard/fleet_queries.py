"""Why an overview is empty: the questions about many runs at once. Bounded, projected; only numbers and dates go in.

Settled hours come from their rollups; the store adds up what other windows there are, by run and stretch of time.
Which runs count, and by what they are grouped, is decided on the result, so that one answer serves every filter.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import Any

from pymongo import DESCENDING
from pymongo.database import Database

from wattline_common.store import (
    AGGREGATED_METRICS,
    AGGREGATED_ROLLUPS,
    DIRTY_WINDOWS,
    HOUR_S,
    TRAINING_RUN_SUMMARY,
    WINDOW_LENGTH_S,
    Document,
)
from wattline_dashboard.periods import Stretch
from wattline_dashboard.queries import translated

__all__ = [
    "MAX_MARKS",
    "MAX_ROWS",
    "MAX_RUNNING",
    "MAX_SPARK_WINDOWS",
    "hour_rows",
    "power_windows",
    "running",
    "summaries",
    "unsettled_hours",
    "window_rows",
]

MAX_ROWS = 50_000  # run and stretch of time
MAX_MARKS = 20_000  # of windows still to be settled
MAX_RUNNING = 1_000
MAX_SPARK_WINDOWS = 40_000  # behind the small curves of a table
_AT_ONCE = 2_000  # identities in one question

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_HOUR = datetime.timedelta(seconds=HOUR_S)
_SUMS = (
    *("energy_kwh", "measured_energy_kwh", "emissions_kg"),
    *("energy_cpu_kwh", "energy_gpu_kwh", "energy_memory_kwh", "energy_other_kwh"),
)
_SUMMARY_FIELDS: dict[str, int] = dict.fromkeys(
    (
        *("status", "user_id", "project", "model_name", "dataset_name", "region_iso", "environment"),
        *("simulated", "methods", "started_at", "last_event_at", "duration_s", "power_w"),
    ),
    1,
)


@translated
def window_rows(
    database: Database[Document], stretches: Sequence[Stretch], since: datetime.datetime | None, grain_s: int
) -> list[Document]:
    """Return the sums of every run's windows that begin in the stretches of time, by ``grain_s``.

    `_id` has run_id, start, and is_current: not before ``since``. More than `MAX_ROWS` are cut off: the caller sees
    that by their number.
    """
    if not stretches:
        return []
    ranges = [{"window_start": {"$gte": begin, "$lt": end}} for begin, end in stretches]
    condition: Document = {"length_s": WINDOW_LENGTH_S, "$or": ranges}
    into: Document = {"$mod": [{"$subtract": ["$window_start", _EPOCH]}, grain_s * 1000]}
    identity = {
        "run_id": "$run_id",
        "start": {"$subtract": ["$window_start", into]},
        "is_current": {"$gte": ["$window_start", since or _EPOCH]},
    }
    sums = {name: {"$sum": f"$aggregate.{name}"} for name in _SUMS}
    pipeline: list[Document] = [{"$match": condition}, {"$group": {"_id": identity, **sums}}, {"$limit": MAX_ROWS}]
    return list(database[AGGREGATED_METRICS].aggregate(pipeline))


@translated
def hour_rows(
    database: Database[Document], begin: datetime.datetime, since: datetime.datetime | None
) -> list[Document]:
    """Return every run's settled hours from ``begin`` on, in the form of `window_rows`; at most `MAX_ROWS`."""
    condition = {"dimension": "run_id", "length_s": HOUR_S, "window_start": {"$gte": begin}}
    fields = dict.fromkeys(("key", "window_start", *(f"aggregate.{name}" for name in _SUMS)), 1)
    found = database[AGGREGATED_ROLLUPS].find(condition, fields).limit(MAX_ROWS)
    return [
        {
            "_id": {
                "run_id": hour["key"],
                "start": hour["window_start"],
                "is_current": hour["window_start"] >= (since or _EPOCH),
            },
            **{name: hour["aggregate"][name] for name in _SUMS},
        }
        for hour in found
    ]


@translated
def unsettled_hours(database: Database[Document]) -> set[datetime.datetime] | None:
    """Return the hours that have windows still to be settled, so that their rollups may lack something.

    None where there are more marks than are read: then no rollup is to be trusted.
    """
    marks = list(database[DIRTY_WINDOWS].find({}, {"_id": 0, "window_start_us": 1}).limit(MAX_MARKS))
    hour_us = HOUR_S * 1_000_000
    hours = {mark["window_start_us"] // hour_us for mark in marks if mark.get("window_start_us") is not None}
    return None if len(marks) == MAX_MARKS else {_EPOCH + number * _HOUR for number in hours}


@translated
def summaries(database: Database[Document], run_ids: Iterable[str]) -> list[Document]:
    """Return the summaries of the given runs, by exact identity, without what each source said."""
    wanted = sorted(set(run_ids))
    found: list[Document] = []
    for start in range(0, len(wanted), _AT_ONCE):
        condition = {"_id": {"$in": wanted[start : start + _AT_ONCE]}}
        found += database[TRAINING_RUN_SUMMARY].find(condition, _SUMMARY_FIELDS)
    return found


@translated
def running(database: Database[Document]) -> list[Document]:
    """Return the runs that have not ended, the one last heard of first."""
    cursor = database[TRAINING_RUN_SUMMARY].find({"status": {"$eq": "RUNNING"}}, _SUMMARY_FIELDS)
    return list(cursor.sort("last_event_at", DESCENDING).limit(MAX_RUNNING))


@translated
def power_windows(database: Database[Document], run_ids: Sequence[str]) -> list[Any]:
    """Return the mean power in each window of the given runs, newest window first."""
    fields = {"_id": 0, "run_id": 1, "window_start": 1, "aggregate.power_avg_w": 1}
    condition = {"run_id": {"$in": [str(run_id) for run_id in run_ids[:_AT_ONCE]]}}
    return list(
        database[AGGREGATED_METRICS].find(condition, fields).sort("window_start", DESCENDING).limit(MAX_SPARK_WINDOWS)
    )
