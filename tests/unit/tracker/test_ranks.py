"""One process measures for all of a run on a host, none is counted twice, and runs of their own measure their own."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import fastavro
import pytest

from wattline import ranks
from wattline.meters.cpu_models import AWS_MEAN, power_model, read_identity
from wattline.meters.host import CpuTimes, ProcessTimes, ProcHost
from wattline.ranks import Ranks, RanksHost, rank_folders
from wattline.report import collect
from wattline.spool_folders import SpoolRoot
from wattline.spool_records import scan
from wattline.spool_segments import segment_paths
from wattline_common.codec import newest_schema

CPU_S = 4.0

# Each process spins for its share of CPU time between two barriers, and tells how much it was in all. Around it the run
# has a whole tick, in which the one that measures finds them all, or all they have used: two samples in the spool.
RANK = """
import sys, time, pathlib, wattline
from wattline.settings import Settings
from wattline.spool_folders import SpoolRoot
from wattline.spool_records import scan
from wattline.spool_segments import segment_paths
name, count, cpu_s, folder = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), pathlib.Path(sys.argv[4])
def until(condition):
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s, "waited too long"
        time.sleep(0.02)
def barrier(stage):
    (folder / f"{stage}.{name}").touch()
    until(lambda: len(list(folder.glob(f"{stage}.*"))) >= count)
def samples():
    sources = [each for each in root.folders() if each.owner.get("run_id") == run.run_id]
    segments = [scan(path.read_bytes(), complete=False) for each in sources for path in segment_paths(each.path)]
    return sum(record.name.endswith("HardwareSampled") for segment in segments for record in segment.records)
def tick():
    before = samples()
    until(lambda: samples() >= before + 2)
run = wattline.track(model_name="ranks", emit_interval_s=0.5)
root = SpoolRoot(Settings.from_environment(print).spool_dir)
barrier("begun")
tick()
barrier("found")
begin_s = time.process_time()
while time.process_time() - begin_s < cpu_s:
    pass
used_s = time.process_time() - begin_s
barrier("spun")
tick()
barrier("told")
run.stop()
print(used_s)
"""


def _environment(tmp_path: Path, **more: str) -> dict[str, str]:
    away = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1"}
    return {**os.environ, **away, "WATTLINE_SPOOL_DIR": str(tmp_path / "spool"), **more}


def _cpu_seconds(root: Path) -> tuple[float, int]:
    """Return the CPU seconds that the sources charged, and how many charged any."""
    power = power_model(read_identity()) or AWS_MEAN
    joules = [_cpu_joules(folder.path) for folder in SpoolRoot(root).folders()]
    return sum(joules) / power.full_w, sum(each > 0 for each in joules)


def _cpu_joules(folder: Path) -> float:

    total = 0.0
    for path in segment_paths(folder):
        for record in scan(path.read_bytes(), complete=True).records:
            if record.name.endswith("HardwareSampled"):
                event = fastavro.schemaless_reader(io.BytesIO(record.body), newest_schema(record.name), None)
                assert isinstance(event, dict)
                total += sum(each["energy_kwh"] * 3.6e6 for each in event["devices"] if each["kind"] == "CPU")
    return total


def _spin(tmp_path: Path, count: int, **environment: str) -> float:
    """Run so many processes at once; return the CPU seconds that they used."""
    arguments = [str(count), str(CPU_S), str(tmp_path)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(number), *arguments],
            env=_environment(tmp_path, **environment),
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    return sum(map(float, outputs))


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def test_four_ranks_on_one_host_are_counted_once(tmp_path: Path) -> None:
    """What the four used together is counted within a tenth, but for the tick that each hand-over may lose."""
    used_s = _spin(tmp_path, 4, WATTLINE_RUN_ID="one")
    counted_s, sources = _cpu_seconds(tmp_path / "spool")
    (run,) = collect(SpoolRoot(tmp_path / "spool"))
    assert (run.sources, run.status) == (4, "COMPLETED")
    assert used_s > 4 * CPU_S * 0.99
    # Above the spinning: what they use for waiting and for ourselves. One that ends early hands the measuring over.
    lost_s = (sources - 1) * 1.0 * (os.cpu_count() or 1)
    assert used_s * 0.9 - lost_s < counted_s < used_s * 1.1 + 0.5
    assert sources >= 1


def test_four_runs_on_one_host_are_together_not_above_the_host(tmp_path: Path) -> None:
    """Each measures its own tree: their sum is what they used, and no more than the host's CPUs were busy."""
    host = ProcHost()
    before_s = host.cpu_times().busy_s
    used_s = _spin(tmp_path, 4)
    busy_s = host.cpu_times().busy_s - before_s
    counted_s, sources = _cpu_seconds(tmp_path / "spool")
    assert sources == 4
    assert used_s * 0.9 < counted_s <= busy_s + 0.1
    assert {run.sources for run in collect(SpoolRoot(tmp_path / "spool"))} == {1}


STAYING = """
import time, wattline
run = wattline.track(model_name="ranks", emit_interval_s=0.2, run_id="one")
print(run.source_id, flush=True)
while True:
    sum(range(10000))
"""


