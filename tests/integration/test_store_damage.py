"""A journal that was damaged is never taken for a whole one, whichever bit it was."""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import bson
import psutil
import pytest

from tests.integration.stack_helpers import client, compact, journal, only, running
from wattline_stack import StackSettings

SEED = 7
BODY_FLIPS = 4
MAGIC_BYTES = 8
HEADER_BYTES = 8
DAMAGED_EXIT = 4


@pytest.fixture(scope="module")
def compacted(stack_settings: StackSettings, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], bytes]:
    """Return a store's command line and its journal: a snapshot, then a few records of single writes."""
    folder = tmp_path_factory.mktemp("damage")
    with running(only("store", stack_settings, folder, store_compact_mb=1)) as store:
        with client(store) as mongo:
            mongo.test.things.create_index("key", unique=True)
            mongo.test.things.insert_many([{"_id": number, "key": f"key{number}"} for number in range(3000)])
        compact(store)
        with client(store) as mongo:
            for number in range(3):
                mongo.test.late.insert_one({"_id": number, "text": "x" * 900})
        pid = store.status()[-1].pid
        assert pid is not None
        command = psutil.Process(pid).cmdline()
        store.stop()
        return command, journal(store).read_bytes()


def _records(content: bytes) -> list[tuple[int, int]]:
    """Return offset and length of each record, header and all."""
    found, offset = [], MAGIC_BYTES
    while offset < len(content):
        length = HEADER_BYTES + struct.unpack_from("<i", content, offset)[0]
        found.append((offset, length))
        offset += length
    return found


def _start(command: Sequence[str], content: bytes, folder: Path) -> subprocess.CompletedProcess[str]:
    """Start a store on this content; it is expected to refuse, or else to be killed by the deadline."""
    damaged = folder / "journal.bin"
    damaged.write_bytes(content)
    done = subprocess.run(
        [*command[:-1], str(damaged)], capture_output=True, text=True, timeout=120, check=False, cwd=folder
    )
    assert damaged.read_bytes() == content, "a store that refuses changes nothing"
    return done


@pytest.mark.parametrize("which", ["first", "a snapshot's", "the first write's", "last"])
def test_a_flipped_bit_is_found_wherever_it_is(which: str, compacted: tuple[list[str], bytes], tmp_path: Path) -> None:
    """In length, sum or body, in a snapshot's record or a write's, even the last: offset and remedy are named."""
    command, content = compacted
    records = _records(content)
    writes = [
        each
        for each in records
        if b"late" in content[each[0] : each[0] + 60] and b"insert" in content[each[0] : each[0] + 20]
    ]
    at = {"first": 0, "a snapshot's": len(records) // 2, "the first write's": records.index(writes[0]), "last": -1}[
        which
    ]
    offset, length = records[at]
    chance = random.Random(f"{SEED} {which}")
    places = [chance.randrange(4), 4 + chance.randrange(4), HEADER_BYTES + chance.randrange(4)]
    places += [chance.randrange(HEADER_BYTES, length) for _ in range(BODY_FLIPS)]
    for place in places:
        bit = 1 << chance.randrange(8)
        flipped = bytearray(content)
        flipped[offset + place] ^= bit
        done = _start(command, bytes(flipped), tmp_path)
        said = f"bit {bit} of byte {place} of the record at {offset}: {done.stdout}"
        assert done.returncode == DAMAGED_EXIT, said
        assert f"is damaged at offset {offset} " in done.stdout, said
        assert f"truncate -s {offset} " in done.stdout, said


def test_a_flipped_bit_in_the_magic_is_found(compacted: tuple[list[str], bytes], tmp_path: Path) -> None:
    """What does not begin as a journal is not read as one."""
    command, content = compacted
    done = _start(command, bytes([content[0] ^ 1]) + content[1:], tmp_path)
    assert done.returncode == DAMAGED_EXIT
    assert "is not a Wattline journal" in done.stdout


@pytest.mark.parametrize("left_bytes", [3, 10, 500])
@pytest.mark.parametrize("zeros", [0, 600], ids=["cut", "never written"])
def test_a_torn_last_record_is_dropped(
    left_bytes: int, zeros: int, stack_settings: StackSettings, compacted: tuple[list[str], bytes], tmp_path: Path
) -> None:
    """Cut anywhere, or with room that a power cut left unwritten: it was never acknowledged, and all else is there."""
    _, content = compacted
    offset, _ = _records(content)[-1]
    store = only("store", stack_settings, tmp_path)
    journal(store).parent.mkdir(parents=True)
    journal(store).write_bytes(content[: offset + left_bytes] + bytes(zeros))
    with running(store), client(store) as mongo:
        assert mongo.test.late.count_documents({}) == 2
        assert mongo.test.things.count_documents({}) == 3000
    assert "torn tail cut" in (tmp_path / "store" / "server.log").read_text()
    assert journal(store).read_bytes() == content[:offset]


def test_records_are_as_documented(compacted: tuple[list[str], bytes]) -> None:
    """Every body, of a snapshot or a write, is one BSON document of the length that its header says."""
    _, content = compacted
    commands = [bson.decode(content[at + HEADER_BYTES : at + length]) for at, length in _records(content)]
    marked = [next(iter(each)) for each in commands if each.get("wattlineSnapshot")]
    assert {"create", "insert", "createIndexes"} <= set(marked)
    assert [next(iter(each)) for each in commands if each["$db"] == "test"][-3:] == ["insert"] * 3
