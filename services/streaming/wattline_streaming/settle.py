"""The last word on every window: once it is due it is compared with the raw events and, where it differs, folded anew.

Late, backfilled, duplicated and rejected events all end right here, whatever the watermark did on the fast path. What
was settled is then taken into the rollups.
"""

from __future__ import annotations

import datetime
import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pymongo import UpdateOne
from pymongo.database import Database
from pyspark.sql import SparkSession

from wattline_common import store
from wattline_common.store import SETTLEMENT, Document
from wattline_common.store_errors import answering
from wattline_common.sums import total
from wattline_streaming.retention import retentions
from wattline_streaming.rollups import roll_up
from wattline_streaming.typed import ARROW_SCHEMA, typed_row
from wattline_streaming.windows import fold, is_whole, stored_row

__all__ = ["Settled", "Settler", "WindowSink"]

_LOG = logging.getLogger(__name__)
_MOST_WINDOWS = 50_000  # a step; the rest is due in the next
_RELATIVE_TOLERANCE = 1e-9
_RAW_FIELDS = dict.fromkeys((*ARROW_SCHEMA.names, "timestamp", "timestamp_us", "devices.kind", "devices.energy_kwh"), 1)

WindowSink = Callable[[list[Document], Mapping[str, int]], None]
"""Stores folded rows; the second argument is each window id's settlement."""


@dataclass(frozen=True, slots=True)
class Settled:
    """Windows that were settled; how many of them were late, and how many were folded anew."""

    windows: int = 0
    late: int = 0
    folded_anew: int = 0

    def __add__(self, more: Settled) -> Settled:
        """Return the sums."""
        return Settled(self.windows + more.windows, self.late + more.late, self.folded_anew + more.folded_anew)


