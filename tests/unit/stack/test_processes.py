"""A process is known by its identity, never by its number alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil

from wattline_stack.processes import ProcessRecord, ProcessTable, find, spawn


def test_a_pid_that_belongs_to_another_process_is_not_ours() -> None:
    """The number of a living process with another start time is not the one that was recorded."""
    born_s = psutil.Process().create_time()
    assert find(ProcessRecord(os.getpid(), born_s)) is not None
    assert find(ProcessRecord(os.getpid(), born_s - 3600)) is None


def test_spawned_processes_have_their_own_session_and_are_found_until_they_end(tmp_path: Path) -> None:
    """Ctrl-C in the caller's terminal does not reach a server; its output is in its log; its end is noticed."""
    code = "import os; print(os.getsid(0) == os.getpid(), dict(os.environ).get('HOME'), flush=True); input()"
    log = tmp_path / "log"
    child, record = spawn([sys.executable, "-c", code.replace("input()", "import time; time.sleep(60)")], tmp_path, log)
    try:
        table = ProcessTable(tmp_path)
        table.put("one", record)
        assert table.running()["one"].pid == child.pid
        while not log.read_text():
            assert child.poll() is None
        assert log.read_text() == "True None\n"
    finally:
        child.kill()
    psutil.wait_procs([psutil.Process(child.pid)] if psutil.pid_exists(child.pid) else [], timeout=10)
    assert ProcessTable(tmp_path).running() == {}


def test_an_unreadable_table_counts_as_empty(tmp_path: Path) -> None:
    """A damaged table must not keep the stack from starting; a server still there holds its port and is named then."""
    (tmp_path / "processes.json").write_text("[1, 2")
    assert ProcessTable(tmp_path).read() == {}
    ProcessTable(tmp_path).put("one", ProcessRecord(1, 2.0))
    assert ProcessTable(tmp_path).read() == {"one": ProcessRecord(1, 2.0)}
    ProcessTable(tmp_path).put("one", None)
    assert ProcessTable(tmp_path).read() == {}
