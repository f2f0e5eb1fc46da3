"""The embedded store keeps what it acknowledged, says what it cannot, and never guesses."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pymongo
import pytest
from pymongo.errors import OperationFailure, PyMongoError

from tests.integration.stack_helpers import client, journal, only, running
from wattline_common.errors import ResourceError
from wattline_common.store import PIPELINE_HEALTH, STREAMING
from wattline_stack import Stack, StackSettings
from wattline_streaming.figures import Figures
from wattline_streaming.report import Report
from wattline_streaming.vitals import QUERY, Vitals

SMALL_HEAP_MB = 64
EXCEEDED_MEMORY_LIMIT = 146


@pytest.fixture
def store(stack_settings: StackSettings, tmp_path: Path) -> Iterator[Stack]:
    """Run a store alone, on data of its own."""
    with running(only("store", stack_settings, tmp_path)) as stack:
        yield stack


def _documents(stack: Stack) -> list[dict[str, Any]]:
    with client(stack) as mongo:
        return list(mongo.test.things.find().sort("_id", 1))


def test_acknowledged_writes_survive_a_kill_under_load(store: Stack) -> None:
    """Of writes by two clients at once, none that was acknowledged is lost by kill -9, and nothing is invented."""
    acknowledged: list[list[int]] = [[], []]
    enough = threading.Event()

    def write(number: int) -> None:
        with client(store) as mongo:
            for value in range(number, 1_000_000, 2):
                try:
                    mongo.test.things.insert_one({"_id": value, "value": value})
                except PyMongoError:
                    return
                acknowledged[number].append(value)
                if len(acknowledged[number]) > 300:
                    enough.set()

    writers = [threading.Thread(target=write, args=(number,)) for number in (0, 1)]
    for writer in writers:
        writer.start()
    assert enough.wait(60)
    store.kill("store")
    for writer in writers:
        writer.join(60)
    store.restart("store")
    kept = {document["_id"] for document in _documents(store)}
    written = set(acknowledged[0]) | set(acknowledged[1])
    assert written <= kept
    assert len(kept - written) <= 2  # applied, but killed before the answer


def test_updates_deletes_and_drops_are_replayed_in_order(store: Stack) -> None:
    """After a restart every collection is as it was: updates, deletes, replacements, drops and unique indexes."""
    with client(store) as mongo:
        things = mongo.test.things
        things.insert_many([{"_id": number, "n": number} for number in range(10)])
        things.update_many({"n": {"$gte": 5}}, {"$inc": {"n": 100}, "$set": {"late": True}})
        things.delete_one({"_id": 3})
        things.replace_one({"_id": 4}, {"replaced": True})
        things.update_one({"_id": "new"}, {"$max": {"peak.value": 7}}, upsert=True)
        things.find_one_and_update({"_id": 1}, {"$set": {"found": True}})
        mongo.test.gone.insert_one({"_id": 1})
        mongo.test.gone.drop()
        mongo.test.unique.create_index("name", unique=True)
        mongo.test.unique.insert_one({"_id": 1, "name": "a"})
        before = {name: sorted(map(str, mongo.test[name].find())) for name in mongo.test.list_collection_names()}
    store.kill("store")
    store.restart("store")
    with client(store) as mongo:
        after = {name: sorted(map(str, mongo.test[name].find())) for name in mongo.test.list_collection_names()}
        assert after == before
        with pytest.raises(pymongo.errors.DuplicateKeyError):
            mongo.test.unique.insert_one({"_id": 2, "name": "a"})


def test_ids_made_by_the_server_are_the_same_after_replay(store: Stack) -> None:
    """An upsert that names no _id gets one that survives a restart."""
    with client(store) as mongo:
        mongo.test.things.update_one({"name": "a"}, {"$set": {"value": 1}}, upsert=True)
        mongo.test.command({"insert": "things", "documents": [{"name": "b"}]})
    before = _documents(store)
    assert len(before) == 2
    store.kill("store")
    store.restart("store")
    assert _documents(store) == before


def test_what_depends_on_the_clock_is_refused(store: Stack) -> None:
    """$currentDate would be another time after a replay, so it is refused in so many words."""
    with client(store) as mongo, pytest.raises(OperationFailure, match="refuses \\$currentDate"):
        mongo.test.things.update_one({"_id": 1}, {"$currentDate": {"at": True}}, upsert=True)


@pytest.mark.parametrize("cut_bytes", [1, 9, 30])
def test_a_torn_tail_is_cut_and_reported(store: Stack, cut_bytes: int) -> None:
    """A last record that a crash cut off is dropped with a line in the log; everything before it stays."""
    with client(store) as mongo:
        for value in range(3):
            mongo.test.things.insert_one({"_id": value, "text": "x" * 50})
    store.stop()
    with journal(store).open("r+b") as file:
        file.truncate(journal(store).stat().st_size - cut_bytes)
    store.start()
    assert [each["_id"] for each in _documents(store)] == [0, 1]
    assert "torn tail cut" in (store.settings.data_dir / "store" / "server.log").read_text()
    with client(store) as mongo:
        mongo.test.things.insert_one({"_id": "after"})
    store.kill("store")
    store.restart("store")
    assert {each["_id"] for each in _documents(store)} == {0, 1, "after"}


@pytest.mark.parametrize("part", ["length", "sum", "body"])
def test_a_corrupt_middle_is_refused_and_left_alone(store: Stack, part: str) -> None:
    """Damage with good records behind it stops the start, naming offset and remedy; the file is not touched."""
    with client(store) as mongo:
        mongo.test.things.insert_one({"_id": 0})
        bad_offset = mongo.admin.command("serverStatus")["wattline"]["journal_bytes"]
        for value in range(1, 5):
            mongo.test.things.insert_one({"_id": value})
    store.stop()
    content = bytearray(journal(store).read_bytes())
    content[bad_offset + {"length": 1, "sum": 4, "body": 20}[part]] ^= 0x55
    journal(store).write_bytes(content)
    with pytest.raises(ResourceError, match=f"damaged at offset {bad_offset} .*truncate -s {bad_offset} "):
        store.start()
    assert journal(store).read_bytes() == content
    with journal(store).open("r+b") as file:  # the remedy that it names
        file.truncate(bad_offset)
    store.start()
    assert [each["_id"] for each in _documents(store)] == [0]


def test_a_foreign_file_is_refused(store: Stack) -> None:
    """A journal that is none of ours is never written over."""
    store.stop()
    journal(store).write_bytes(b"something else entirely")
    with pytest.raises(ResourceError, match="is not a Wattline journal"):
        store.start()
    assert journal(store).read_bytes() == b"something else entirely"


def test_a_second_store_on_the_same_journal_is_refused(store: Stack) -> None:
    """Two processes never write one journal."""
    pid = store.status()[-1].pid
    assert pid is not None
    command = psutil.Process(pid).cmdline()
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "in use by another store" in done.stdout


def test_a_full_heap_refuses_growth_and_serves_the_rest(stack_settings: StackSettings, tmp_path: Path) -> None:
    """Near its heap's end the store refuses inserts and upserts by name of the setting; reads and deletes go on."""
    with running(only("store", stack_settings, tmp_path, store_heap_mb=SMALL_HEAP_MB)) as stack, client(stack) as mongo:
        things = mongo.test.things
        batch, error = _fill(things)
        assert error.code == EXCEEDED_MEMORY_LIMIT
        assert "WATTLINE_STORE_HEAP_MB" in str(error)
        with pytest.raises(OperationFailure, match="embedded store is full"):
            things.update_one({"_id": "more"}, {"$set": {"text": "x" * 500_000}}, upsert=True)
        assert things.count_documents({}) == batch * 200
        assert things.find_one({"_id": "0-0"}) is not None
        things.delete_many({"_id": {"$regex": "^[0-9]*[02468]-"}})
        _insert_within(things, deadline_s=30)
        kept = things.count_documents({})
        stack.kill("store")
        stack.restart("store")  # a heap that was enough to serve is enough to replay
        assert things.count_documents({}) == kept


