"""The spool keeps every whole record whatever is cut off or damaged, and counts what it gives up."""

from __future__ import annotations

import datetime
import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline.guard import Problems
from wattline.locks import Lock, is_locked
from wattline.spool import Spool
from wattline.spool_aside import keep_aside
from wattline.spool_folders import SpoolRoot
from wattline.spool_records import Record, scan
from wattline.spool_segments import SegmentQueue, segment_paths
from wattline_common.events import RunFinished, RunStatus, StepCompleted

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
RECORDS = st.lists(
    st.builds(Record, st.text(max_size=20), st.integers(1, 60_000), st.text(max_size=20), st.binary(max_size=60)),
    max_size=8,
)


def _step(seq: int, source_id: str = "s") -> StepCompleted:
    return StepCompleted(
        run_id="r", source_id=source_id, seq=seq, timestamp=START, steps_covered=2, cumulative_energy_kwh=0.0
    )


def _spool(root: Path, source_id: str = "s", cap_bytes: int = 10**7) -> Spool:
    return Spool(SpoolRoot(root), source_id, "r", Problems(), cap_bytes=cap_bytes, queue_events=10**6)


def _written(root: Path, events: int, source_id: str = "s", cap_bytes: int = 10**7) -> Spool:
    spool = _spool(root, source_id, cap_bytes)
    spool.start()
    for seq in range(events):
        spool.append(_step(seq, source_id))
    spool.close()
    return spool


@given(RECORDS)
def test_what_was_written_is_read(records: list[Record]) -> None:
    """Every record comes back as it was, in order, and no byte is left."""
    data = b"".join(record.frame() for record in records)
    found = scan(data, complete=True)
    assert (found.records, found.damaged, found.end) == (records, 0, len(data))


@given(RECORDS, st.data())
def test_a_torn_tail_costs_the_record_that_was_being_written(records: list[Record], data: st.DataObject) -> None:
    """Cut anywhere: all records before the cut are there; a growing file waits for the rest, a dead one counts it."""
    whole = b"".join(record.frame() for record in records)
    cut = data.draw(st.integers(0, len(whole)))
    kept, end = 0, 0
    while kept < len(records) and end + len(records[kept].frame()) <= cut:
        end += len(records[kept].frame())
        kept += 1
    growing = scan(whole[:cut], complete=False)
    assert (growing.records, growing.damaged, growing.end) == (records[:kept], 0, end)
    dead = scan(whole[:cut], complete=True)
    assert (dead.records, dead.damaged, dead.end) == (records[:kept], int(end < cut), cut)


