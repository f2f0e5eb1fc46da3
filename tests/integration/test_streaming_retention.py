"""Promises of retention on the real store: whole old runs only, nothing counted twice or lost, whatever comes again."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from pymongo.database import Database
from pyspark.sql import SparkSession

from tests.events import START, run_events, sample
from tests.integration.store_line import DELAY, QUIET, Line, acceptance
from wattline_common import kafka, store
from wattline_common.store import Document
from wattline_stack import Endpoints
from wattline_streaming import retention
from wattline_streaming.audit import audit
from wattline_streaming.replay import Replay
from wattline_streaming.retention import AFTER_RETENTION, Deleted, Retainer
from wattline_streaming.settle import Settler

AGE = datetime.timedelta(days=30)
SAMPLES = 10
EVENTS = 2 * SAMPLES + 2


def settle(line: Line) -> None:
    """Let everything become due, and settle it."""
    line.now = max(line.now, START) + datetime.timedelta(minutes=2) + DELAY
    line.settler.step(line.now)


def later(line: Line, age: datetime.timedelta | None = AGE) -> Deleted:
    """Let the time of retention pass, and take its steps to their end."""
    line.now += AGE + QUIET
    return retain(line, age)


def retain(line: Line, age: datetime.timedelta | None = AGE) -> Deleted:
    """Take retention's steps to their end, as after a restart."""
    retainer, deleted = Retainer(line.database, age=age), Deleted()
    while (more := retainer.step(line.now)) != Deleted():
        deleted += more
    return deleted


def impatient(step_s: float = 0.4) -> Callable[[], float]:
    """Return a clock that runs on at every look, so that a step ends early."""
    seconds = itertools.count()
    return lambda: next(seconds) * step_s


def kept(database: Database[Document]) -> tuple[list[Document], list[Document]]:
    """Return summaries and windows, as they are to stay."""
    summaries = database[store.TRAINING_RUN_SUMMARY].find({}, {"raw_complete": 0, "retention": 0, "settled": 0})
    return list(summaries.sort("_id")), list(database[store.AGGREGATED_METRICS].find().sort("_id"))


def summary_of(line: Line, run_id: str = "run") -> Document:
    """Return a run's summary."""
    found: Document | None = line.database[store.TRAINING_RUN_SUMMARY].find_one({"_id": run_id})
    assert found is not None
    return found


@pytest.fixture
def line(database: Database[Document], spark: SparkSession) -> Line:
    """Give a line with one finished run that is settled."""
    made = Line(database, spark)
    made.consume(run_events("run", samples=SAMPLES))
    settle(made)
    return made


def test_old_runs_lose_their_raw_events_and_nothing_else(line: Line) -> None:
    """A day before its time nothing goes; then the events do, summary and windows stay, and the audit says so."""
    before = kept(line.database)
    line.now += AGE - datetime.timedelta(days=1)
    assert retain(line) == Deleted()
    assert later(line, age=None) == Deleted(), "no age is for ever"
    assert retain(line) == Deleted(events=EVENTS, runs=1)
    assert retain(line) == Deleted()
    assert kept(line.database) == before
    assert line.database[store.TRAINING_METRICS].count_documents({}) == 0
    summary = summary_of(line)
    assert (summary["raw_complete"], summary["retention"]["deleting"]) == (False, False)
    assert summary["retention"]["events"] == EVENTS
    found = audit(line.database)
    assert found.clean, found.as_text()
    assert (found.runs[0].events, found.runs[0].raw_complete) == (EVENTS, False)
    assert "raw events deleted" in found.as_text()
    assert found.as_counts().endswith("OK")
    assert not found.as_counts().endswith("NOT OK")


def test_runs_that_are_not_done_keep_their_events(database: Database[Document], spark: SparkSession) -> None:
    """A run that goes on, one that is not settled, and one whose windows count other events than it has."""
    line = Line(database, spark)
    for name in ("running", "open", "differs", "unsettled"):
        line.consume(run_events(name, samples=SAMPLES, finished=name != "running"))
    settle(line)
    mark = {"run_id": "open", "window_start_us": 0, "mark": "m", "due_at": line.now + 2 * AGE}
    database[store.DIRTY_WINDOWS].insert_one({"_id": "w", **mark})
    database[store.AGGREGATED_METRICS].update_one({"run_id": "differs"}, {"$inc": {"aggregate.events": 1}})
    database[store.TRAINING_RUN_SUMMARY].update_one({"_id": "unsettled"}, {"$unset": {"settled": 1}})
    assert later(line) == Deleted()
    assert database[store.TRAINING_METRICS].count_documents({}) == 4 * EVENTS - 1


def test_a_run_told_long_ago_that_comes_only_now_is_kept_open(line: Line) -> None:
    """More of a backfilled run may be on its way: its time counts from when its last event came."""
    line.now += 2 * AGE
    line.consume(run_events("old", samples=SAMPLES))
    settle(line)
    assert retain(line) == Deleted(events=EVENTS, runs=1), "the other run's time is over"
    assert "raw_complete" not in summary_of(line, "old")
    assert line.consume(run_events("old", source_id="second", samples=SAMPLES)) == EVENTS
    settle(line)
    assert later(line) == Deleted(events=2 * EVENTS, runs=1)


