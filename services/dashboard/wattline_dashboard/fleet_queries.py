"""Why an overview is empty: the questions about many runs at once. Bounded, projected; only numbers and dates go in.

The store adds windows up by run and stretch of time; which runs count, and by what they are grouped, is decided here
on the result, so that one answer serves every filter.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import Any

from pymongo import DESCENDING
from pymongo.database import Database

from wattline_common.store import (
    AGGREGATED_METRICS,
    TRAINING_RUN_SUMMARY,
    WINDOW_LENGTH_S,
    Document,
)
from wattline_dashboard.queries import translated

__all__ = ["MAX_ROWS", "MAX_RUNNING", "MAX_SPARK_WINDOWS", "period_rows", "power_windows", "running", "summaries"]

MAX_ROWS = 50_000  # run and stretch of time
MAX_RUNNING = 1_000
MAX_SPARK_WINDOWS = 40_000  # behind the small curves of a table
_AT_ONCE = 2_000  # identities in one question

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
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
def period_rows(
    database: Database[Document],
    since: datetime.datetime | None,
    length: datetime.timedelta | None,
    grain_s: int,
) -> list[Document]:
    """Return the sums of every run's windows in each stretch of ``grain_s``, from one period before ``since`` on.

    `_id` has run_id, start, and is_current: not in the period before. More than `MAX_ROWS` are cut off: the caller
    sees that by their number.
    """
    condition: Document = {"length_s": WINDOW_LENGTH_S}
    begin = _EPOCH
    if since is not None and length is not None:
        begin = since
        condition["window_start"] = {"$gte": since - length}
    into: Document = {"$mod": [{"$subtract": ["$window_start", _EPOCH]}, grain_s * 1000]}
    identity = {
        "run_id": "$run_id",
        "start": {"$subtract": ["$window_start", into]},
        "is_current": {"$gte": ["$window_start", begin]},
    }
    sums = {name: {"$sum": f"$aggregate.{name}"} for name in _SUMS}
    pipeline: list[Document] = [{"$match": condition}, {"$group": {"_id": identity, **sums}}, {"$limit": MAX_ROWS}]
    return list(database[AGGREGATED_METRICS].aggregate(pipeline))


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