def test_another_takes_over_when_the_one_that_measures_is_killed(tmp_path: Path) -> None:
    """By SIGKILL; the run's energy goes on to grow, by the other source."""
    processes, sources = [], []
    try:
        for _ in range(2):
            process = subprocess.Popen(
                [sys.executable, "-c", STAYING], env=_environment(tmp_path), stdout=subprocess.PIPE, text=True
            )
            processes.append(process)
            assert process.stdout is not None
            sources.append(process.stdout.readline().strip())
        folders = [tmp_path / "spool" / "spool" / source for source in sources]
        _until(lambda: _cpu_joules(folders[0]) > 0)
        assert _cpu_joules(folders[1]) == 0
        processes[0].send_signal(signal.SIGKILL)
        _until(lambda: _cpu_joules(folders[1]) > 0)
    finally:
        for process in processes:
            process.kill()
            process.communicate(timeout=20)


def test_a_script_inside_a_measured_command_joins_its_run(tmp_path: Path) -> None:
    """It reports its steps; the command alone measures; both are one run."""
    script = "import wattline\nwith wattline.track(model_name='inner') as run: run.step(epoch=1, loss=1.0)"
    command = [sys.executable, "-m", "wattline", "run", "--model-name", "outer", "--", sys.executable, "-c", script]
    ended = subprocess.run(command, env=_environment(tmp_path), capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    assert ended.stderr.count("kWh") == 1
    (run,) = collect(SpoolRoot(tmp_path / "spool"))
    assert (run.sources, run.steps, run.status) == (2, 1, "COMPLETED")
    energies = [folder.waiting().account.energy_kwh for folder in SpoolRoot(tmp_path / "spool").folders()]
    assert sorted(energy > 0 for energy in energies) == [False, True]


class _Host:
    """A host whose trees are told."""

    logical_cpus = 2
    memory_total_bytes = 10**9
    trees: dict[int, list[ProcessTimes]] = {}  # noqa: RUF012  # a stand-in

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def cpu_times(self) -> CpuTimes:
        return CpuTimes(0.0, 0.0)

    def processes(self) -> list[ProcessTimes]:
        return self.trees.get(self._pid, [])


def test_a_process_is_counted_once_and_from_when_it_joins(tmp_path: Path) -> None:
    """One that stands in two trees counts in one; what a late one used before is not the run's."""
    folders = [tmp_path / "run"]
    first = Ranks(folders, pid=1)
    _Host.trees = {1: [ProcessTimes(1, 1.0, 5.0, 0.0, 10), ProcessTimes(3, 1.0, 1.0, 0.0, 10)]}
    host = RanksHost(first, _Host)
    assert sum(process.own_s for process in host.processes()) == 6.0
    second = Ranks(folders, pid=2)
    inner = Ranks(folders, pid=3)
    assert [first.measures, second.measures, inner.measures] == [True, False, False]
    _Host.trees[2] = [ProcessTimes(2, 1.0, 7.0, 0.0, 10)]
    _Host.trees[3] = [ProcessTimes(3, 1.0, 1.0, 0.0, 10)]
    assert sum(process.own_s for process in host.processes()) == 6.0
    _Host.trees[2] = [ProcessTimes(2, 1.0, 9.0, 0.0, 10)]
    assert sum(process.own_s for process in host.processes()) == 8.0
    first.leave()
    assert second.stand(1.0)
    assert not inner.stand(1.0)
    second.leave()
    inner.leave()
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "run"])


def test_who_joins_while_a_dead_run_is_swept_away_measures_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rank that comes between the sweeper's look and its removal; nobody measures by a lock that is gone."""
    folder = tmp_path / "running" / "run"
    folder.mkdir(parents=True)
    (folder / "99999999-dead.rank").touch()
    living, early = ranks._living, list[Ranks]()

    def joined_meanwhile(path: Path) -> list[int]:
        found = living(path)
        if not early:
            early.append(Ranks([]))  # it sweeps, too, and must not come here again
            early[0] = Ranks([folder])
        return found

    monkeypatch.setattr(ranks, "_living", joined_meanwhile)
    late = Ranks([folder])
    assert len(early) == 1
    for at_s in (1.0, 2.0):
        assert [each.stand(at_s) for each in (early[0], late)].count(True) == 1
    assert len(late.pids()) == len(early[0].pids()) == 1, "both are this process"
    late.leave()
    early[0].leave()
    assert not folder.exists()


def test_without_a_folder_to_meet_in_each_measures_its_own(tmp_path: Path) -> None:
    """No place can be written: everybody measures, their own tree."""
    (tmp_path / "file").touch()
    ranks = Ranks([tmp_path / "file" / "run"])
    assert ranks.measures
    assert ranks.pids() == [os.getpid()]
    ranks.leave()


def test_ids_make_folders_of_their_own(tmp_path: Path) -> None:
    """Another run or another host is another folder; no id leads out of the root."""
    names = {json.dumps(rank_folders(tmp_path, *each)[0].name) for each in (("h", "a"), ("h", "b"), ("i", "a"))}
    assert len(names) == 3
    assert rank_folders(tmp_path, "../..", "../x")[0].parent == tmp_path / "running"