def test_a_replay_of_the_topic_changes_nothing(line: Line) -> None:
    """After a lost checkpoint all events come again: known, not counted twice, and not told as rejected."""
    later(line)
    before = kept(line.database)
    events = run_events("run", samples=SAMPLES)
    assert line.consume(events, offset=0) == 0
    assert line.consume(events, offset=1000) == 0, "nor as duplicates from other offsets"
    settle(line)
    assert kept(line.database) == before
    assert line.database[store.TRAINING_METRICS].count_documents({}) == 0
    assert line.database[store.REJECTED_EVENTS].count_documents({}) == 0
    assert line.database[store.DIRTY_WINDOWS].count_documents({}) == 0


def test_what_is_new_comes_too_late_and_is_kept_aside(line: Line) -> None:
    """A number that was missing, one beyond the end, and another source: rejected with the reason, totals stand."""
    events = run_events("gap", samples=SAMPLES)
    line.consume([event for event in events if event.seq not in {4, 5, 9}])
    settle(line)
    assert later(line) == Deleted(events=2 * EVENTS - 3, runs=2)
    before = kept(line.database)
    stranger = sample(run_id="gap", source_id="other", timestamp=START)
    beyond = sample(run_id="gap", seq=len(events), timestamp=START)
    for offset in (500, 500, 900):
        assert line.consume([*events, stranger, beyond], offset=offset) == 0
    rejected = list(line.database[store.REJECTED_EVENTS].find({}, {"reason": 1, "offset": 1, "value": 1}))
    assert {one["reason"] for one in rejected} == {AFTER_RETENTION}
    places = [4, 5, 9, len(events), len(events) + 1]
    assert sorted(one["offset"] for one in rejected) == [at + n for at in (500, 900) for n in places]
    assert kept(line.database) == before
    found = audit(line.database)
    assert found.clean, found.as_text()
    assert {run.run_id: run.missing_events for run in found.runs} == {"gap": 3, "run": 0}


def test_replay_rejected_knows_what_comes_too_late(line: Line, stack: Endpoints) -> None:
    """What would be rejected again stays where it is, however often it is tried."""
    later(line)
    line.consume([sample(run_id="run", seq=500, timestamp=START)], offset=900)
    (before,) = line.database[store.REJECTED_EVENTS].find()
    later_s = datetime.timedelta(seconds=1)
    producer = kafka.producer(stack.kafka_bootstrap_servers)
    replay = Replay(line.database, producer, acceptance(), now=lambda: line.now + later_s)
    assert [report.refused for report in replay.run([], dry_run=False)] == [{AFTER_RETENTION: 1}]
    assert replay.report.replayed.total() == 0
    assert list(line.database[store.REJECTED_EVENTS].find()) == [before]


@pytest.mark.parametrize(("steps", "at_once", "left"), [(1, 5, EVENTS), (2, 5, EVENTS - 10), (3, 5, 2), (2, 11, 0)])
def test_a_crash_in_mid_deletion_ends_the_same(
    line: Line, monkeypatch: pytest.MonkeyPatch, steps: int, at_once: int, left: int
) -> None:
    """Wherever it stops, the run is closed, the audit is clean, a replay adds nothing, and a restart ends it."""
    monkeypatch.setattr(retention, "_MOST_EVENTS", at_once)
    before = kept(line.database)
    line.now += AGE + QUIET
    retainer = Retainer(line.database, age=AGE, clock_s=impatient())
    for _ in range(steps):
        retainer.step(line.now)
    assert line.database[store.TRAINING_METRICS].count_documents({}) == left
    assert summary_of(line)["retention"]["deleting"]
    assert audit(line.database).clean, audit(line.database).as_text()
    assert line.consume(run_events("run", samples=SAMPLES), offset=0) == 0
    settle(line)
    assert retain(line, age=None) == Deleted(events=left, runs=1), "even when the setting is gone"
    assert kept(line.database) == before
    assert line.database[store.REJECTED_EVENTS].count_documents({}) == 0
    assert audit(line.database).clean


def test_a_mark_on_a_closed_run_folds_nothing(line: Line, spark: SparkSession) -> None:
    """However a window of a closed run came to be marked: its figures stand, and the mark goes."""
    later(line)
    before = kept(line.database)
    (window,) = line.database[store.AGGREGATED_METRICS].find()
    start_us = round(window["window_start"].timestamp() * 1e6)
    mark: dict[str, Any] = {"run_id": "run", "window_start_us": start_us, "mark": "m", "due_at": START, "late": True}
    line.database[store.DIRTY_WINDOWS].insert_one({"_id": window["_id"], **mark})
    Settler(line.database, spark, line.write).step(line.now)
    assert kept(line.database) == before
    assert line.database[store.DIRTY_WINDOWS].count_documents({}) == 0


def test_many_runs_go_in_bounded_steps(database: Database[Document], spark: SparkSession) -> None:
    """None waits behind runs that must keep their events, and each step ends soon."""
    line = Line(database, spark)
    names = [f"run-{number:02}" for number in range(30)]
    for name in names:
        line.consume(run_events(name, samples=1, finished=name != "run-07"))
    settle(line)
    database[store.AGGREGATED_METRICS].update_many({"run_id": {"$in": names[10:25]}}, {"$inc": {"aggregate.events": 1}})
    line.now += AGE + QUIET
    retainer = Retainer(database, age=AGE, clock_s=impatient(0.1))
    steps = [retainer.step(line.now) for _ in range(40)]
    assert sum((step.runs for step in steps), 0) == 14
    assert max(step.runs for step in steps) < 14
    gone = {run["_id"] for run in database[store.TRAINING_RUN_SUMMARY].find({"raw_complete": False})}
    assert gone == {*names[:7], *names[8:10], *names[25:]}
