"""Why a chart is empty: every question to the store. Bounded, projected, keyed by `_id` where the store allows it.

Knows no page. Text of a user is only ever compared (`$eq`, `$in` of strings), never an operator.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from pymongo import DESCENDING
from pymongo.database import Database
from pymongo.errors import PyMongoError

from wattline_common.errors import StoreUnavailableError
from wattline_common.store import (
    AGGREGATED_METRICS,
    AGGREGATED_ROLLUPS,
    TRAINING_METRICS,
    TRAINING_RUN_SUMMARY,
    Document,
    RunSummary,
    WindowDocument,
    event_id,
)

__all__ = [
    "MAX_ARRIVALS",
    "MAX_EVENTS",
    "MAX_ROLLUPS",
    "MAX_RUNS",
    "MAX_WINDOWS",
    "count_runs",
    "events",
    "ingested_at",
    "is_run_id",
    "newest_run_id",
    "recent_runs",
    "rollups",
    "run",
    "samples",
    "translated",
    "windows",
]

MAX_RUNS = 2_000  # whose summaries a list of runs is made of
MAX_EVENTS = 2_000  # raw events by one call
MAX_WINDOWS = 20_160  # two weeks of minutes: only where a longer run has no rollups
MAX_ARRIVALS = 500  # silent runs whose newest events are looked up at once
MAX_ROLLUPS = 2_000  # hours, or days, of one run

_RUN_ID = re.compile(r"[^.$|\x00-\x1f\x7f]{1,256}")  # what the contract allows, within reason
_RUN_FIELDS: dict[str, int] = dict.fromkeys(
    (
        *("run_id", "status", "user_id", "project", "model_name", "dataset_name", "region_iso", "environment", "hosts"),
        *("simulated", "methods", "started_at", "last_event_at", "duration_s", "power_w"),
        *("energy_kwh", "energy_low_kwh", "energy_high_kwh", "measured_energy_kwh", "emissions_kg"),
    ),
    1,
)
_EVENT_FIELDS: dict[str, int] = dict.fromkeys(
    (
        *("event_type", "source_id", "seq", "timestamp_us", "interval_s", "power_avg_w"),
        *("cumulative_energy_kwh", "cumulative_energy_low_kwh", "cumulative_energy_high_kwh"),
        *("cumulative_emissions_kg", "loss", "accuracy", "epoch", "samples", "steps_covered"),
        *("energy_kwh", "cpu_utilization_pct", "gpu_utilization_pct"),
        *("devices.device_id", "devices.kind", "devices.power_w", "devices.energy_kwh"),
    ),
    1,
)
_SAMPLE_FIELDS: dict[str, int] = dict.fromkeys(
    ("host", "rank", "pue", "grid_intensity_g_per_kwh", "grid_intensity_source", "grid_intensity_kind", "devices"), 1
)
_WINDOW_FIELDS: dict[str, int] = dict.fromkeys(
    (
        *("window_start", "window_end", "length_s"),
        *("aggregate.power_avg_w", "aggregate.loss_avg", "aggregate.accuracy_avg"),
        *("aggregate.energy_kwh", "aggregate.energy_low_kwh", "aggregate.energy_high_kwh", "aggregate.emissions_kg"),
        *("aggregate.energy_cpu_kwh", "aggregate.energy_gpu_kwh", "aggregate.energy_memory_kwh"),
        *("aggregate.energy_other_kwh", "aggregate.samples"),
        *("aggregate.cpu_utilization_avg_pct", "aggregate.gpu_utilization_avg_pct"),
    ),
    1,
)

P = ParamSpec("P")
R = TypeVar("R")


def translated(query: Callable[P, R]) -> Callable[P, R]:
    """Turn the driver's errors into ours; their text may hold MONGODB_URI, so it stays in the cause only."""

    @wraps(query)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return query(*args, **kwargs)
        except PyMongoError as error:
            raise StoreUnavailableError("no good answer from the store at MONGODB_URI") from error

    return call


def is_run_id(text: object) -> bool:
    """Say whether something from outside, such as a URL, can be the identity of a run."""
    return isinstance(text, str) and _RUN_ID.fullmatch(text) is not None


