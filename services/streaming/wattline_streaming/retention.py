"""Raw events of old runs are deleted, whole runs only; what is left knows an event that comes again from a new one.

A run is closed before the first of its events goes: from then on no event is added to it, so its summary and windows
stand as they are. Whoever reads raw events to judge a run asks `retentions` first.
"""

from __future__ import annotations

import datetime
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pymongo.database import Database

from wattline_common import store
from wattline_common.store import Document, RetainedSource
from wattline_common.store_errors import answering

__all__ = [
    "AFTER_RETENTION",
    "Deleted",
    "Retainer",
    "after_retention",
    "is_known",
    "is_too_late",
    "missing_ranges",
    "retentions",
]

_LOG = logging.getLogger(__name__)
AFTER_RETENTION = "after_retention"
_MOST_RUNS = 20  # looked at in a step
_MOST_EVENTS = 5_000  # deleted at once
_MOST_GAPS = 1_000  # of a source, kept in its run's summary
_STEP_S = 1.0  # after this long a step leaves the rest to the next
_PAUSE_S = 60.0  # between two rounds over all runs that are old enough


@dataclass(frozen=True, slots=True)
class Deleted:
    """Raw events that were deleted, and runs that thereby have none left."""

    events: int = 0
    runs: int = 0

    def __add__(self, more: Deleted) -> Deleted:
        """Return the sums."""
        return Deleted(self.events + more.events, self.runs + more.runs)


def retentions(database: Database[Document], run_ids: Iterable[str]) -> dict[str, Document]:
    """Return what is known of those of the runs whose raw events are deleted, or are being deleted."""
    found = store.with_ids(database[store.TRAINING_RUN_SUMMARY], list(run_ids), {"retention": 1})
    return {run["_id"]: run["retention"] for run in found if "retention" in run}


def is_known(retention: Mapping[str, Any], source_id: str, seq: int) -> bool:
    """Return whether an event had been accepted before the raw events of its run went."""
    source = retention["sources"].get(source_id)
    if source is None or seq > source["seq_max"]:
        return False
    return not any(first <= seq <= last for first, last in source["missing"])


def is_too_late(closed: Mapping[str, Mapping[str, Any]], fields: Mapping[str, Any]) -> bool:
    """Return whether an event's run takes no event any more, by `retentions`, and this one is none that it had."""
    retention = closed.get(fields["run_id"])
    return retention is not None and not is_known(retention, fields["source_id"], fields["seq"])


def after_retention(retention: Mapping[str, Any]) -> str:
    """Return the words for an event that comes too late to be counted."""
    return (
        f"the raw events of its run are deleted since {retention['began_at']:%Y-%m-%d}, so its totals stand; "
        "WATTLINE_RAW_RETENTION_DAYS says how long runs are kept open"
    )


def missing_ranges(seqs: Iterable[int], seq_max: int) -> list[list[int]]:
    """Return [first, last] of each gap in the numbers from 0 to ``seq_max``."""
    gaps, expected = [], 0
    for seq in (*sorted(seqs), seq_max + 1):
        if seq > expected:
            gaps.append([expected, seq - 1])
        expected = seq + 1
    return gaps


