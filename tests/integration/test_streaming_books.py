"""Promises of the books, settling and audit on the real store: once is once, and every damage is seen and mended."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database
from pyspark.sql import SparkSession

from tests.events import START, run_events
from tests.integration.store_line import DELAY, QUIET, Line
from wattline_common import store
from wattline_common.errors import IdentityMismatchError, StoreRefusedError
from wattline_common.store import SETTLEMENT, Document
from wattline_streaming.audit import audit
from wattline_streaming.books import KafkaPosition, Message, Rejection
from wattline_streaming.identity import SchemaBook, require_same_surroundings
from wattline_streaming.settle import Settled, Settler


def contents(database: Database[Document]) -> dict[str, list[Document]]:
    """Return raw events and summaries without what tells when and where they came in."""
    kept: dict[str, list[Document]] = {}
    for name in (store.TRAINING_METRICS, store.TRAINING_RUN_SUMMARY):
        documents = database[name].find({}, {"kafka": 0, "ingested_at": 0, "settled": 0})
        kept[name] = sorted(documents, key=lambda document: str(document["_id"]))
    return kept


@pytest.fixture
def other_database(database: Database[Document]) -> Iterable[Database[Document]]:
    """Give a second empty database beside the first."""
    other = database.client[f"{database.name}_other"]
    yield other
    database.client.drop_database(other.name)


def test_replay_duplicates_and_order_end_in_the_same_collections(
    database: Database[Document], other_database: Database[Document]
) -> None:
    """Replays pass on, true duplicates do not, and neither they nor the order change what is stored."""
    events = run_events("run", samples=20)
    straight, crooked = Line(database), Line(other_database)
    assert straight.deliver(events) == len(events)
    backwards = events[::-1]
    assert crooked.deliver(backwards[:25], offset=0) == 25
    assert crooked.deliver(backwards[10:], offset=10) == len(events) - 10, "a replay from the same offsets passes on"
    assert crooked.deliver(events, offset=1000) == 0, "the same events at other offsets are duplicates"
    assert contents(database) == contents(other_database)
    summary = database[store.TRAINING_RUN_SUMMARY].find_one({"_id": "run"})
    assert summary is not None
    assert (summary["status"], summary["events_expected"]) == ("COMPLETED", len(events))


def test_a_rejection_is_kept_once_and_told_once(database: Database[Document]) -> None:
    """A rejected message stands in the store with its bytes, and a replay of its batch tells nobody again."""
    line = Line(database)
    headers = [("h", b"1"), ("h", None)]
    rejection = Rejection(Message(b"k", b"\x00bytes", headers, KafkaPosition(3, 7, START)), "truncated", "too short")
    line.books.reject([rejection])
    line.books.reject([rejection])
    (kept,) = database[store.REJECTED_EVENTS].find()
    assert kept["_id"] == "cluster:training.events:3:7"
    assert (kept["partition"], kept["offset"], kept["append_time"]) == (3, 7, START)
    assert (kept["reason"], kept["key"], kept["value"]) == ("truncated", b"k", b"\x00bytes")
    assert kept["headers"] == [{"k": "h", "v": b"1"}, {"k": "h", "v": None}]
    assert line.topic.sent == [rejection]


def test_what_the_store_refuses_is_no_outage(database: Database[Document]) -> None:
    """A summary that takes no sum is told as a refusal, which stops the stream; it is not waited for for ever."""
    line = Line(database)
    events = run_events("run", samples=4)
    line.deliver(events[:3])
    database[store.TRAINING_RUN_SUMMARY].update_one({"_id": "run"}, {"$set": {"sources": "damaged"}})
    with pytest.raises(StoreRefusedError, match="MONGODB_URI"):
        line.deliver(events[3:])


def test_settling_writes_what_the_stream_missed(database: Database[Document], spark: SparkSession) -> None:
    """Windows that the stream never wrote are folded from raw once they are due, and the audit then is clean."""
    line = Line(database, spark)
    line.deliver(run_events("run", samples=100))
    assert line.settler.step(line.now) == Settled(), "nothing is due yet"
    line.now = START + datetime.timedelta(minutes=2) + DELAY
    assert line.settler.step(line.now).folded_anew == 2
    found = audit(database)
    assert (found.clean, found.open_windows, len(found.runs)) == (True, 0, 1)
    revisions = [window["aggregate"]["revision"] for window in database[store.AGGREGATED_METRICS].find()]
    assert all(revision > SETTLEMENT for revision in revisions)


def test_a_right_window_is_left_alone_and_a_late_event_is_added(
    database: Database[Document], spark: SparkSession
) -> None:
    """Settling touches only what differs; an event after that makes its window late and is counted in the end."""
    line = Line(database, spark)
    events = run_events("run", samples=30)
    late, in_time = events[20], events[:20] + events[21:]
    line.deliver(in_time)
    line.now = START + datetime.timedelta(minutes=1) + DELAY
    line.settler.step(line.now)
    (before,) = database[store.AGGREGATED_METRICS].find()
    line.deliver([late])
    line.now += QUIET
    assert line.settler.step(line.now).folded_anew == 1
    (after,) = database[store.AGGREGATED_METRICS].find()
    assert after["aggregate"]["events"] == before["aggregate"]["events"] + 1 == len(events)
    assert after["aggregate"]["revision"] == 2 * SETTLEMENT + len(events)
    line.deliver(events, offset=5000)  # duplicates mark the window, which is found right
    line.now += QUIET
    assert line.settler.step(line.now) == Settled(windows=1, late=1, folded_anew=0)
    assert audit(database).clean


def test_a_window_of_the_right_count_and_a_wrong_sum_is_folded_anew(
    database: Database[Document], spark: SparkSession
) -> None:
    """Settling compares energies too: an event that is missing and another that counts twice make the right number."""
    line = Line(database, spark)
    events = run_events("run", samples=10)
    line.deliver(events)
    line.now = START + datetime.timedelta(minutes=1) + DELAY
    line.settler.step(line.now)
    (right,) = database[store.AGGREGATED_METRICS].find()
    wrong_kwh = 2.0 * right["aggregate"]["energy_kwh"]
    database[store.AGGREGATED_METRICS].update_one({}, {"$set": {"aggregate.energy_kwh": wrong_kwh}})
    line.deliver(events, offset=5000)  # duplicates mark the window, and change nothing
    line.now += QUIET
    assert line.settler.step(line.now) == Settled(windows=1, late=1, folded_anew=1)
    (after,) = database[store.AGGREGATED_METRICS].find()
    assert after["aggregate"]["energy_kwh"] == pytest.approx(right["aggregate"]["energy_kwh"], rel=1e-12)


def test_a_late_window_that_is_right_is_told_again_as_it_stands(
    database: Database[Document], spark: SparkSession
) -> None:
    """A repeated batch may have published less since: the topic's last word must be the store's."""
    line = Line(database, spark)
    events = run_events("run", samples=10)
    line.deliver(events)
    line.now = START + datetime.timedelta(minutes=1) + DELAY
    line.settler.step(line.now)
    (before,) = database[store.AGGREGATED_METRICS].find()
    line.deliver(events, offset=5000)
    line.now += QUIET
    told: list[tuple[list[Document], dict[str, int]]] = []
    Settler(database, spark, lambda rows, settlements: told.append((rows, dict(settlements)))).step(line.now)
    ((rows, settlements),) = told
    assert (settlements, [row["events"] for row in rows]) == ({before["_id"]: 1}, [len(events)])
    line.write(rows, settlements)
    assert list(database[store.AGGREGATED_METRICS].find()) == [before]


def test_a_run_that_lives_again_is_not_settled(database: Database[Document], spark: SparkSession) -> None:
    """What settling said of a run's end goes when a further source takes the run up again."""
    line = Line(database, spark)
    line.deliver(run_events("run", source_id="first", samples=5))
    line.now = START + datetime.timedelta(minutes=1) + DELAY
    line.settler.step(line.now)
    assert "settled" in (database[store.TRAINING_RUN_SUMMARY].find_one({"_id": "run"}) or {})
    line.deliver(run_events("run", source_id="second", samples=5, finished=False))
    line.now += QUIET
    line.settler.step(line.now)
    assert "settled" not in (database[store.TRAINING_RUN_SUMMARY].find_one({"_id": "run"}) or {"settled": None})