def test_a_full_heap_still_takes_the_streams_word(stack_settings: StackSettings, tmp_path: Path) -> None:
    """What keeps the stream from its work is told on a page that reads this store, though it takes nothing new."""
    with running(only("store", stack_settings, tmp_path, store_heap_mb=SMALL_HEAP_MB)) as stack, client(stack) as mongo:
        health, vitals = mongo.test[PIPELINE_HEALTH], Vitals(300)
        report = Report(health, Figures(), vitals)
        report.step()  # there was room when the stream came up
        _, error = _fill(mongo.test.things)
        vitals.note(QUERY, str(error))
        report.step()
        told = health.find_one({"_id": STREAMING})
        assert told is not None
        assert "WATTLINE_STORE_HEAP_MB" in told["figures"]["problems"][QUERY]


def _fill(things: pymongo.collection.Collection[dict[str, Any]]) -> tuple[int, OperationFailure]:
    """Insert until the store refuses; return how many batches of 200 it took, and its refusal."""
    for batch in range(2000):
        try:
            things.insert_many([{"_id": f"{batch}-{row}", "text": "x" * 500} for row in range(200)])
        except OperationFailure as error:
            return batch, error
    raise AssertionError("the guard never refused")


def _insert_within(things: pymongo.collection.Collection[dict[str, Any]], deadline_s: float) -> None:
    deadline = time.monotonic() + deadline_s
    while True:
        try:
            things.insert_one({"_id": "room again"})
        except OperationFailure:
            assert time.monotonic() < deadline, "no insert was taken after half of the data were deleted"
            time.sleep(0.2)
        else:
            return
