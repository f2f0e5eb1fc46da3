"""Promises of `audit --repair` on the real store: what raw events can tell is mended, the rest is left and told."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import uuid
from collections.abc import Mapping
from typing import Any

import pytest
from pymongo.database import Database
from pymongo.errors import PyMongoError
from pyspark.sql import SparkSession

from tests.events import START, run_events
from tests.integration.store_line import DELAY, QUIET, Line
from wattline_common import store
from wattline_common.store import Document
from wattline_stack import Endpoints, Stack
from wattline_streaming.audit import audit, record
from wattline_streaming.repair import Repair, repair
from wattline_streaming.retention import Retainer

RUN, SUMMARY, RAW = store.AGGREGATED_METRICS, store.TRAINING_RUN_SUMMARY, store.TRAINING_METRICS
ROLLUPS = store.AGGREGATED_ROLLUPS
SAMPLES = 70  # two windows
WINDOW = store.window_id("run", round(START.timestamp() * 1e6))
ELSEWHERE = store.window_id("run", round((START + datetime.timedelta(hours=1)).timestamp() * 1e6))
YESTERDAY = START - datetime.timedelta(days=1)
MARK = {"run_id": "run", "window_start_us": 0, "mark": "m", "due_at": YESTERDAY}


def settle(line: Line) -> None:
    """Let everything become due, and settle it."""
    line.now = max(line.now, START) + datetime.timedelta(minutes=5) + DELAY
    line.settler.step(line.now)


def contents(database: Database[Document]) -> dict[str, list[Document]]:
    """Return all that is to be as before, which is all but how often a window was settled, and when."""
    kept: dict[str, list[Document]] = {}
    for name in (RUN, SUMMARY, RAW, ROLLUPS, store.DIRTY_WINDOWS):
        kept[name] = list(database[name].find({}, {"settled.settled_at": 0, "aggregate.revision": 0}).sort("_id"))
    return kept


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Return every figure by its path."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        return {path: value}
    return {deep: figure for key, part in items for deep, figure in flat(part, f"{path}/{key}").items()}


def same(database: Database[Document], before: dict[str, list[Document]], *names: str) -> None:
    """Hold the collections, or some of them, to what they were; a sum may have been added up in another order."""
    now = contents(database)
    for name in names or before:
        found, expected = flat(now[name]), flat(before[name])
        assert found == {
            key: pytest.approx(value, rel=1e-7, abs=1e-15) if isinstance(value, float) else value
            for key, value in expected.items()
        }


@pytest.fixture(scope="module")
def settled(running_stack: Stack, spark: SparkSession) -> dict[str, list[Document]]:
    """Give all documents of a run of two sources, one with a gap, and one that goes on, once they are settled."""
    database = store.connect(running_stack.endpoints().mongodb_uri).client[f"test_{uuid.uuid4().hex[:12]}"]
    made = Line(database, spark)
    made.consume(run_events("run", samples=SAMPLES))
    made.consume(run_events("run", source_id="second", samples=SAMPLES, seed=2))
    made.consume([event for event in run_events("gap", samples=SAMPLES) if event.seq not in {7, 8}])
    made.consume(run_events("running", samples=SAMPLES, finished=False))
    settle(made)
    assert audit(database, made.now).clean
    documents = {name: list(database[name].find()) for name in (RUN, SUMMARY, RAW, ROLLUPS)}
    database.client.drop_database(database.name)
    return documents


@pytest.fixture
def line(database: Database[Document], spark: SparkSession, settled: dict[str, list[Document]]) -> Line:
    """Give a line that has come this far."""
    for name, documents in settled.items():
        database[name].insert_many(documents)
    made = Line(database, spark)
    settle(made)
    return made


def mend(line: Line) -> Repair:
    """Repair, as the command does."""
    return repair(line.database, now=lambda: line.now)


class Damage:
    """What is done to one document."""

    def __init__(self, collection: str, key: Mapping[str, Any], change: Mapping[str, Any] | None) -> None:
        self.collection, self.key, self.change = collection, key, change

    def do(self, database: Database[Document]) -> None:
        """Change the document, make it when there is none, or delete it."""
        if self.change is None:
            assert database[self.collection].delete_one(self.key).deleted_count == 1
        else:
            done = database[self.collection].update_one(self.key, self.change, upsert=True)
            assert done.modified_count == 1 or done.upserted_id is not None


DAY = {"dimension": "user_id", "length_s": store.DAY_S}
DAMAGES = {
    "a window's energy": Damage(RUN, {"_id": WINDOW}, {"$set": {"aggregate.energy_kwh": 1.0}}),
    "a window's emissions": Damage(RUN, {"_id": WINDOW}, {"$set": {"aggregate.emissions_kg": 1.0}}),
    "a window's count, too low": Damage(RUN, {"_id": WINDOW}, {"$inc": {"aggregate.events": -3}}),
    "a window's count, too high": Damage(RUN, {"_id": WINDOW}, {"$inc": {"aggregate.events": 3}}),
    "a window is gone": Damage(RUN, {"_id": WINDOW}, None),
    "a window has no figures": Damage(RUN, {"_id": WINDOW}, {"$unset": {"aggregate": 1}}),
    "a window has no revision": Damage(RUN, {"_id": WINDOW}, {"$unset": {"aggregate.revision": 1}}),
    "a window of no event": Damage(
        RUN,
        {"_id": ELSEWHERE},
        {"$set": {"run_id": "run", "aggregate": {"revision": 5, "events": 5, "samples": 2, "energy_kwh": 1.0}}},
    ),
    "a summary is gone": Damage(SUMMARY, {"_id": "run"}, None),
    "a summary has no sources": Damage(SUMMARY, {"_id": "run"}, {"$unset": {"sources": 1}}),
    "a source's energy, too high": Damage(SUMMARY, {"_id": "run"}, {"$set": {"sources.second.energy_kwh": 5.0}}),
    "a source's energy, too low": Damage(SUMMARY, {"_id": "run"}, {"$set": {"sources.second.energy_kwh": 0.0}}),
    "a source's energy, with a gap": Damage(SUMMARY, {"_id": "gap"}, {"$set": {"sources.source.energy_kwh": 5.0}}),
    "a source's numbers, too high": Damage(SUMMARY, {"_id": "run"}, {"$set": {"sources.source.seq_max": 9000}}),
    "a source's begin": Damage(SUMMARY, {"_id": "run"}, {"$set": {"sources.source.first_timestamp_us": 5}}),
    "a source's end": Damage(SUMMARY, {"_id": "run"}, {"$unset": {"sources.source.finished": 1}}),
    "a source that never was": Damage(SUMMARY, {"_id": "run"}, {"$set": {"sources.third": {"seq_max": 3}}}),
    "a source is gone": Damage(SUMMARY, {"_id": "run"}, {"$unset": {"sources.second": 1}}),
    "a run's status": Damage(SUMMARY, {"_id": "run"}, {"$set": {"status": "FAILED"}}),
    "a run's user": Damage(SUMMARY, {"_id": "running"}, {"$set": {"user_id": "eve"}}),
    "a run's energy": Damage(SUMMARY, {"_id": "running"}, {"$set": {"energy_kwh": 9.0}}),
    "a run's end": Damage(SUMMARY, {"_id": "run"}, {"$set": {"finished_at": None}}),
    "no statement": Damage(SUMMARY, {"_id": "run"}, {"$unset": {"settled": 1}}),
    "a wrong statement": Damage(SUMMARY, {"_id": "gap"}, {"$set": {"settled.difference_kwh": 0.0}}),
    "a mark that is never due": Damage(store.DIRTY_WINDOWS, {"_id": WINDOW}, {"$set": {**MARK, "due_at": None}}),
    "a mark without a mark": Damage(store.DIRTY_WINDOWS, {"_id": WINDOW}, {"$set": {"due_at": YESTERDAY}}),
    "a mark of nothing": Damage(store.DIRTY_WINDOWS, {"_id": ELSEWHERE}, {"$set": MARK}),
    "a mark of no window": Damage(store.DIRTY_WINDOWS, {"_id": "x"}, {"$set": {"run_id": "run"}}),
    "a rollup's energy": Damage(ROLLUPS, DAY, {"$set": {"aggregate.energy_kwh": 1.0}}),
    "a rollup is gone": Damage(ROLLUPS, DAY, None),
    "a rollup of no window": Damage(ROLLUPS, {"_id": "x"}, {"$set": {**DAY, "window_start": YESTERDAY, "key": "x"}}),
}


@pytest.mark.parametrize(
    "damages", [pytest.param([name], id=name) for name in DAMAGES] + [list(DAMAGES)[1:12:5], list(DAMAGES)[4::4]]
)
def test_what_raw_events_can_tell_is_mended(line: Line, damages: list[str]) -> None:
    """Found, mended, and after settling as it was before; a second time there is nothing to do."""
    before = contents(line.database)
    for damage in damages:
        DAMAGES[damage].do(line.database)
    assert not audit(line.database, line.now).clean
    done = mend(line)
    assert done.mended
    assert (done.not_mended, done.after.clean) == ([], True), done.as_text() + done.after.as_text()
    again = mend(line)
    assert (again.mended, again.not_mended) == ([], [])
    settle(line)
    same(line.database, before)
    found = audit(line.database, line.now)
    assert (found.clean, [run.pending for run in found.runs if run.pending]) == (True, []), found.as_text()


def test_a_clean_store_is_left_alone(line: Line) -> None:
    """There is nothing to mend, and nothing is written."""
    before = contents(line.database)
    done = mend(line)
    assert (done.mended, done.not_mended, done.after.clean) == ([], [], True)
    assert done.as_text() == "there was nothing to mend"
    same(line.database, before)


@pytest.mark.parametrize(
    ("event", "change", "told"),
    [
        ({"seq": 20}, None, "raw events are missing"),
        ({"event_type": "RunFinished"}, None, "raw events are missing"),
        (
            {"event_type": "HardwareSampled", "seq": 21},
            {"$set": {"energy_kwh": 1.0}},
            "raw events of source",
        ),
    ],
)
def test_what_raw_events_cannot_tell_is_left_and_comes_back_from_the_topic(
    line: Line, event: Document, change: Document | None, told: str
) -> None:
    """Windows that know more than raw are not folded anew from less; the remedy is named, and it helps."""
    before = contents(line.database)
    Damage(RAW, {"run_id": "run", "source_id": "source", **event}, change).do(line.database)
    damaged = contents(line.database)
    done = mend(line)
    assert (done.mended, len(done.not_mended), done.after.clean) == ([], 1, False), done.as_text()
    assert told in done.as_text()
    assert "read the topic again" in done.as_text()
    same(line.database, damaged)
    if change:
        line.database[RAW].delete_many({"run_id": "run"})  # as it says
    line.consume(run_events("run", samples=SAMPLES), offset=0)
    line.consume(run_events("run", source_id="second", samples=SAMPLES, seed=2), offset=2 * SAMPLES + 2)
    line.now += QUIET
    settle(line)
    assert audit(line.database, line.now).clean
    same(line.database, before, RUN, SUMMARY)
    assert [event["_id"] for event in contents(line.database)[RAW]] == [event["_id"] for event in before[RAW]]


def closed(line: Line) -> None:
    """Let the raw events of the finished runs go."""
    line.now += datetime.timedelta(days=40)
    retainer = Retainer(line.database, age=datetime.timedelta(days=30))
    while retainer.step(line.now).events:
        pass


def test_of_a_closed_run_only_what_follows_from_its_summary_is_mended(line: Line) -> None:
    """Its own fields and the statement are; its windows are not, and the remedy says how to begin anew."""
    closed(line)
    before = contents(line.database)
    for damage in ("a run's status", "no statement"):
        DAMAGES[damage].do(line.database)
    assert not audit(line.database, line.now).clean
    done = mend(line)
    assert (len(done.mended), done.not_mended, done.after.clean) == (2, [], True), done.as_text()
    settle(line)
    same(line.database, before)
    DAMAGES["a window is gone"].do(line.database)
    done = mend(line)
    assert (done.mended, done.after.clean) == ([], False)
    assert "delete its document in training_run_summary and its windows" in done.as_text()


def test_an_event_that_comes_while_a_summary_is_mended_is_not_lost(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes between the reading of raw events and the writing, and raises nothing, as the summary is too high."""
    events = run_events("live", samples=SAMPLES, finished=False)
    line.consume(events[:20])
    settle(line)
    high = {f"sources.source.{name}": 2**50 for name in ("seq_max", "last_timestamp_us", "energy_kwh")}
    line.database[SUMMARY].update_one({"_id": "live"}, {"$set": high})
    read = type(line.database[RAW]).count_documents
    left = [events[20:30], events[30:]]

    def count(collection: Any, *arguments: Any, **options: Any) -> int:
        if collection.name == RAW and arguments[0] == {"run_id": "live"} and left:
            line.consume(left.pop(0))
        return read(collection, *arguments, **options)

    monkeypatch.setattr(type(line.database[RAW]), "count_documents", count)
    done = mend(line)
    assert (left, done.not_mended) == ([], [])
    settle(line)
    assert audit(line.database, line.now).clean
    summary: Any = line.database[SUMMARY].find_one({"_id": "live"})
    assert summary["events_expected"] == len(events)
    last = events[-2].to_avro()
    assert summary["energy_kwh"] == pytest.approx(last["cumulative_energy_kwh"])