def test_a_mark_set_during_settling_stays(database: Database[Document], spark: SparkSession) -> None:
    """A window that is marked anew while it is being settled is settled again."""
    line = Line(database, spark)
    line.deliver(run_events("run", samples=10))
    line.now = START + datetime.timedelta(minutes=1) + DELAY

    def write_and_mark(rows: list[Document], settlements: Mapping[str, int]) -> None:
        line.write(rows, settlements)
        database[store.DIRTY_WINDOWS].update_many({}, {"$set": {"mark": "newer"}})

    Settler(database, spark, write_and_mark).step(line.now)
    assert database[store.DIRTY_WINDOWS].count_documents({}) == 1
    line.settler.step(line.now)
    assert database[store.DIRTY_WINDOWS].count_documents({}) == 0


def test_a_gap_is_stated_in_the_summary(database: Database[Document], spark: SparkSession) -> None:
    """With an event missing the source's own total stands, and the summary says what its windows lack."""
    line = Line(database, spark)
    events = run_events("run", samples=30)
    lost = events[21]
    line.deliver([event for event in events if event is not lost])
    line.now = START + datetime.timedelta(minutes=1) + DELAY
    line.settler.step(line.now)
    summary = database[store.TRAINING_RUN_SUMMARY].find_one({"_id": "run"})
    assert summary is not None
    assert summary["settled"]["difference_kwh"] == pytest.approx(lost.to_avro()["energy_kwh"], rel=1e-6)
    found = audit(database)
    assert (found.clean, found.runs[0].missing_events) == (True, 1)
    assert f"{len(events)}        {len(events) - 1}  1 missing" in found.as_counts()
    assert found.as_counts().endswith("NOT OK")


