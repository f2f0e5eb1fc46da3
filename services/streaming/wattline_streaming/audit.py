"""Do the collections agree? Recounts every run from its raw events, rollups from windows; names each difference."""

from __future__ import annotations

import dataclasses
import datetime
import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from pymongo.database import Database
from pymongo.errors import PyMongoError

from wattline_common import store
from wattline_common.store import AuditHealth, Document
from wattline_common.store_errors import answering
from wattline_common.sums import total
from wattline_streaming import rollups
from wattline_streaming.differences import (
    closed_differences,
    mark_differences,
    summary_differences,
    window_differences,
)
from wattline_streaming.recount import RAW_FIELDS, TOTALS, RunCount

__all__ = ["Audit", "RunAudit", "audit", "record"]

_LOG = logging.getLogger(__name__)

_MOST_TOLD = 20  # rollups; where windows differ, every hour and day with one of them does
_COUNTED = (
    store.TRAINING_METRICS,
    store.TRAINING_RUN_SUMMARY,
    store.AGGREGATED_METRICS,
    store.REJECTED_EVENTS,
)
_WINDOW_FIELDS = {"run_id": 1} | {f"aggregate.{name}": 1 for name in ("revision", "events", "samples", *TOTALS)}


@dataclass(frozen=True, slots=True)
class RunAudit:
    """One run's counts and differences.

    ``moving`` when events came in during the audit; ``pending`` are differences that settling is still to mend. Without
    ``raw_complete`` its raw events are deleted, and the figures are those of its windows.
    """

    run_id: str
    status: str
    events: int
    samples: int
    windows: int
    energy_kwh: float
    emissions_kg: float
    missing_events: int
    moving: bool
    raw_complete: bool
    differences: list[str]
    pending: list[str]


