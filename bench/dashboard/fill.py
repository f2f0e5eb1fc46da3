"""A store as a team has it after a month: simulated runs, folded by the stream's own functions, not by the stream."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass

from pymongo.database import Database

from tests.dashboard_runs import Event, raw_documents, rollup_documents, summary_document, window_documents
from wattline_common import store
from wattline_common.store import Document
from wattline_trainer.simulate.fleet import Fleet, Pace
from wattline_trainer.simulate.ledger import FleetLedger
from wattline_trainer.simulate.population import history

__all__ = ["FULL", "Filled", "Size", "fill"]

_SEED = 7
_TOGETHER = 5_000  # documents of one write
_BATCH_S = 6_800.0  # runs are drawn in batches that begin at the same time; the longest takes 0.6 of it


@dataclass(frozen=True, slots=True)
class Size:
    """How much is to be in the store."""

    runs: int
    per_batch: int
    days: float
    emit_interval_s: float
    """Between a run's samples: the longer, the fewer events a window has."""


# 2,000 runs of half an hour: 60,000 windows and 150,000 raw events
FULL = Size(runs=2_000, per_batch=20, days=30.0, emit_interval_s=55.0)


@dataclass(frozen=True, slots=True)
class Filled:
    """What is in the store, and runs to look at."""

    events: int
    runs: int
    windows: int
    rollups: int
    longest_run_id: str


def fill(database: Database[Document], size: Size, until: datetime.datetime) -> Filled:
    """Write runs of the days before a moment, their windows and rollups."""
    counts: dict[str, int] = {}
    windows: list[Document] = []
    longest = (0, "")
    for events in _runs(size, until):
        mine = window_documents(events)
        windows += mine
        longest = max(longest, (len(mine), events[0].run_id))
        _write(database, counts, store.TRAINING_METRICS, raw_documents(events))
        _write(database, counts, store.TRAINING_RUN_SUMMARY, [summary_document(events)])
    _write(database, counts, store.AGGREGATED_METRICS, windows)
    _write(database, counts, store.AGGREGATED_ROLLUPS, rollup_documents(windows))
    return Filled(
        events=counts[store.TRAINING_METRICS],
        runs=counts[store.TRAINING_RUN_SUMMARY],
        windows=counts[store.AGGREGATED_METRICS],
        rollups=counts[store.AGGREGATED_ROLLUPS],
        longest_run_id=longest[1],
    )


def _runs(size: Size, until: datetime.datetime) -> Iterator[list[Event]]:
    """Yield each run's events in order of time."""
    batches = size.runs // size.per_batch
    begin = until - datetime.timedelta(days=size.days)
    step = (until - begin - datetime.timedelta(seconds=_BATCH_S)) / max(1, batches - 1)
    for number in range(batches):
        start = (begin + step * number).replace(microsecond=0)
        fleet = Fleet(_SEED, start, FleetLedger(_SEED, {}))
        for at_s, plan in history(_SEED + number, size.per_batch, start, _BATCH_S, size.emit_interval_s):
            fleet.add(plan, Pace(at_s, at_s))
        by_run: dict[str, list[Event]] = {}
        while fleet.due_s < float("inf"):
            events, _, over = fleet.advance()
            for event in events:
                by_run.setdefault(event.run_id, []).append(event)  # type: ignore[arg-type]  # no aggregates come
            if over is not None:
                yield by_run.pop(over.run_id)


def _write(database: Database[Document], counts: dict[str, int], name: str, documents: list[Document]) -> None:
    counts[name] = counts.get(name, 0) + len(documents)
    for first in range(0, len(documents), _TOGETHER):
        database[name].insert_many(documents[first : first + _TOGETHER], ordered=False)