@given(RECORDS.filter(bool), st.data())
def test_a_flipped_bit_costs_one_record(records: list[Record], data: st.DataObject) -> None:
    """Wherever it is, the others are read, and the damage is counted."""
    frames = [record.frame() for record in records]
    hit = data.draw(st.integers(0, len(frames) - 1))
    spoiled = bytearray(frames[hit])
    spoiled[data.draw(st.integers(0, len(spoiled) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    found = scan(b"".join([*frames[:hit], bytes(spoiled), *frames[hit + 1 :]]), complete=True)
    assert found.records == records[:hit] + records[hit + 1 :]
    assert found.damaged == 1


def test_a_segment_goes_when_all_of_it_is_acknowledged_and_not_before(tmp_path: Path) -> None:
    """In any order of acknowledgement, with records given back in between; then the account knows what it said."""
    spool = _written(tmp_path, 3)
    items = [spool.take(), spool.take(), spool.take()]
    assert spool.take() is None
    for item in (items[2], items[0]):
        assert item is not None
        spool.settle(item, delivered=True)
        assert not spool.is_done()
    assert items[1] is not None
    spool.give_back(items[1])
    assert not spool.is_done()
    again = spool.take()
    assert again is not None
    assert again.record == items[1].record
    spool.settle(again, delivered=True)
    assert spool.is_done()
    assert spool.end() == (0, 0)
    (account,) = SpoolRoot(tmp_path).history()
    assert (account.run_id, account.source_id, account.events, account.steps) == ("r", "s", 3, 6)


def test_the_cap_drops_the_oldest_segments_and_counts_their_events(tmp_path: Path) -> None:
    """What is on disk stays below it; what is left and what was dropped is all there was; the account knows all."""
    spool = _written(tmp_path, 9000, cap_bytes=400_000)
    spool.end()
    (folder,) = SpoolRoot(tmp_path).folders()
    waiting = folder.waiting()
    assert folder.bytes() <= 400_000
    assert waiting.dropped == spool.dropped > 0
    assert waiting.events + waiting.dropped == 9000
    assert waiting.account.steps == 2 * 9000
    queue = SegmentQueue(folder.path, complete=True)
    assert queue.take() is not None


def test_a_full_spool_gives_up_the_dead_before_the_living(tmp_path: Path) -> None:
    """The segments of a source that is gone go first; the living one keeps its events."""
    _written(tmp_path, 2000, "dead").end()
    living = _written(tmp_path, 300, "living", cap_bytes=300_000)
    assert living.dropped == 0
    assert [folder.source_id for folder in SpoolRoot(tmp_path).folders()] == ["living"]
    (account,) = SpoolRoot(tmp_path).history()
    assert (account.source_id, account.events_dropped) == ("dead", 2000)


def test_a_living_source_is_left_alone_and_a_dead_one_is_claimed_once(tmp_path: Path) -> None:
    """The lock of a folder decides; who claims it holds it."""
    living = _written(tmp_path, 1, "living")
    _written(tmp_path, 1, "dead").end()
    root = SpoolRoot(tmp_path)
    claimed = list(root.leftovers())
    assert [each.folder.source_id for each in claimed] == ["dead"]
    assert list(root.leftovers()) == []
    claimed[0].close()
    living.end()
    assert {each.folder.source_id for each in root.leftovers()} == {"dead", "living"}


def test_damage_in_a_file_is_counted_and_the_rest_delivered(tmp_path: Path) -> None:
    """Garbage at the end and in the middle, as a power cut leaves it."""
    _written(tmp_path, 10).end()
    (folder,) = SpoolRoot(tmp_path).folders()
    (path,) = segment_paths(folder.path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data) + b"WLS1 and no more")
    waiting = folder.waiting()
    assert (waiting.events, waiting.damaged) == (9, 2)
    (leftover,) = SpoolRoot(tmp_path).leftovers()
    while (item := leftover.take()) is not None:
        leftover.settle(item, delivered=True)
    assert leftover.damaged == 2
    leftover.close()
    assert SpoolRoot(tmp_path).history()[0].events == 9


@pytest.mark.parametrize(
    ("foreign", "refused", "reason"),
    [
        (b"WLS2 of a later release", False, "1 damaged records"),
        (b"", True, "1 events that cannot be sent"),
        (b"WLS2", True, "1 damaged records, 1 events that cannot be sent"),
    ],
)
def test_what_cannot_be_delivered_is_kept_aside_with_the_reason(
    tmp_path: Path, foreign: bytes, refused: bool, reason: str
) -> None:
    """The file as it was; moved back it is delivered again."""
    _written(tmp_path, 10).end()
    root = SpoolRoot(tmp_path)
    (path,) = segment_paths(root.folders()[0].path)
    path.write_bytes(path.read_bytes() + foreign)
    content = path.read_bytes()
    assert _delivered(root, refuses_first=refused) == 10 - refused
    assert root.folders() == []
    (kept,) = root.kept_aside.glob("*/*.seg")
    assert kept.read_bytes() == content
    reasons = kept.parent / "reasons.txt"
    assert reasons.read_text(encoding="utf-8") == f"{kept.name}: {reason}\n"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (reasons, root.history_path)] == [0o600, 0o600]
    assert root.take_back() == 1
    assert not list(root.kept_aside.glob("*/"))
    assert _delivered(root, refuses_first=False) == 10
    assert root.history()[0].events_dropped == 0


def test_a_part_that_is_delivered_later_changes_no_report(tmp_path: Path) -> None:
    """The account of what was kept aside is of a part of the source: what the whole has cost stays."""
    _written(tmp_path, 3000, cap_bytes=10**6).end()
    root = SpoolRoot(tmp_path)
    paths = segment_paths(root.folders()[0].path)
    assert len(paths) > 1
    paths[-1].write_bytes(paths[-1].read_bytes() + b"WLS2")
    assert _delivered(root, refuses_first=False) == 3000
    before = root.history()
    assert root.take_back() == 1
    assert 0 < _delivered(root, refuses_first=False) < 3000
    assert [account.events for account in root.history()] == [3000]
    assert root.history() == before


@pytest.mark.parametrize("impossible", ["account.json", "kept-aside"])
def test_what_cannot_be_delivered_is_never_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, impossible: str
) -> None:
    """Whatever of the bookkeeping fails first, as on a full disk: the file is kept aside, at the latest next time."""
    _written(tmp_path, 10).end()
    root = SpoolRoot(tmp_path)
    (path,) = segment_paths(root.folders()[0].path)
    content = path.read_bytes() + b"WLS2"
    path.write_bytes(content)
    with monkeypatch.context() as full:

        def fail(*_: object) -> None:
            raise OSError(errno.ENOSPC, "no room")

        if impossible == "account.json":
            full.setattr("wattline.spool_segments._write_json", fail)
        else:
            full.setattr("wattline.spool_segments.keep_aside", fail)
            full.setattr("wattline.spool_folders.keep_aside", fail)
        assert _delivered(root, refuses_first=False) == 10
    _delivered(root, refuses_first=False)
    (kept,) = root.kept_aside.glob("*/*.seg")
    assert kept.read_bytes() == content
    assert root.folders() == []


