"""A process tree's CPU time is counted once and never falls, however its processes come and go."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.tracker.recorded_proc import TICKS_PER_S, RecordedProc
from wattline.meters.host import CpuTimes, ProcessTimes, ProcHost
from wattline.meters.psutil_host import PsutilHost
from wattline.meters.tree import ProcessTree

ROOT = 100


@pytest.fixture
def proc(tmp_path: Path) -> RecordedProc:
    """Give a /proc with the root process and a stranger."""
    made = RecordedProc(tmp_path)
    made.process(ROOT, 1, own=500, pages=10)
    made.process(7, 1, own=9999)
    return made


def _tree(proc: RecordedProc) -> ProcessTree:
    tree = ProcessTree(ProcHost(str(proc.root), ROOT, TICKS_PER_S))
    assert tree.at(0.0).cpu_s == 0.0
    return tree


def test_only_what_the_tree_uses_after_the_first_read_counts(proc: RecordedProc) -> None:
    """Earlier CPU time and other people's processes are not the run's."""
    tree = _tree(proc)
    proc.process(ROOT, 1, own=530)
    proc.process(7, 1, own=99999)
    assert tree.at(1.0).cpu_s == pytest.approx(0.30)


def test_children_and_grandchildren_count(proc: RecordedProc) -> None:
    """New descendants count from their start, even where a pid is lower than its parent's."""
    tree = _tree(proc)
    proc.process(101, ROOT, own=20, pages=5)
    proc.process(50, 101, own=7, pages=20)
    use = tree.at(1.0)
    assert use.cpu_s == pytest.approx(0.27)
    assert use.processes == 3
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    assert (use.rss_bytes, use.largest_rss_bytes) == (35 * page_bytes, 20 * page_bytes)


def test_a_child_that_ended_counts_once(proc: RecordedProc) -> None:
    """What a child used while it was seen and what its parent was given for it are not added up."""
    tree = _tree(proc)
    proc.process(101, ROOT, own=40)
    assert tree.at(1.0).cpu_s == pytest.approx(0.40)
    proc.gone(101)
    proc.process(ROOT, 1, own=500, waited=45)
    assert tree.at(2.0).cpu_s == pytest.approx(0.45)


def test_a_child_between_two_reads_counts_in_full(proc: RecordedProc) -> None:
    """A child that nobody saw alive is counted by what its parent was given for it."""
    tree = _tree(proc)
    proc.process(ROOT, 1, own=500, waited=33)
    assert tree.at(1.0).cpu_s == pytest.approx(0.33)


def test_a_parent_that_is_told_late_counts_once(proc: RecordedProc) -> None:
    """A child may vanish just after its parent was read: the parent's count comes with the next read."""
    tree = _tree(proc)
    proc.process(101, ROOT, own=40)
    tree.at(1.0)
    proc.gone(101)
    assert tree.at(2.0).cpu_s == pytest.approx(0.40)
    proc.process(ROOT, 1, own=500, waited=41)
    assert tree.at(3.0).cpu_s == pytest.approx(0.41)


def test_a_child_that_leaves_takes_nothing_back(proc: RecordedProc) -> None:
    """A daemon that left the tree keeps what was counted counted, and later work counts again."""
    tree = _tree(proc)
    proc.process(101, ROOT, own=400)
    tree.at(1.0)
    proc.process(101, 1, own=450)
    proc.process(ROOT, 1, own=510)
    assert tree.at(2.0).cpu_s == pytest.approx(4.10)
    tree.at(3.0)
    proc.process(ROOT, 1, own=510, waited=30)
    assert tree.at(4.0).cpu_s == pytest.approx(4.40)


def test_a_reused_pid_is_another_process(proc: RecordedProc) -> None:
    """A pid with another start is new: it counts from zero and no difference is negative."""
    tree = _tree(proc)
    proc.process(101, ROOT, own=400, started=1)
    tree.at(1.0)
    proc.process(101, ROOT, own=5, started=2)
    proc.process(ROOT, 1, own=500, waited=400)
    assert tree.at(2.0).cpu_s == pytest.approx(4.05)


def test_two_meters_share_one_read(proc: RecordedProc) -> None:
    """The same time gives the same answer without another look."""
    tree = _tree(proc)
    first = tree.at(1.0)
    proc.process(ROOT, 1, own=999)
    assert tree.at(1.0) is first


class _Scripted:
    """A host whose tree is what a test says."""

    logical_cpus = 2
    memory_total_bytes = 1

    def __init__(self, reads: list[list[ProcessTimes]]) -> None:
        self._reads = iter(reads)

    def cpu_times(self) -> CpuTimes:
        return CpuTimes(0.0, 0.0)

    def processes(self) -> list[ProcessTimes]:
        return next(self._reads)


PROCESSES = st.lists(
    st.builds(
        ProcessTimes,
        pid=st.integers(1, 4),
        started=st.just(1.0),
        own_s=st.floats(0, 100),
        children_s=st.floats(0, 100),
        rss_bytes=st.just(1),
    ),
    max_size=4,
    unique_by=lambda process: process.pid,
)


@given(st.lists(PROCESSES, min_size=2, max_size=10))
def test_it_never_falls_whatever_the_counters_do(reads: list[list[ProcessTimes]]) -> None:
    """Even counters that go back and forth give a count that only rises."""
    tree = ProcessTree(_Scripted(reads))
    counts = [tree.at(float(at_s)).cpu_s for at_s in range(len(reads))]
    assert counts[0] == 0.0
    assert counts == sorted(counts)


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs Linux's /proc; psutil serves other systems")
def test_the_two_hosts_agree_on_this_machine() -> None:
    """Reading /proc and asking psutil tell the same tree, a child in it, to within some ticks."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        proc, psutil_host = ProcHost(), PsutilHost()
        ours = {process.pid: process for process in proc.processes()}
        theirs = {process.pid: process for process in psutil_host.processes()}
        assert {os.getpid(), child.pid} <= set(ours)
        assert set(ours) == set(theirs)
        assert ours[os.getpid()].own_s == pytest.approx(theirs[os.getpid()].own_s, abs=0.2)
        assert proc.cpu_times().busy_s == pytest.approx(psutil_host.cpu_times().busy_s, abs=2.0)
        assert proc.logical_cpus == psutil_host.logical_cpus
        assert proc.memory_total_bytes == psutil_host.memory_total_bytes
    finally:
        child.communicate(b"\n", timeout=30)


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs Linux's /proc; psutil serves other systems")
def test_a_real_child_that_burned_and_ended_is_counted() -> None:
    """Real CPU time of a real child is in the tree's count after the child is gone."""
    tree = ProcessTree(ProcHost())
    tree.at(0.0)
    before_s = time.process_time()
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    own_s = time.process_time() - before_s
    assert tree.at(1.0).cpu_s == pytest.approx(own_s + 0.3, abs=0.15)
