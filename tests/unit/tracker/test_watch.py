"""Processes that know nothing of it are measured from outside: until they end, or until the watcher is told to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wattline.__main__ import main
from wattline.meters.cgroup import Cgroup
from wattline.meters.host import ProcHost
from wattline.run import Run
from wattline.spool_folders import SpoolRoot
from wattline.testing import ManualClock, MemoryPublisher, ReplayMeter
from wattline.watch import Mark, Watched, process, watch
from wattline.wiring import track
from wattline_common.events import RunFinished, RunStatus

AWAY = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1"}
DEADLINE_S = 60.0
CPU_S = 2.0
J_PER_CPU_S = 1000.0  # so much that memory is nothing beside it
# When told, works for so many seconds of CPU time itself, and as many in a child that it waits for.
BUSY = f"""
import subprocess, sys, time
work = "import time\\nwhile time.process_time() < {CPU_S}: pass"
input()
subprocess.run([sys.executable, "-c", work], check=True)
until_s = time.process_time() + {CPU_S}
while time.process_time() < until_s: pass
sys.exit(3)
"""


@pytest.fixture(autouse=True)
def _own_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**AWAY, "WATTLINE_SPOOL_DIR": str(tmp_path / "spool")}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def publisher() -> MemoryPublisher:
    """Keep the events."""
    return MemoryPublisher()


@pytest.fixture
def begin(publisher: MemoryPublisher) -> Callable[[], Run]:
    """Begin a run of known power."""
    return lambda: track(meters=[ReplayMeter([10.0])], publisher=publisher, clock=ManualClock())


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """Give a process that lives until it is ended."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as started:
        yield started
        started.kill()


def _status(publisher: MemoryPublisher) -> RunStatus:
    (finished,) = [event for event in publisher.events if isinstance(event, RunFinished)]
    return finished.status


def test_a_process_of_somebody_else_is_measured_until_it_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run has the energy of its CPU time, its children's too, and its exit code is its own."""
    monkeypatch.setenv("WATTLINE_CPU_MODEL", "tdp-linear")
    monkeypatch.setenv("WATTLINE_CPU_TDP_W", str(J_PER_CPU_S * (os.cpu_count() or 1)))
    with subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, text=True) as busy:
        options = ["--pid", str(busy.pid), "--model-name", "m", "--emit-interval", "0.5"]
        with subprocess.Popen([sys.executable, "-m", "wattline", "watch", *options]) as watcher:
            _until(lambda: any(folder.waiting().events for folder in SpoolRoot(tmp_path / "spool").folders()))
            busy.communicate("go\n", timeout=DEADLINE_S)
            assert busy.returncode == 3
            assert watcher.wait(DEADLINE_S) == 0
    assert main(["report", "--json"]) == 0
    (run,) = json.loads(capsys.readouterr().out)
    assert (run["model_name"], run["status"], run["methods"]) == ("m", "UNKNOWN", ["MODELLED"])
    cpu_s = run["energy_kwh"] * 3.6e6 / J_PER_CPU_S
    # What it used since the last look, half a second before, it takes along; starting Python twice is work, too.
    assert 2 * CPU_S - 0.8 < cpu_s < 2 * CPU_S + 1.0


def _until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_a_watcher_that_is_told_to_stop_leaves_the_process_alone(
    sleeper: subprocess.Popen[bytes], publisher: MemoryPublisher, begin: Callable[[], Run]
) -> None:
    """The run ends as STOPPED while its process lives on."""
    stopping = threading.Event()
    stopping.set()
    run = watch(process(sleeper.pid), begin, stopping)
    assert run is not None
    assert _status(publisher) == RunStatus.STOPPED
    assert sleeper.poll() is None


def test_a_process_that_is_gone_but_not_waited_for_has_ended(
    sleeper: subprocess.Popen[bytes], publisher: MemoryPublisher, begin: Callable[[], Run]
) -> None:
    """What its parent forgot to wait for is a zombie, not a training."""
    watched = process(sleeper.pid)
    sleeper.kill()
    _until(lambda: not watched.alive())
    stopping = threading.Event()
    stopping.set()
    assert watch(watched, begin, stopping) is None
    assert publisher.events == []


def test_containers_that_come_back_are_of_one_run(publisher: MemoryPublisher, begin: Callable[[], Run]) -> None:
    """A container that is started anew goes on with the run, which ends only when the watcher is told to."""
    stopping = threading.Event()
    is_alive = iter([False, True])  # then it has ended
    watched = Watched(host=ProcHost(), cgroup=Cgroup(), alive=lambda: next(is_alive, False), come_back=True)
    timer = threading.Timer(1.0, stopping.set)
    timer.start()
    assert watch(watched, begin, stopping) is not None
    assert stopping.is_set()
    assert _status(publisher) == RunStatus.UNKNOWN


def test_a_watcher_that_is_started_anew_goes_on_with_its_run(tmp_path: Path) -> None:
    """The run's id lies beside the spool; where it cannot be kept, nothing breaks."""
    mark = Mark(tmp_path / "not-there-yet")
    assert mark.run_id() is None
    mark.set("r1")
    assert Mark(tmp_path / "not-there-yet").run_id() == "r1"
    (tmp_path / "file").touch()
    nowhere = Mark(tmp_path / "file")
    nowhere.set("r1")
    assert nowhere.run_id() is None


def test_what_cannot_be_watched_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """No such process, and a pod that does not share its processes, are settings to mend."""
    assert main(["watch", "--pid", "2147483647"]) == 2
    assert "--pid" in capsys.readouterr().err
    assert main(["watch", "--pid", "-1"]) == 2
    assert "--pid" in capsys.readouterr().err
    assert main(["watch", "--pod"]) == 2
    assert "shareProcessNamespace" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["watch"])
    assert "--pid --pod" in capsys.readouterr().err