def test_how_it_ended_is_kept(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pipeline_health, for the stream to export; a store that does not take it changes nothing."""
    DAMAGES["a run's status"].do(line.database)
    record(line.database, audit(line.database, line.now), at=line.now, repaired=0)
    kept: Any = line.database[store.PIPELINE_HEALTH].find_one({"_id": store.AUDIT})
    assert (kept["clean"], kept["differences"], kept["repaired"], kept["runs"]) == (False, 1, 0, 3)
    done = mend(line)
    record(line.database, done.after, at=line.now, repaired=len(done.mended))
    kept = line.database[store.PIPELINE_HEALTH].find_one({"_id": store.AUDIT})
    assert (kept["clean"], kept["differences"], kept["repaired"], kept["at"]) == (True, 0, 1, line.now)

    def refuse(*_: Any, **__: Any) -> None:
        raise PyMongoError("not allowed")

    monkeypatch.setattr(type(line.database[RAW]), "update_one", refuse)
    record(line.database, done.after, at=line.now, repaired=0)


def test_the_command_repairs_and_says_so(stack: Endpoints) -> None:
    """`audit --repair` on a store that has nothing to mend: exit code 0, in each of its forms."""
    environment = {**os.environ, "MONGODB_URI": stack.mongodb_uri}
    for form in ([], ["--json"], ["--counts"]):
        command = [sys.executable, "-m", "wattline_streaming", "audit", "--repair", *form]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode in {0, 1}, done.stderr
        assert "mended" in done.stdout or "nothing to mend" in done.stdout
