"""The store is killed while it writes and compacts: what was acknowledged is there, once."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pymongo import DeleteOne, InsertOne, UpdateOne
from pymongo.errors import DuplicateKeyError, PyMongoError

from tests.integration.stack_helpers import client, journal, only, running
from wattline_stack import Stack, StackSettings

SEED = 20261126
KILLS = 4
MOST_KILLS = 24  # a compaction is over in some 10 ms: not each kill that waits for one is in time
KEYS = 400
BATCH = 20
TEXT_BYTES = 8000
LEFTOVER = "unfinished compaction removed"

State = dict[int, tuple[int, str]]  # by _id: how often it was counted up, and its text


@dataclass
class Writer:
    """Writes batches one after the other and knows what was acknowledged, and which one was on its way."""

    chance: random.Random
    acknowledged: State = field(default_factory=dict)
    on_its_way: State | None = None

    def run(self, stack: Stack) -> None:
        """Write until the store is gone."""
        with client(stack) as mongo:
            while True:
                after, operations = self._batch()
                self.on_its_way = after
                try:
                    mongo.test.things.bulk_write(operations)
                except PyMongoError:
                    return
                self.acknowledged, self.on_its_way = after, None

    def _batch(self) -> tuple[State, list[Any]]:
        """Return operations of one kind, so one command, applied whole or not at all; and what they lead to."""
        after = dict(self.acknowledged)
        keys = self.chance.sample(range(KEYS), BATCH)
        text = self.chance.choice("abcdefgh") * TEXT_BYTES
        kind = self.chance.choice(["insert", "upsert", "upsert", "upsert", "delete"])
        operations: list[Any] = []
        for key in keys:
            if kind == "insert" and key not in after:
                operations.append(InsertOne({"_id": key, "name": f"name{key}", "count": 1, "text": text}))
                after[key] = (1, text)
            elif kind == "delete" and key in after and len(operations) < BATCH // 4:
                operations.append(DeleteOne({"_id": key}))
                del after[key]
            elif kind == "upsert":
                change = {"$inc": {"count": 1}, "$set": {"text": text, "name": f"name{key}"}}
                operations.append(UpdateOne({"_id": key}, change, upsert=True))
                after[key] = (after.get(key, (0, ""))[0] + 1, text)
        return (after, operations) if operations else self._batch()


def _kill(stack: Stack, chance: random.Random, *, while_compacting: bool) -> bool:
    """Kill after a while, or soon after a compaction began; say whether one was cut off."""
    leftover = journal(stack).with_name("journal.bin.new")
    deadline = time.monotonic() + 60
    if while_compacting:
        while not leftover.exists():
            assert time.monotonic() < deadline, "no compaction began within 60 s"
    threading.Event().wait(chance.uniform(0, 0.02) if while_compacting else chance.uniform(0.1, 1.0))
    stack.kill("store")
    return leftover.exists()


def test_acknowledged_writes_survive_kills_in_the_midst_of_compactions(
    stack_settings: StackSettings, tmp_path: Path
) -> None:
    """Killed at seeded moments under load: every acknowledged write is there, counted once; unique names are unique."""
    chance = random.Random(SEED)
    writer = Writer(random.Random(SEED + 1))
    cut_off = kills = 0
    with running(only("store", stack_settings, tmp_path, store_compact_mb=1)) as stack:
        with client(stack) as mongo:
            mongo.test.things.create_index("name", unique=True)
        while kills < KILLS or (not cut_off and kills < MOST_KILLS):
            thread = threading.Thread(target=writer.run, args=(stack,))
            thread.start()
            cut_off += _kill(stack, chance, while_compacting=kills % 2 == 1)
            kills += 1
            thread.join(60)
            stack.restart("store")
            _check(stack, writer)
        log = (tmp_path / "store" / "server.log").read_text()
    assert cut_off > 0, "no kill hit a compaction: this shows nothing"
    assert log.count(LEFTOVER) == cut_off
    assert "compacted from" in log, "no compaction came to its end"


def _check(stack: Stack, writer: Writer) -> None:
    """Hold what is stored against what was acknowledged, with the batch on its way or without it; go on from there."""
    with client(stack) as mongo:
        stored = list(mongo.test.things.find())
        found: State = {each["_id"]: (each["count"], each["text"]) for each in stored}
        assert len(found) == len(stored), "a document is there twice"
        assert found in (writer.acknowledged, writer.on_its_way)
        assert all(each["name"] == f"name{each['_id']}" for each in stored)
        with pytest.raises(DuplicateKeyError):
            mongo.test.things.insert_one({"_id": "twin", "name": stored[0]["name"]})
        assert not list(mongo.test.things.find({"name": stored[0]["name"], "_id": "twin"}))
    writer.acknowledged, writer.on_its_way = found, None
