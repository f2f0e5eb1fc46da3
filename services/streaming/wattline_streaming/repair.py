"""Mends what an audit finds, as far as raw events can tell what is right. It may run beside the stream.

A window is only marked: the settler folds it anew. A summary is replaced as it was read, or not at all. Rollups are
composed anew of the windows. What raw events cannot tell is left as it is, with the remedy.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pymongo import UpdateOne
from pymongo.database import Database

from wattline_common import store
from wattline_common.store import SETTLEMENT, Document, SourceSummary
from wattline_common.store_errors import answering
from wattline_streaming import rollups
from wattline_streaming.audit import Audit, audit
from wattline_streaming.differences import (
    closed_differences,
    mark_differences,
    own_differences,
    summary_differences,
    window_differences,
)
from wattline_streaming.recount import RunCount
from wattline_streaming.summary import Gathered, own_fields

__all__ = ["Repair", "repair"]

_TRIES = 5  # to replace a summary that gets events all the while
_HIGHEST_REVISION = 2**22 * SETTLEMENT  # the next settlement must fit into a long
_READ_AGAIN = (
    "let the stream read the topic again, which keeps its messages for 14 days: stop it, remove the folders "
    "generation-* in WATTLINE_CHECKPOINT_DIR, start it"
)


@dataclass(frozen=True, slots=True)
class Repair:
    """What was mended, what could not be, with the remedy, and the audit after it."""

    mended: list[str]
    not_mended: list[str]
    after: Audit

    def as_json(self) -> Document:
        """Return it as plain data."""
        return {"mended": self.mended, "not_mended": self.not_mended, **self.after.as_json()}

    def as_text(self) -> str:
        """Return it as lines for a person, to stand before the audit's."""
        lines = [f"mended: {words}" for words in self.mended]
        lines += [f"NOT MENDED: {words}" for words in self.not_mended]
        return "\n".join(lines or ["there was nothing to mend"])


def repair(database: Database[Document], *, now: Callable[[], datetime.datetime]) -> Repair:
    """Mend, and audit again; raise what `answering` raises. Calling it again is safe, and changes nothing twice."""
    mender = _Mender(database, now)
    before = audit(database, now())
    with answering():
        for run in before.runs:
            if run.differences:
                mender.mend_run(run.run_id)
        if before.marks:
            mender.mend_marks()
        # Marked windows are rolled up when they settle; damaged ones that stay must not become the truth of rollups.
        if not mender.not_mended and any(rollups.differences(database)):
            mender.mended.append(f"{rollups.rebuild(database)} rollups: composed anew")
    return Repair(mender.mended, mender.not_mended, audit(database, now()))


@dataclass(slots=True)
class _Run:
    """What the store has of one run."""

    run_id: str
    summary: Document | None
    windows: dict[str, Document]  # id -> the whole aggregate
    count: RunCount = field(default_factory=RunCount)
    gathered: Gathered = field(default_factory=Gathered)

    def doubt(self) -> str | None:
        """Return why raw events cannot be taken for the truth, if so."""
        for source_id, source in self.count.sources.items():
            for words in source.contradictions():
                return (
                    f"raw events of source {source_id} were changed: {words}; delete this run's events from "
                    f"{store.TRAINING_METRICS} and {_READ_AGAIN}"
                )
        in_windows = sum(aggregate.get("events", 0) for aggregate in self.windows.values())
        expected = self._expected()
        if not self.count.events or self.count.events < min(in_windows, expected):
            return (
                f"raw events are missing: there are {self.count.events}, its windows counted {in_windows}, and "
                f"{expected} are expected; {_READ_AGAIN}"
            )
        return None

    def _expected(self) -> int:
        by_raw = sum(max(source.seq_max + 1, _emitted(source.finished)) for source in self.count.sources.values())
        told: int = (self.summary or {}).get("events_expected", 0)
        return max(by_raw, told)


def _emitted(finished: Mapping[str, Any] | None) -> int:
    return int(finished["events_emitted"]) if finished else 0