class Settler:
    """Settles the windows that are due. Its caller keeps it and the ledger from running at the same time."""

    def __init__(self, database: Database[Document], spark: SparkSession, sink: WindowSink) -> None:
        self._database = database
        self._spark = spark
        self._sink = sink

    def step(self, now: datetime.datetime) -> Settled:
        """Settle the windows due at ``now``; return how many these were.

        Raises what `answering` raises; whatever was done by then is right, and the rest is still marked.
        """
        with answering():
            return self._settle(now)

    def _settle(self, now: datetime.datetime) -> Settled:
        marks = list(self._database[store.DIRTY_WINDOWS].find({"due_at": {"$lte": now}}).limit(_MOST_WINDOWS))
        if not marks:
            return Settled()
        closed = retentions(self._database, {mark["run_id"] for mark in marks})  # nothing is left to fold them from
        by_id = {mark["_id"]: mark for mark in marks if mark["run_id"] not in closed}
        settlements = self._settlements(by_id)
        if settlements:
            self._fold_anew(by_id, settlements)
        self._tell_again([key for key, mark in by_id.items() if mark.get("late") and key not in settlements])
        roll_up(self._database, ((mark["run_id"], mark["window_start_us"]) for mark in marks))
        self._remove(marks)  # last, so that whatever a crash cuts short is done again
        self._note_differences({mark["run_id"] for mark in marks}, now)
        _LOG.info("settled %d windows, %d of them folded anew", len(marks), len(settlements))
        return Settled(len(marks), sum(1 for mark in marks if mark.get("late")), len(settlements))

    def _settlements(self, marks: Mapping[str, Document]) -> dict[str, int]:
        """Return window id -> next settlement of the windows that differ from raw, or must not be trusted.

        A window counts an event of it at most once, so one that counts as many as there are counts just these.
        """
        aggregates = self._aggregates(list(marks))
        suspect = [key for key, mark in marks.items() if mark.get("suspect")]
        sums = self._raw_sums({key: mark for key, mark in marks.items() if not mark.get("suspect")})
        to_fold = suspect + [key for key, raw in sums.items() if not _agrees(aggregates.get(key), raw)]
        return {key: aggregates.get(key, {}).get("revision", 0) // SETTLEMENT + 1 for key in to_fold}

    def _aggregates(self, ids: Sequence[str]) -> dict[str, Document]:
        """Return window id -> what is stored of it, of those that are there."""
        windows, fields = self._database[store.AGGREGATED_METRICS], ("revision", "events", "energy_kwh")
        wanted = dict.fromkeys((f"aggregate.{name}" for name in fields), 1)
        return {window["_id"]: window["aggregate"] for window in store.with_ids(windows, ids, wanted)}

    def _raw_sums(self, marks: Mapping[str, Document]) -> dict[str, tuple[int, float]]:
        """Return window id -> (events, energy in kWh) of the raw events."""
        energies: dict[str, list[float]] = {key: [] for key in marks}
        for window, event in self._raw(marks, {"energy_kwh": 1}):
            energies[window].append(event.get("energy_kwh") or 0.0)
        return {key: (len(values), total(values)) for key, values in energies.items()}

    def _fold_anew(self, marks: Mapping[str, Document], settlements: Mapping[str, int]) -> None:
        raw = self._raw({key: marks[key] for key in settlements}, _RAW_FIELDS)
        rows = [typed_row(event) for _, event in raw]
        if not rows:
            return
        frame = self._spark.createDataFrame(pa.Table.from_pylist(rows, schema=ARROW_SCHEMA))
        self._sink(fold(frame, watermark_s=0).toArrow().to_pylist(), settlements)

    def _tell_again(self, ids: Sequence[str]) -> None:
        """Publish windows as they stand: a batch that was repeated may have published less after that."""
        windows = list(filter(is_whole, store.with_ids(self._database[store.AGGREGATED_METRICS], ids)))
        settlements = {window["_id"]: window["aggregate"]["revision"] // SETTLEMENT for window in windows}
        if windows:
            self._sink([stored_row(window) for window in windows], settlements)

    def _raw(self, marks: Mapping[str, Document], fields: Mapping[str, int]) -> Iterator[tuple[str, Document]]:
        """Yield window id and event of the marked windows: one pass over the raw events per stretch of time."""
        projection = {"run_id": 1, "timestamp_us": 1, **fields}
        for first_us, last_us in _stretches({mark["window_start_us"] for mark in marks.values()}):
            wanted = {"timestamp_us": {"$gte": first_us, "$lt": last_us}}
            for event in self._database[store.TRAINING_METRICS].find(
                wanted, projection, batch_size=store.READ_TOGETHER
            ):
                window = store.window_id(event["run_id"], store.window_start_us(event["timestamp_us"]))
                if window in marks:
                    yield window, _at_full_resolution(event)

    def _remove(self, marks: list[Document]) -> None:
        """Remove the marks that were seen; one that has been set anew since stays."""
        by_mark: dict[str, list[str]] = defaultdict(list)
        for mark in marks:
            by_mark[mark["mark"]].append(mark["_id"])
        for value, ids in by_mark.items():
            self._database[store.DIRTY_WINDOWS].delete_many({"_id": {"$in": ids}, "mark": value})

    def _note_differences(self, run_ids: set[str], now: datetime.datetime) -> None:
        """Write the windows' sum, and by how much it misses the sources' own totals, into finished runs' summaries.

        A run that lives again by a further source loses what was written of its first end.
        """
        summaries = self._database[store.TRAINING_RUN_SUMMARY]
        running = {"_id": {"$in": list(run_ids)}, "finished_at": None}
        summaries.update_many(running, {"$unset": {"settled": ""}})
        finished = list(
            summaries.find({"_id": {"$in": list(run_ids)}, "finished_at": {"$ne": None}}, {"energy_kwh": 1})
        )
        if not finished:
            return
        parts: dict[str, list[float]] = {run["_id"]: [] for run in finished}
        wanted = {"run_id": {"$in": list(parts)}}
        for window in self._database[store.AGGREGATED_METRICS].find(wanted, {"run_id": 1, "aggregate.energy_kwh": 1}):
            parts[window["run_id"]].append(window["aggregate"]["energy_kwh"])
        writes = []
        for run in finished:
            energy_kwh = total(parts[run["_id"]])
            settled = {"energy_kwh": energy_kwh, "difference_kwh": run["energy_kwh"] - energy_kwh, "settled_at": now}
            writes.append(UpdateOne({"_id": run["_id"]}, {"$set": {"settled": settled}}))
        summaries.bulk_write(writes, ordered=False)


def _agrees(aggregate: Document | None, raw: tuple[int, float]) -> bool:
    if aggregate is None:
        return False
    events, energy_kwh = raw
    close = math.isclose(aggregate["energy_kwh"], energy_kwh, rel_tol=_RELATIVE_TOLERANCE, abs_tol=1e-18)
    return bool(aggregate["events"] == events and close)


def _stretches(starts_us: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield [first, last) of each stretch of time that the windows cover; gaps under an hour are read over."""
    length_us, gap_us = store.WINDOW_LENGTH_S * 1_000_000, 3_600_000_000
    ordered = sorted(starts_us)
    if not ordered:
        return
    first = last = ordered[0]
    for start in ordered[1:]:
        if start - last > gap_us:
            yield first, last + length_us
            first = start
        last = start
    yield first, last + length_us


def _at_full_resolution(event: Document) -> dict[str, Any]:
    """Return the event with its timestamp to the microsecond: dates in the store have milliseconds only."""
    return {**event, "timestamp": datetime.datetime.fromtimestamp(0, datetime.UTC) + _us(event["timestamp_us"])}


def _us(number: int) -> datetime.timedelta:
    return datetime.timedelta(microseconds=number)