@pytest.mark.parametrize(
    ("collection", "change", "told"),
    [
        (store.TRAINING_METRICS, {"$set": {"energy_kwh": 1.0}}, "window"),
        (store.TRAINING_RUN_SUMMARY, {"$set": {"energy_kwh": 1.0}}, "sources sum to"),
        (store.TRAINING_RUN_SUMMARY, {"$set": {"sources.source.energy_kwh": 1.0}}, "samples sum to"),
        (store.TRAINING_RUN_SUMMARY, {"$set": {"sources.source.seq_max": 5}}, "highest seq"),
        (store.AGGREGATED_METRICS, {"$set": {"aggregate.events": 3}}, "window"),
        (store.AGGREGATED_METRICS, {"$set": {"aggregate.energy_kwh": 1.0}}, "window"),
    ],
)
def test_the_audit_names_a_damage(
    database: Database[Document], spark: SparkSession, collection: str, change: Document, told: str
) -> None:
    """Whatever is changed in one of the three collections, the audit finds it and says where."""
    line = Line(database, spark)
    line.deliver(run_events("run", samples=10))
    line.now = START + datetime.timedelta(minutes=1) + DELAY
    line.settler.step(line.now)
    assert audit(database).clean
    key = {"event_type": "HardwareSampled"} if collection == store.TRAINING_METRICS else {}
    assert database[collection].update_one(key, change).modified_count == 1
    found = audit(database)
    assert not found.clean
    assert told in " ".join(found.runs[0].differences)
    assert "NOT OK" in found.as_text()


@pytest.mark.parametrize("collection", [store.TRAINING_METRICS, store.TRAINING_RUN_SUMMARY, store.AGGREGATED_METRICS])
def test_the_audit_misses_a_document_that_is_gone(
    database: Database[Document], spark: SparkSession, collection: str
) -> None:
    """A document that vanished from any of the three collections is a difference."""
    line = Line(database, spark)
    line.deliver(run_events("run", samples=10))
    line.now = START + datetime.timedelta(minutes=1) + DELAY
    line.settler.step(line.now)
    victim: Any = database[collection].find_one({})
    database[collection].delete_one({"_id": victim["_id"]})
    assert not audit(database).clean


def test_another_kafka_cluster_is_refused(database: Database[Document], tmp_path: Path) -> None:
    """Checkpoint and store remember their cluster; another one is refused with the setting and the remedy."""
    require_same_surroundings(tmp_path, database, "one")
    require_same_surroundings(tmp_path, database, "one")
    with pytest.raises(IdentityMismatchError, match=r"WATTLINE_CHECKPOINT_DIR.*new checkpoint folder"):
        require_same_surroundings(tmp_path, database, "two")
    elsewhere = tmp_path / "new"
    elsewhere.mkdir()
    with pytest.raises(IdentityMismatchError, match=r"MONGODB_URI.*empty store"):
        require_same_surroundings(elsewhere, database, "two")


def test_an_emptied_store_is_refused_with_the_old_checkpoint(database: Database[Document], tmp_path: Path) -> None:
    """Its offsets would skip all that was lost; a new one reads the topic again. What noted no store yet does now."""
    require_same_surroundings(tmp_path, database, "one")
    (tmp_path / "store-id").unlink()
    database[store.PIPELINE_HEALTH].update_one({"_id": "identity"}, {"$unset": {"store_id": ""}})
    require_same_surroundings(tmp_path, database, "one")
    require_same_surroundings(tmp_path, database, "one")
    database[store.PIPELINE_HEALTH].delete_many({})
    with pytest.raises(IdentityMismatchError, match=r"another store.*was emptied since.*new checkpoint folder"):
        require_same_surroundings(tmp_path, database, "one")
    new = tmp_path / "new"
    new.mkdir()
    require_same_surroundings(new, database, "one")


def test_an_id_with_another_schema_stops(database: Database[Document]) -> None:
    """An id keeps the schema of its first sight; a registry that gives another one is not believed."""
    assert SchemaBook(database, lambda _: '"string"')(7) == '"string"'
    assert SchemaBook(database, lambda _: '"string"')(7) == '"string"'
    with pytest.raises(IdentityMismatchError, match="SCHEMA_REGISTRY_URL"):
        SchemaBook(database, lambda _: '"long"')(7)