def test_a_file_that_nobody_reads_is_not_removed(tmp_path: Path) -> None:
    """One whose name is no number, say as a person copied it."""
    _written(tmp_path, 1).end()
    root = SpoolRoot(tmp_path)
    (path,) = segment_paths(root.folders()[0].path)
    path.rename(path.with_name("a copy.seg"))
    assert _delivered(root, refuses_first=False) == 0
    assert [kept.name for kept in root.kept_aside.glob("*/*.seg")] == ["a copy.seg"]


def test_a_segment_that_is_given_up_for_room_is_not_kept_aside(tmp_path: Path) -> None:
    """Damage in it does not change that its room is needed."""
    _written(tmp_path, 10).end()
    root = SpoolRoot(tmp_path)
    (path,) = segment_paths(root.folders()[0].path)
    path.write_bytes(path.read_bytes() + b"WLS2")
    (leftover,) = root.leftovers()
    assert leftover.drop_oldest()
    assert not root.kept_aside.exists()


def test_what_is_kept_aside_is_bounded_and_keeps_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old files go; the folder stays small."""
    monkeypatch.setattr("wattline.spool_aside._MOST_BYTES", 2500)
    (tmp_path / "kept-aside").mkdir()
    for number in range(5):
        path = tmp_path / "spool" / f"source-{number}" / "00000001.seg"
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(1000))
        os.utime(path, (number, number))
        keep_aside(path, tmp_path, "a test")
    assert sorted(each.name for each in (tmp_path / "kept-aside").iterdir()) == ["source-3", "source-4"]


def _delivered(root: SpoolRoot, *, refuses_first: bool) -> int:
    """Take all that the dead have left; return how many events Kafka took."""
    delivered = 0
    for leftover in root.leftovers():
        refuses = refuses_first
        while (item := leftover.take()) is not None:
            leftover.settle(item, delivered=not refuses)
            delivered += not refuses
            refuses = False
        leftover.close()
    return delivered


def test_the_history_is_bounded_and_keeps_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old accounts go; the file stays small."""
    monkeypatch.setattr("wattline.spool_folders._HISTORY_BYTES", 3000)
    for number in range(20):
        spool = _spool(tmp_path, f"s{number}")
        spool.start()
        spool.append(
            RunFinished(
                run_id=f"r{number}",
                source_id=f"s{number}",
                seq=0,
                timestamp=START,
                status=RunStatus.COMPLETED,
                source_energy_kwh=0.0,
            )
        )
        spool.close()
        item = spool.take()
        assert item is not None
        spool.settle(item, delivered=True)
        spool.end()
    history = SpoolRoot(tmp_path).history()
    assert SpoolRoot(tmp_path).history_path.stat().st_size < 4000
    assert 0 < len(history) < 20
    assert history[-1].run_id == "r19"


def test_a_lock_ends_with_its_process_though_a_forked_child_lives_on(tmp_path: Path) -> None:
    """SIGKILL frees it; a child that was forked meanwhile does not keep it."""
    code = (
        "import os, time; from pathlib import Path; from wattline.locks import Lock\n"
        f"lock = Lock(Path({str(tmp_path / 'lock')!r})); lock.acquire()\n"
        "if os.fork() == 0: print(os.getpid(), flush=True)\n"
        "time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        assert is_locked(tmp_path / "lock")
        process.kill()
        process.wait(20)
        assert not is_locked(tmp_path / "lock")
        assert Path(f"/proc/{child}").exists()
        assert Lock(tmp_path / "lock").acquire()
    finally:
        os.kill(child, signal.SIGKILL)