@translated
def recent_runs(database: Database[Document], limit: int = MAX_RUNS) -> list[Document]:
    """Return summaries of the runs last heard of, newest first, without their sources."""
    cursor = database[TRAINING_RUN_SUMMARY].find({}, _RUN_FIELDS)
    return list(cursor.sort("last_event_at", DESCENDING).limit(max(1, min(limit, MAX_RUNS))))


@translated
def count_runs(database: Database[Document]) -> int:
    """Return about how many runs there are."""
    return database[TRAINING_RUN_SUMMARY].estimated_document_count()


@translated
def newest_run_id(database: Database[Document]) -> str | None:
    """Return the run to show when none is named: the running one last heard of, else any."""
    for condition in ({"status": "RUNNING"}, {}):
        cursor = database[TRAINING_RUN_SUMMARY].find(condition, {"_id": 1})
        for document in cursor.sort("last_event_at", DESCENDING).limit(1):
            return str(document["_id"])
    return None


@translated
def run(database: Database[Document], run_id: str) -> RunSummary | None:
    """Return a run's summary with its sources, or none."""
    return cast("RunSummary | None", database[TRAINING_RUN_SUMMARY].find_one({"_id": {"$eq": _checked(run_id)}}))


@translated
def ingested_at(database: Database[Document], run_ids: Sequence[str]) -> dict[str, datetime]:
    """Return when each run's newest event was stored, of at most `MAX_ARRIVALS` runs that have raw events."""
    wanted = {"_id": {"$in": [_checked(run_id) for run_id in run_ids[:MAX_ARRIVALS]]}}
    newest = {}
    for summary in database[TRAINING_RUN_SUMMARY].find(wanted, {"sources": 1}):
        heard = [source for source in summary["sources"].items() if "seq_max" in source[1]]
        source_id, source = max(heard, key=lambda item: item[1].get("last_timestamp_us", 0))
        newest[event_id(summary["_id"], source_id, source["seq_max"])] = summary["_id"]
    found = _by_ids(database, list(newest), {"ingested_at": 1})
    return {newest[document["_id"]]: document["ingested_at"] for document in found}


@translated
def events(database: Database[Document], event_ids: Sequence[str]) -> list[Document]:
    """Return the raw events of at most `MAX_EVENTS` identities, as far as they are there, in no order."""
    return _by_ids(database, event_ids, _EVENT_FIELDS)


@translated
def samples(database: Database[Document], event_ids: Sequence[str]) -> list[Document]:
    """Return the samples of at most `MAX_EVENTS` identities with all that is known of their devices."""
    return _by_ids(database, event_ids, _SAMPLE_FIELDS)


@translated
def windows(database: Database[Document], run_id: str, limit: int = MAX_WINDOWS) -> list[WindowDocument]:
    """Return a run's newest windows, oldest first."""
    cursor = database[AGGREGATED_METRICS].find({"run_id": {"$eq": _checked(run_id)}}, _WINDOW_FIELDS)
    found: list[Any] = list(cursor.sort("window_start", DESCENDING).limit(max(1, min(limit, MAX_WINDOWS))))
    return found[::-1]


@translated
def rollups(database: Database[Document], run_id: str, length_s: int) -> list[WindowDocument]:
    """Return a run's newest hours, or days, oldest first: figures as a window has them, from its settled windows."""
    condition = {"dimension": "run_id", "length_s": length_s, "key": {"$eq": _checked(run_id)}}
    cursor = database[AGGREGATED_ROLLUPS].find(condition, _WINDOW_FIELDS)
    found: list[Any] = list(cursor.sort("window_start", DESCENDING).limit(MAX_ROLLUPS))
    return found[::-1]


def _checked(run_id: str) -> str:
    if not is_run_id(run_id):
        raise ValueError("not the identity of a run")
    return run_id


def _by_ids(database: Database[Document], event_ids: Sequence[str], fields: Mapping[str, int]) -> list[Document]:
    if len(event_ids) > MAX_EVENTS:
        raise ValueError(f"{len(event_ids)} events asked for at once; at most {MAX_EVENTS}")
    if not event_ids:
        return []
    condition = {"_id": {"$in": [str(event_id) for event_id in event_ids]}}
    return list(database[TRAINING_METRICS].find(condition, fields))
