"""Where a run may be used: from many threads, with children started afresh, and cell by cell in a notebook."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import wattline
from wattline.meters.cpu_models import AWS_MEAN, power_model, read_identity
from wattline.report import collect
from wattline.spool_folders import SpoolRoot
from wattline.testing import MemoryPublisher, ReplayMeter
from wattline_common.events import StepCompleted

AWAY = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1"}
THREADS, STEPS = 8, 300
BURNT_S = 1.0


def test_threads_may_report_side_by_side() -> None:
    """No step and no sample is lost, the events are one numbering, and the summary can be asked all the while."""
    publisher = MemoryPublisher()
    with wattline.track(meters=[ReplayMeter([5.0])], publisher=publisher, emit_interval_s=0.1) as run:

        def report(epoch: int) -> None:
            for step in range(STEPS):
                run.step(epoch=epoch, step=step, loss=1.0, samples=2)
                run.summary()

        threads = [threading.Thread(target=report, args=(epoch,)) for epoch in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert (run.summary().steps, run.summary().samples) == (THREADS * STEPS, 2 * THREADS * STEPS)
    assert run.summary().problems == 0
    assert [event.seq for event in publisher.events] == list(range(len(publisher.events)))
    steps = [event for event in publisher.events if isinstance(event, StepCompleted)]
    assert sum(event.steps_covered for event in steps) == THREADS * STEPS


SPAWNING = f"""
import multiprocessing, time
def burn():
    while time.process_time() < {BURNT_S}: pass
if __name__ == "__main__":
    import wattline
    context = multiprocessing.get_context("spawn")
    with wattline.track(model_name="spawning", emit_interval_s=0.2) as run:
        children = [context.Process(target=burn) for _ in range(2)]
        for child in children: child.start()
        for child in children: child.join()
    print([child.exitcode for child in children])
"""


def test_spawned_children_are_the_runs_and_no_runs_of_their_own(tmp_path: Path) -> None:
    """What two of them burn is in the energy of the one run."""
    script = tmp_path / "spawning.py"
    script.write_text(SPAWNING, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, script],
        env={**os.environ, **AWAY, "WATTLINE_SPOOL_DIR": str(tmp_path / "spool"), "WATTLINE_CPU_MODEL": "ccf"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "[0, 0]\n"), ended.stderr
    (run,) = collect(SpoolRoot(tmp_path / "spool"))
    assert (run.sources, run.status) == (1, "COMPLETED")
    power = power_model(read_identity()) or AWS_MEAN
    assert run.energy_kwh * 3.6e6 > 2 * BURNT_S * power.full_w * 0.98


CELLS = """
import wattline
from wattline.testing import MemoryPublisher
class Telling(MemoryPublisher):
    def close(self, timeout_s): print([type(event).__name__ for event in self.events], self.events[-1].status)

run = wattline.track(meters=[], publisher=Telling())
run.step(epoch=1, loss=1.0)
1 / 0
run.step(epoch=2, loss=1.0)
"""


@pytest.mark.parametrize("last", ["run.stop()\n", ""])
def test_a_cell_that_fails_is_not_the_end_of_the_run(last: str) -> None:
    """As in a notebook, one cell after another in one process: the run goes on, and is completed in the end."""
    ended = subprocess.run(
        [sys.executable, "-i", "-q"], input=f"{CELLS}{last}", capture_output=True, text=True, timeout=60, check=False
    )
    assert "ZeroDivisionError" in ended.stderr
    assert (
        ended.stdout == "['RunStarted', 'StepCompleted', 'StepCompleted', 'HardwareSampled', 'RunFinished'] COMPLETED\n"
    )