class Retainer:
    """Deletes the raw events of runs that are finished, settled and old, a bounded piece a step.

    Its caller keeps it, the ledger and the settler from running at the same time. What a crash has left half deleted is
    deleted to its end, also when ``age`` has become none, which is to keep everything.
    """

    def __init__(
        self,
        database: Database[Document],
        *,
        age: datetime.timedelta | None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._summaries = database[store.TRAINING_RUN_SUMMARY]
        self._raw = database[store.TRAINING_METRICS]
        self._age = age
        self._clock_s = clock_s
        self._deleting: deque[str] | None = None  # runs that are closed; none is known before the first step
        self._after = ""  # the run that the last step came to
        self._next_round_s = -math.inf
        self._told: set[str] = set()

    def step(self, now: datetime.datetime) -> Deleted:
        """Delete what is old at ``now``, for about a second; return how much it was.

        Raises what `answering` raises; whatever was done by then is right, and the next step goes on.
        """
        with answering():
            return self._step(now)

    def _step(self, now: datetime.datetime) -> Deleted:
        until_s = self._clock_s() + _STEP_S
        if self._deleting is None:
            begun = self._summaries.find({"raw_complete": False, "retention.deleting": True}, {"_id": 1})
            self._deleting = deque(run["_id"] for run in begun)
        if not self._deleting and self._age is not None and self._clock_s() >= self._next_round_s:
            self._close(now, now - self._age, until_s, self._deleting)
        deleted = Deleted()
        while self._deleting and self._clock_s() < until_s:
            deleted += self._delete(self._deleting, now)
        return deleted

    def _close(self, now: datetime.datetime, before: datetime.datetime, until_s: float, closed: deque[str]) -> None:
        """Close the next runs that are old enough, in order of their names, so that none waits behind another."""
        old = {"raw_complete": None, "finished_at": {"$lte": before}, "_id": {"$gt": self._after}}
        runs = list(self._summaries.find(old, {"settled": 1}).sort("_id", 1).limit(_MOST_RUNS))
        marks = self._database[store.DIRTY_WINDOWS].find({"run_id": {"$in": [run["_id"] for run in runs]}})
        is_open = {mark["run_id"] for mark in marks}
        for run in runs:
            self._after = run["_id"]
            if "settled" in run and run["_id"] not in is_open and self._close_run(run["_id"], now, before):
                closed.append(run["_id"])
            if self._clock_s() >= until_s:
                return
        if len(runs) < _MOST_RUNS:
            self._after, self._next_round_s = "", self._clock_s() + _PAUSE_S

    def _close_run(self, run_id: str, now: datetime.datetime, before: datetime.datetime) -> bool:
        """Note which events there are, in one write; return false for a run that must keep them."""
        found = list(self._raw.aggregate([{"$match": {"run_id": run_id}}, {"$group": _BY_SOURCE}]))
        if any(source["ingested_at"] > before for source in found):
            return False  # told long ago, but it has come only now: more of it may be on its way
        events = sum(source["events"] for source in found)
        if events != self._in_windows(run_id):
            return self._keeps(run_id, "its windows count other events than it has: run `audit --repair`")
        sources: dict[str, RetainedSource] = {}
        for source in found:
            gaps = self._gaps(run_id, source)
            if len(gaps) > _MOST_GAPS:
                return self._keeps(run_id, f"a source has more than {_MOST_GAPS} gaps")
            sources[source["_id"]] = {"seq_max": source["seq_max"], "missing": gaps}
        known = {"events": events, "sources": sources, "began_at": now, "deleting": True}
        change = {"$set": {"raw_complete": False, "retention": known}}
        return self._summaries.update_one({"_id": run_id, "raw_complete": None}, change).modified_count == 1

    def _keeps(self, run_id: str, why: str) -> bool:
        if run_id not in self._told:
            self._told.add(run_id)
            _LOG.warning("the raw events of run %s are kept beyond WATTLINE_RAW_RETENTION_DAYS: %s", run_id, why)
        return False

    def _in_windows(self, run_id: str) -> int:
        windows = self._database[store.AGGREGATED_METRICS].find(
            {"run_id": run_id, "length_s": store.WINDOW_LENGTH_S}, {"aggregate.events": 1}
        )
        return sum(window["aggregate"]["events"] for window in windows)

    def _gaps(self, run_id: str, source: Document) -> list[list[int]]:
        if source["events"] == source["seq_max"] + 1:
            return []
        events: Iterator[Document] = self._raw.find({"run_id": run_id, "source_id": source["_id"]}, {"seq": 1})
        return missing_ranges((event["seq"] for event in events), source["seq_max"])

    def _delete(self, closed: deque[str], now: datetime.datetime) -> Deleted:
        """Delete the next piece of the run that was closed first; a run without events is done."""
        run_id = closed[0]
        ids = [event["_id"] for event in self._raw.find({"run_id": run_id}, {"_id": 1}).limit(_MOST_EVENTS)]
        if ids:
            return Deleted(events=self._raw.delete_many({"_id": {"$in": ids}}).deleted_count)
        done = {"retention.deleting": False, "retention.deleted_at": now}
        self._summaries.update_one({"_id": run_id, "raw_complete": False}, {"$set": done})
        closed.popleft()
        _LOG.info("the raw events of run %s are deleted; summary and windows stay", run_id)
        return Deleted(runs=1)


_BY_SOURCE: Document = {
    "_id": "$source_id",
    "events": {"$sum": 1},
    "seq_max": {"$max": "$seq"},
    "ingested_at": {"$max": "$ingested_at"},
}
