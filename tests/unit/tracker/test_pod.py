"""A pod's other containers are seen as a whole: none of ours, none twice, and what they used before is not lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.tracker.recorded_proc import TICKS_PER_S, RecordedProc
from wattline.meters.pod import PodHost
from wattline.meters.tree import ProcessTree

PAUSE, OURS, OUR_CHILD, TRAINING, WORKER, ORPHAN = 1, 7, 8, 20, 21, 22


@pytest.fixture
def proc(tmp_path: Path) -> RecordedProc:
    """Give a /proc as a sidecar sees it: containers begin with a process whose parent is outside."""
    made = RecordedProc(tmp_path)
    made.process(PAUSE, 0, own=1)
    made.process(OURS, 0, own=300)
    made.process(OUR_CHILD, OURS, own=50)
    return made


def _host(proc: RecordedProc, pid: int = OUR_CHILD) -> PodHost:
    return PodHost(str(proc.root), pid, TICKS_PER_S)


def _training(proc: RecordedProc) -> None:
    proc.process(TRAINING, 0, own=200)
    proc.process(WORKER, TRAINING, own=30)
    proc.process(ORPHAN, PAUSE, own=4)


def test_all_but_ours_and_the_first_process_are_the_pods(proc: RecordedProc) -> None:
    """A worker counts, and so does one that lost its parent; the namespace's first process and our own do not."""
    host = _host(proc)
    assert host.is_shared
    assert host.processes() == []
    _training(proc)
    assert [process.pid for process in host.processes()] == [TRAINING, WORKER, ORPHAN]


def test_a_container_by_itself_is_told(proc: RecordedProc) -> None:
    """Where the namespace is not shared, the first process is an ancestor of ours."""
    proc.process(OURS, PAUSE)
    assert not _host(proc).is_shared
    assert not _host(proc, PAUSE).is_shared


def test_what_was_used_before_the_first_read_comes_with_the_second(proc: RecordedProc) -> None:
    """The first read is a meter's baseline; from the start on, everything counts, and once."""
    _training(proc)
    tree = ProcessTree(_host(proc), from_start=True)
    assert tree.at(0.0).cpu_s == 0.0
    assert tree.at(1.0).cpu_s == pytest.approx(2.34)
    proc.process(TRAINING, 0, own=300)
    assert tree.at(2.0).cpu_s == pytest.approx(3.34)
    assert ProcessTree(_host(proc)).at(0.0).cpu_s == 0.0