class _Mender:
    """Mends run by run, and keeps the words."""

    def __init__(self, database: Database[Document], now: Callable[[], datetime.datetime]) -> None:
        self._summaries = database[store.TRAINING_RUN_SUMMARY]
        self._raw = database[store.TRAINING_METRICS]
        self._windows = database[store.AGGREGATED_METRICS]
        self._marks = database[store.DIRTY_WINDOWS]
        self._now = now
        self.mended: list[str] = []
        self.not_mended: list[str] = []

    def mend_run(self, run_id: str) -> None:
        """Mend one run."""
        run = self._read(run_id)
        if run.summary is not None and run.summary.get("raw_complete") is False:
            self._mend_closed(run, run.summary)
            return
        why = run.doubt()
        if why:
            self.not_mended.append(f"run {run_id}: {why}")
            return
        changed = self._mend_windows(run)
        wrong = list(summary_differences(run.count, run.summary, settled=False))
        if wrong:
            changed |= self._mend_summary(run, "; ".join(wrong))
        stated = [words for words in summary_differences(run.count, run.summary, settled=True) if words not in wrong]
        if changed or stated:
            self._restate(run_id, run.count.windows, stated)

    def mend_marks(self) -> None:
        """Set marks right that could never be due, remove those that stand for nothing."""
        for mark in [mark for mark in self._marks.find() if any(mark_differences(mark, self._now(), is_needed=False))]:
            key, start_us = mark["_id"], _start_us(mark["_id"])
            is_needed = start_us is not None and self._is_needed(key, start_us)
            for words in mark_differences(mark, self._now(), is_needed=is_needed):
                if start_us is not None and is_needed:
                    self._mark(key.partition("|")[0], {key: start_us}, suspect=True)
                else:
                    self._marks.delete_one({"_id": key, "mark": mark.get("mark")})
                self.mended.append(words)

    def _read(self, run_id: str) -> _Run:
        summary = self._summaries.find_one({"_id": run_id})
        windows = self._windows.find({"run_id": run_id}, {"aggregate": 1})
        run = _Run(run_id, summary and {"sources": {}, **summary}, {w["_id"]: w.get("aggregate", {}) for w in windows})
        for event in self._raw.find({"run_id": run_id}):
            run.count.add(event)
            run.gathered.add_raw(event)
        return run

    def _mend_windows(self, run: _Run) -> bool:
        """Mark the windows that differ; remove first what no fold could replace."""
        opened = {mark["_id"] for mark in self._marks.find({"run_id": run.run_id}, {"_id": 1})}
        wrong = dict(window_differences(run.count, run.windows, keep=lambda key: key not in opened))
        starts = {key: start for key in wrong if (start := _start_us(key)) is not None}
        self._mark(run.run_id, starts, suspect=True)
        for key, words in wrong.items():
            aggregate = run.windows.get(key)
            if aggregate is not None and (key not in run.count.windows or not _is_replaceable(aggregate)):
                seen = {"aggregate.revision": aggregate["revision"]} if "revision" in aggregate else {}
                self._windows.delete_one({"_id": key, **seen})
            self.mended.append(f"run {run.run_id}: {words}: marked, to be settled")
        return bool(wrong)

    def _mend_summary(self, run: _Run, words: str) -> bool:
        """Replace a summary by what raw events say, unless it gets more of them all the while."""
        for _ in range(_TRIES):
            if self._replace(run) and self._raw.count_documents({"run_id": run.run_id}) == run.count.events:
                self.mended.append(f"run {run.run_id}: {words}: replaced")
                return True
            run = self._read(run.run_id)
        self.not_mended.append(f"run {run.run_id}: {words}: events come all the while; run it again")
        return False

    def _replace(self, run: _Run) -> bool:
        """Write the summary, if it still stands as it was read."""
        sources: dict[str, SourceSummary] = run.gathered.sources()
        fields = {"sources": sources, **own_fields(run.run_id, sources)}
        if run.summary is None:
            done = self._summaries.update_one({"_id": run.run_id}, {"$setOnInsert": fields}, upsert=True)
            return done.upserted_id is not None
        seen = {"_id": run.run_id, "sources": run.summary["sources"] or {"$in": [None, {}]}}
        return self._summaries.update_one(seen, {"$set": fields}).matched_count == 1

    def _mend_closed(self, run: _Run, summary: Document) -> None:
        """Mend what follows from a summary itself; the rest is gone with the raw events."""
        seen = {"_id": run.run_id, "sources": summary["sources"]}
        own = list(own_differences(summary))
        try:
            fields = own_fields(run.run_id, summary["sources"]) if own else {}
        except (KeyError, TypeError, ValueError):
            fields = {}
        if fields:
            self._summaries.update_one(seen, {"$set": fields})
            self.mended += [f"run {run.run_id}: {words}: replaced" for words in own]
        if run.count.events and not summary["retention"]["deleting"]:
            self._summaries.update_one(seen, {"$set": {"retention.deleting": True}})
            self.mended.append(f"run {run.run_id}: raw events were left: the stream deletes them at its next start")
        read = self._read(run.run_id)
        left, said = (
            list(closed_differences(read.count, read.summary or summary, read.windows, settled=settled))
            for settled in (False, True)
        )
        stated = [words for words in said if words not in left]
        if stated and not left:  # else the statement would make a truth of the damage
            self._restate(run.run_id, run.windows, stated)
        self.not_mended += [
            f"run {run.run_id}: {words}; its raw events are deleted: delete its document in "
            f"{store.TRAINING_RUN_SUMMARY} and its windows in {store.AGGREGATED_METRICS}, and {_READ_AGAIN}"
            for words in left
        ]

    def _restate(self, run_id: str, windows: Iterable[str], stated: Iterable[str]) -> None:
        """Mark a window, so that settling states anew how the summary differs from its windows."""
        key = min(windows, default=None)
        start_us = _start_us(key) if key is not None else None
        if key is None or start_us is None or self._marks.count_documents({"_id": key}):
            return
        self._mark(run_id, {key: start_us}, suspect=False)
        self.mended += [f"run {run_id}: {words}: to be settled" for words in stated]

    def _mark(self, run_id: str, starts_us: Mapping[str, int], *, suspect: bool) -> None:
        same = {"run_id": run_id, "mark": uuid.uuid4().hex, "due_at": self._now()} | (
            {"suspect": True} if suspect else {}
        )
        writes = [
            UpdateOne({"_id": key}, {"$set": {**same, "window_start_us": start_us}}, upsert=True)
            for key, start_us in starts_us.items()
        ]
        if writes:
            self._marks.bulk_write(writes, ordered=False)

    def _is_needed(self, key: str, start_us: int) -> bool:
        """Return whether there is a window, or an event, that a mark stands for."""
        within = {"$gte": start_us, "$lt": start_us + store.WINDOW_LENGTH_S * 1_000_000}
        wanted = {"run_id": key.partition("|")[0], "timestamp_us": within}
        return bool(self._windows.find_one({"_id": key}, {"_id": 1}) or self._raw.find_one(wanted, {"_id": 1}))


def _is_replaceable(aggregate: Mapping[str, Any]) -> bool:
    """Return whether `$max` can replace a window's figures: it compares the first field first."""
    revision = aggregate.get("revision")
    return next(iter(aggregate), None) == "revision" and isinstance(revision, int) and 0 <= revision < _HIGHEST_REVISION


def _start_us(key: object) -> int | None:
    """Return the start that a window's id names; none where it is no such id."""
    try:
        run_id, start, _ = str(key).split("|")
        start_us = round(datetime.datetime.fromisoformat(start).timestamp() * 1_000_000)
    except (ValueError, OverflowError):
        return None
    return start_us if store.window_id(run_id, start_us) == key else None
