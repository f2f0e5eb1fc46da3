"""Compaction of the store's journal changes its length and nothing else."""

from __future__ import annotations

import random
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import bson
import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError, WriteError

from tests.integration.stack_helpers import client, compact, journal, only, running, store_status
from wattline_stack import Stack, StackSettings

SEED = 20261126
DATABASES = 12
STEPS = 60
MAGIC = b"WLJRNL1\n"


@pytest.fixture
def store(stack_settings: StackSettings, tmp_path: Path) -> Iterator[Stack]:
    """Run a store alone that compacts as early as can be set."""
    with running(only("store", stack_settings, tmp_path, store_compact_mb=1)) as stack:
        yield stack


def _contents(stack: Stack) -> dict[str, list[Any]]:
    """Return everything, to the byte and in natural order: documents and descriptions of indexes."""
    found: dict[str, list[Any]] = {}
    with client(stack) as mongo:
        for database in mongo.list_database_names():
            for name in mongo[database].list_collection_names():
                raw = mongo[database].get_collection(name, codec_options=bson.CodecOptions(RawBSONDocument))
                found[f"{database}.{name}"] = [cast(RawBSONDocument, each).raw for each in raw.find()]
                found[f"{database}.{name} indexes"] = sorted(map(str, mongo[database][name].list_indexes()))
    return {name: value for name, value in found.items() if not name.startswith("filler.") and value}


def _log(stack: Stack) -> str:
    return (stack.settings.data_dir / "store" / "server.log").read_text()


Things = Collection[dict[str, Any]]


def _insert(things: Things, chance: random.Random) -> None:
    documents = [{"n": chance.randrange(5), "key": ObjectId(), "text": "x" * chance.randrange(300)} for _ in range(3)]
    things.insert_many(cast("list[dict[str, Any]]", documents))


def _values(things: Things, chance: random.Random) -> None:
    moment = datetime(2026, 11, 26, 17, tzinfo=UTC)
    values: list[Any] = [1, Int64(1), 1.0, None, True, "é", moment, Decimal128("1.10"), Binary(b"\0\1"), []]
    values += [Regex("a", "i"), Timestamp(1, 2), MinKey(), MaxKey(), Code("x"), ObjectId()]
    chance.shuffle(values)
    things.insert_one({"key": ObjectId(), "values": values, "deep": {"b": {"a": values[0]}, "a": [{"z": 1}]}})


def _update(things: Things, chance: random.Random) -> None:
    things.update_one({"n": chance.randrange(5)}, {"$inc": {"deep.count": 1}, "$unset": {"text": ""}})
    things.update_many({"n": 2}, {"$push": {"list": chance.randrange(9)}, "$set": {f"new{chance.randrange(9)}": 1}})


def _replace(things: Things, chance: random.Random) -> None:
    things.replace_one({"n": chance.randrange(5)}, {"n": 1, "key": ObjectId(), "replaced": True})


def _upsert(things: Things, chance: random.Random) -> None:
    things.update_one({"_id": {"run": chance.randrange(4)}}, {"$max": {"peak.value": 3}, "$inc": {"n": 1}}, upsert=True)


def _delete(things: Things, chance: random.Random) -> None:
    things.delete_one({"n": chance.randrange(5)})
    things.find_one_and_delete({"text": {"$exists": True}})


def _indexes(things: Things, chance: random.Random) -> None:
    things.create_index("key", unique=True, sparse=True)
    things.create_index([("n", 1), ("key", -1)], name=f"pair{chance.randrange(2)}")
    if chance.random() < 0.3:
        things.drop_index("key_1")


def _collections(things: Things, chance: random.Random) -> None:
    other = things.database[f"other{chance.randrange(3)}"]
    other.drop()
    other.create_index("only_here", unique=chance.random() < 0.5)
    if chance.random() < 0.5:
        other.rename("renamed", dropTarget=True)


ACTIONS: tuple[Callable[[Things, random.Random], None], ...] = (
    *(_insert, _insert, _values, _update, _replace, _upsert, _delete, _delete, _indexes, _collections),
)


def _change(database: Database[dict[str, Any]], chance: random.Random) -> None:
    for _ in range(STEPS):
        try:
            chance.choice(ACTIONS)(database.things, chance)
        except (DuplicateKeyError, WriteError):  # refused now, so refused in a replay
            continue


def test_everything_is_the_same_after_compactions_and_restarts(store: Stack) -> None:
    """Random writes, a compaction, more writes that depend on what comes first: a replay gives the very same bytes."""
    chance = random.Random(SEED)
    for _ in range(2):
        with client(store) as mongo:
            for number in range(DATABASES):
                _change(mongo[f"db{number}"], chance)
        compact(store)
        with client(store) as mongo:
            for number in range(0, DATABASES, 2):  # the others are as the snapshot gives them
                _change(mongo[f"db{number}"], chance)
        before = _contents(store)
        assert len(before) > DATABASES
        store.kill("store")
        store.restart("store")
        assert _contents(store) == before
    assert "; 0 had failed" not in _log(store).splitlines()[-2], "no write was refused: the test is too tame"