@dataclass(frozen=True, slots=True)
class Audit:
    """The whole comparison; ``clean`` when nothing differs."""

    counts: dict[str, int]
    events_by_type: dict[str, int]
    open_windows: int
    runs: list[RunAudit]
    marks: list[str]  # what is wrong with marks of open windows
    rollups: list[str]  # what differs in hours and days

    @property
    def clean(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    @property
    def differences(self) -> list[str]:
        """All differences but the pending ones."""
        of_runs = [f"run {run.run_id}: {difference}" for run in self.runs for difference in run.differences]
        return [*of_runs, *self.marks, *self.rollups]

    def as_json(self) -> Document:
        """Return it as plain data."""
        return {"clean": self.clean, **dataclasses.asdict(self)}

    def as_counts(self) -> str:
        """Return the collections' counts and, per run, what was expected, what is stored, and OK or the difference."""
        lines = [f"{name:<24}{count:>9}" for name, count in self.counts.items()]
        width = max((len(run.run_id) for run in self.runs), default=6)
        lines.append(f"\n{'run':<{width}}  expected    stored")
        for run in self.runs:
            off = "; ".join(run.differences) or (f"{run.missing_events} missing" if run.missing_events else "OK")
            lines.append(f"{run.run_id:<{width}}  {run.events + run.missing_events:>8}  {run.events:>8}  {off}")
        lines += self._rollups_told()
        complete = self.clean and not any(run.missing_events for run in self.runs)
        return "\n".join([*lines, "OK" if complete else "NOT OK"])

    def as_text(self) -> str:
        """Return it as lines for a person."""
        lines = [f"{name}: {count}" for name, count in self.counts.items()]
        lines.append(f"windows still open: {self.open_windows}")
        for run in self.runs:
            moving = ", moving" if run.moving else "" if run.raw_complete else ", raw events deleted"
            gap = f", {run.missing_events} events missing" if run.missing_events else ""
            lines.append(
                f"{run.run_id} ({run.status}{moving}{gap}): {run.events} events, {run.samples} samples, "
                f"{run.windows} windows, {run.energy_kwh:.9f} kWh, {run.emissions_kg:.9f} kg CO2e"
            )
            lines += [f"  DIFFERS: {difference}" for difference in run.differences]
            lines += [f"  not settled yet: {difference}" for difference in run.pending]
        lines += [f"DIFFERS: {difference}" for difference in self.marks]
        lines += self._rollups_told()
        return "\n".join([*lines, "OK" if self.clean else "NOT OK"])

    def _rollups_told(self) -> list[str]:
        told = [f"DIFFERS: {difference}" for difference in self.rollups[:_MOST_TOLD]]
        more = len(self.rollups) - len(told)
        return [*told, f"DIFFERS: {more} more rollups"] if more else told


def audit(database: Database[Document], now: datetime.datetime | None = None) -> Audit:
    """Recount everything from the raw events; raise what `answering` raises.

    What differs in a window that still waits to be settled is pending. A run that moves meanwhile has its windows
    compared, not its totals. A run whose raw events are deleted is taken by its summary and windows.
    """
    with answering():
        return _audit(database, now or datetime.datetime.now(datetime.UTC))


def record(database: Database[Document], found: Audit, *, at: datetime.datetime, repaired: int) -> None:
    """Keep in pipeline_health how an audit ended; that it cannot be kept does not change how it ended."""
    told: AuditHealth = {
        "at": at,
        "clean": found.clean,
        "runs": len(found.runs),
        "differences": len(found.differences),
        "pending": sum(len(run.pending) for run in found.runs),
        "repaired": repaired,
    }
    try:
        database[store.PIPELINE_HEALTH].update_one({"_id": store.AUDIT}, {"$set": told}, upsert=True)
    except PyMongoError as error:
        _LOG.warning("how the audit ended is not in the store: %s", error)


def _audit(database: Database[Document], now: datetime.datetime) -> Audit:
    marks = {mark["_id"]: mark for mark in database[store.DIRTY_WINDOWS].find()}
    runs, by_type = _recount(database)
    summaries = {run["_id"]: {"sources": {}, **run} for run in database[store.TRAINING_RUN_SUMMARY].find()}
    windows = _windows_by_run(database)
    seen = _Seen(database, marks.keys() | {mark["_id"] for mark in database[store.DIRTY_WINDOWS].find({}, {"_id": 1})})
    audits = [
        seen.run(run_id, runs.get(run_id, RunCount()), summaries.get(run_id), windows.get(run_id, {}))
        for run_id in sorted(runs.keys() | summaries.keys() | windows.keys())
    ]
    differing = list(rollups.differences(database))
    counts = {name: database[name].count_documents({}) for name in _COUNTED}
    kept = {key for of_run in windows.values() for key in of_run}
    told = {key for run in runs.values() for key in run.windows}
    wrong = [
        difference
        for key, mark in sorted(marks.items())
        for difference in mark_differences(mark, now, is_needed=key in kept or key in told)
    ]
    return Audit(counts, dict(sorted(by_type.items())), len(seen.open_windows), audits, wrong, differing)


def _recount(database: Database[Document]) -> tuple[dict[str, RunCount], dict[str, int]]:
    runs: dict[str, RunCount] = defaultdict(RunCount)
    by_type: dict[str, int] = defaultdict(int)
    for event in database[store.TRAINING_METRICS].find({}, RAW_FIELDS, batch_size=store.READ_TOGETHER):
        by_type[event["event_type"]] += 1
        runs[event["run_id"]].add(event)
    return runs, by_type


def _windows_by_run(database: Database[Document]) -> dict[str, dict[str, Document]]:
    windows: dict[str, dict[str, Document]] = defaultdict(dict)
    for window in database[store.AGGREGATED_METRICS].find({}, _WINDOW_FIELDS, batch_size=store.READ_TOGETHER):
        windows[str(window.get("run_id"))][window["_id"]] = window.get("aggregate", {})
    return windows


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the comparison of a run needs to know beside the run's own documents."""

    database: Database[Document]
    open_windows: set[str]

    def run(self, run_id: str, run: RunCount, summary: Document | None, windows: Mapping[str, Document]) -> RunAudit:
        """Compare a run."""
        closed = summary is not None and summary.get("raw_complete") is False
        moving = summary is not None and not closed and self._is_moving(run_id, run, summary)
        settled = self.open_windows.isdisjoint(run.windows.keys() | windows.keys())
        differences: list[str] = []
        pending: list[str] = []
        if summary is not None and closed:
            differences += closed_differences(run, summary, windows, settled=settled)
        else:
            for key, difference in window_differences(run, windows, keep=lambda _: True):
                (pending if key in self.open_windows else differences).append(difference)
            if not moving:
                differences += self._confirmed(run_id, run, summary, settled=settled)
        return RunAudit(
            run_id=run_id,
            status=summary.get("status", "unknown") if summary else "no summary",
            windows=len(windows),
            **_figures(run, summary, windows),
            moving=moving,
            raw_complete=not closed,
            differences=differences,
            pending=pending,
        )

    def _is_moving(self, run_id: str, run: RunCount, summary: Document) -> bool:
        """Return whether the summary knows of events that have come to raw since it was read."""
        ahead = [
            store.event_id(run_id, source_id, told.get("seq_max", -1))
            for source_id, told in summary["sources"].items()
            if told.get("seq_max", -1) > (run.sources[source_id].seq_max if source_id in run.sources else -1)
        ]
        return bool(ahead and self.database[store.TRAINING_METRICS].count_documents({"_id": {"$in": ahead}}))

    def _confirmed(self, run_id: str, run: RunCount, summary: Document | None, *, settled: bool) -> list[str]:
        """Return a summary's differences, none of one that the stream was just writing."""
        found = list(summary_differences(run, summary, settled=settled))
        if not found:
            return found
        again = self.database[store.TRAINING_RUN_SUMMARY].find_one({"_id": run_id})
        if again is not None and summary is not None and again.get("sources", {}) != summary["sources"]:
            return []  # it moves
        return list(summary_differences(run, again and {"sources": {}, **again}, settled=settled))


def _figures(run: RunCount, summary: Document | None, windows: Mapping[str, Document]) -> Document:
    """Return a run's counts and sums: of raw, or of what is left of it."""
    if summary is not None and summary.get("raw_complete") is False:
        events, sums = summary["retention"]["events"], {name: _sum(windows, name) for name in ("samples", *TOTALS)}
    else:
        events = run.events
        samples = sum(len(source.sampled["energy_kwh"]) for source in run.sources.values())
        sums = {"samples": samples} | {name: run.total(name) for name in TOTALS}
    missing = summary.get("events_expected", events) - events if summary else 0
    return {"events": events, "missing_events": missing, **sums}


def _sum(windows: Mapping[str, Document], name: str) -> float:
    return total(aggregate.get(name, 0) for aggregate in windows.values())