def test_what_changes_during_a_compaction_counts_once(store: Stack) -> None:
    """The snapshot is of the moment of its beginning, though all documents change while it is written."""
    with client(store) as mongo:
        things = mongo.test.things
        things.insert_many([{"_id": number, "n": 0, "text": "x" * 8000} for number in range(1500)])
        rounds = before_rounds = 0
        for _ in range(10):  # on a busy machine one round may take as long as a compaction
            while not store_status(mongo)["compacting"]:
                mongo.filler.filler.replace_one({"_id": 0}, {"text": "x" * 2_000_000}, upsert=True)
            before_rounds = rounds
            while store_status(mongo)["compacting"]:
                rounds += 1
                things.update_many({}, {"$inc": {"n": 1}})
                things.delete_many({"_id": {"$in": [rounds, 1500 - rounds]}})
                things.insert_one({"_id": 1500 + rounds, "n": 0})
                things.update_one({"_id": 1500 + rounds}, {"$inc": {"n": 1}})
            if rounds - before_rounds > 1:
                break
        before = list(things.find({}, {"text": 0}))
    assert rounds - before_rounds > 1, "each compaction was over before anything changed"
    store.kill("store")
    store.restart("store")
    with client(store) as mongo:
        assert list(mongo.test.things.find({}, {"text": 0})) == before


def test_unique_indexes_hold_after_a_compaction(store: Stack) -> None:
    """Deleted documents leave holes, which do not keep a unique index from being made again."""
    with client(store) as mongo:
        things = mongo.test.things
        things.create_index("name", unique=True)
        things.insert_many([{"_id": number, "name": f"name{number}"} for number in range(3000)])
        things.delete_many({"_id": {"$gte": 5, "$lt": 2900}})
    compact(store)
    store.kill("store")
    store.restart("store")
    with client(store) as mongo:
        assert mongo.test.things.count_documents({}) == 105
        with pytest.raises(DuplicateKeyError):
            mongo.test.things.insert_one({"name": "name2950"})
        mongo.test.things.insert_one({"name": "name5"})


def test_the_file_shrinks_and_status_says_so(store: Stack) -> None:
    """A journal of much more than its data becomes about as long as they are, and so does what status shows."""
    with client(store) as mongo:
        mongo.test.things.insert_many([{"_id": number, "text": "x" * 1000} for number in range(500)])
    compact(store)
    with client(store) as mongo:
        assert store_status(mongo)["compaction_pause_ms"] > 0
    assert journal(store).stat().st_size < 1_500_000  # 0.5 MB of things, 0.2 MB of filler and what it wrote meanwhile
    shown = store.status()[-1].data_bytes
    assert shown is not None
    assert shown < 2_500_000
    assert not journal(store).with_name("journal.bin.new").exists()


def test_what_a_killed_compaction_left_is_removed(store: Stack) -> None:
    """A new file that never took the journal's place is ignored, removed and told of."""
    with client(store) as mongo:
        mongo.test.things.insert_one({"_id": 1})
    store.kill("store")
    leftover = journal(store).with_name("journal.bin.new")
    leftover.write_bytes(journal(store).read_bytes()[:-3])
    store.restart("store")
    assert not leftover.exists()
    assert "unfinished compaction removed" in _log(store)
    with client(store) as mongo:
        assert mongo.test.things.count_documents({}) == 1


def test_a_compaction_that_cannot_write_costs_nothing(store: Stack) -> None:
    """Where no new file can be made, the log says so, and the store goes on with its old one."""
    obstacle = journal(store).with_name("journal.bin.new")
    obstacle.mkdir()
    (obstacle / "file").touch()
    with client(store) as mongo:
        for number in range(12):
            mongo.test.things.replace_one({"_id": 0}, {"n": number, "text": "x" * 200_000}, upsert=True)
    assert "not compacted" in _log(store)
    shutil.rmtree(obstacle)
    compact(store)
    store.kill("store")
    store.restart("store")
    with client(store) as mongo:
        assert mongo.test.things.find_one({}, {"text": 0}) == {"_id": 0, "n": 11}


def _frame(command: dict[str, Any]) -> bytes:
    body = bson.encode(command)
    return struct.pack("<iI", len(body), zlib.crc32(body)) + body


def test_a_journal_that_was_never_compacted_is_read(stack_settings: StackSettings, tmp_path: Path) -> None:
    """The form of the file is kept: magic, then length, CRC-32 and BSON; one that is too long is compacted at once."""
    stack = only("store", stack_settings, tmp_path, store_compact_mb=1)
    journal(stack).parent.mkdir(parents=True)
    text = "x" * 200_000
    updates = [{"q": {"_id": 1}, "u": {"$set": {"n": number, "text": text}}} for number in range(20)]
    frames = [
        _frame({"insert": "things", "documents": [{"_id": 1, "n": -1}], "$db": "test"}),
        *(_frame({"update": "things", "updates": [each], "$db": "test"}) for each in updates),
    ]
    journal(stack).write_bytes(MAGIC + b"".join(frames))
    with running(stack), client(stack) as mongo:
        assert mongo.test.things.find_one() == {"_id": 1, "n": 19, "text": text}
        compact(stack)
        assert journal(stack).stat().st_size < 2_000_000
        assert mongo.test.things.find_one() == {"_id": 1, "n": 19, "text": text}


def test_a_snapshot_that_cannot_be_restored_stops_the_start(stack_settings: StackSettings, tmp_path: Path) -> None:
    """A client's command may fail at replay as it failed before; one that a compaction wrote may not go unseen."""
    from wattline_common.errors import ResourceError

    stack = only("store", stack_settings, tmp_path)
    journal(stack).parent.mkdir(parents=True)
    insert = {"insert": "things", "documents": [{"_id": 1}], "$db": "test", "wattlineSnapshot": True}
    content = MAGIC + _frame(insert) + _frame(insert)
    journal(stack).write_bytes(content)
    offset = len(MAGIC) + len(_frame(insert))
    with pytest.raises(
        ResourceError, match=f"damaged at offset {offset} .*snapshot cannot be applied.*truncate -s {offset} "
    ):
        stack.start()
    assert journal(stack).read_bytes() == content
