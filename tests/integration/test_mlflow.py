"""A run's cost is in a real MLflow store, beside the training's own metrics; and an MLflow that fails costs nothing."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.library_venvs import Ended, mlflow_python, run_script
from tests.spooled import events, the_run

POWER_W = 360.0

# A device of known power; the training goes on until it has been sampled some times. What ends it, or is broken before
# it, are its arguments.
TRAINING = f"""
import json, pathlib, sys, time
store, ending, before = sys.argv[1:]
import wattline
assert "mlflow" not in sys.modules, "importing wattline loads it"
import mlflow
from wattline.integrations.mlflow import log_to_mlflow
from wattline.testing import ReplayMeter

mlflow.set_tracking_uri(store)
named, begin = None, mlflow.start_run
exec(before)

def train():
    with log_to_mlflow(wattline.track(run_id="r1", meters=meters, emit_interval_s=0.1), **bridge) as run:
        while run.summary().events_by_type.get("HardwareSampled", 0) < 8:
            run.step(epoch=1, loss=1.0)
            time.sleep(0.01)
        print("trained", flush=True)
        exec(ending)

meters = [ReplayMeter([{POWER_W}])]
bridge = dict(interval_s=0.15, mlflow_run_id=named)
active = begin()
if active is None:
    train()
else:
    try:
        with active:
            mlflow.log_metric("loss", 1.0)
            train()
    finally:
        client = mlflow.MlflowClient()
        found = client.get_run(active.info.run_id)
        histories = {{name: client.get_metric_history(active.info.run_id, name) for name in found.data.metrics}}
        pathlib.Path(sys.argv[0]).with_suffix(".json").write_text(json.dumps({{
            "status": found.info.status, "params": found.data.params, "tags": found.data.tags,
            "metrics": {{name: [(each.value, each.step) for each in all_]  for name, all_ in histories.items()}},
        }}))
print("the end")
"""
NO_RUN = "begin = lambda: None\n"
FAILS = "def fail(*_, **__): raise OSError('broken')\n"


@pytest.fixture(scope="module")
def python() -> Path:
    """Give a Python with MLflow."""
    return mlflow_python()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the address of a store; MLflow makes it, with all its tables, at first use."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'store.db'}"


def _train(
    python: Path, folder: Path, store: str, ending: str = "", before: str = "", **variables: str
) -> tuple[Ended, dict[str, Any]]:
    """Run the training; return how it ended, and the MLflow run as it was then."""
    script = folder / "training.py"
    script.write_text(TRAINING, encoding="utf-8")
    ended = run_script(python, str(script), store, ending, before, spool=folder / "spool", **variables)
    kept = script.with_suffix(".json")
    return ended, json.loads(kept.read_text()) if kept.exists() else {}


def test_what_a_run_costs_is_logged_while_it_trains_and_at_its_end(python: Path, store: str, tmp_path: Path) -> None:
    """The last figures are those of the run's own end; a tag leads from the one to the other."""
    ended, logged = _train(python, tmp_path, store)
    assert (ended.code, ended.out) == (0, "trained\nthe end\n"), ended.err
    (finished,) = events(tmp_path / "spool", "RunFinished")
    run = the_run(tmp_path / "spool")
    assert (finished["status"], logged["status"]) == ("COMPLETED", "FINISHED")
    assert logged["tags"]["wattline.run_id"] == "r1"
    energies_kwh, steps = zip(*logged["metrics"]["energy_kwh"], strict=True)
    assert len(energies_kwh) > 2
    assert list(energies_kwh) == sorted(energies_kwh)
    assert 0 < energies_kwh[0] < energies_kwh[-1] == finished["source_energy_kwh"]
    assert steps[-1] == run.steps > steps[0] > 0
    last = {name: points[-1][0] for name, points in logged["metrics"].items()}
    assert last["emissions_kg"] == finished["source_emissions_kg"]
    assert last["power_w"] == pytest.approx(POWER_W, rel=0.01)
    assert last["energy_low_kwh"] == run.energy_low_kwh < last["energy_kwh"] < last["energy_high_kwh"]
    assert last["measured_energy_kwh"] == run.measured_energy_kwh == last["energy_kwh"]
    assert last["duration_s"] == finished["duration_s"]
    assert last["loss"] == 1.0
    assert logged["params"] == {
        "wattline.methods": "SAMPLED_POWER",
        "wattline.grid_intensity_source": run.grid_intensity_source,
    }


def test_a_training_that_raises_fails_in_both(python: Path, store: str, tmp_path: Path) -> None:
    """Its exception passes as it is, and what it cost is there."""
    ended, logged = _train(python, tmp_path, store, ending="raise ValueError('its own')")
    assert ended.code == 1
    assert ended.err.rstrip().splitlines()[-1].startswith(("ValueError: its own", "wattline: r1"))
    assert (the_run(tmp_path / "spool").status, logged["status"]) == ("FAILED", "FAILED")
    assert logged["metrics"]["duration_s"]


@pytest.mark.parametrize(
    ("before", "warning"),
    [
        (f"{FAILS}mlflow.MlflowClient.log_batch = fail", "logging to MLflow failed"),
        (f"{FAILS}mlflow.MlflowClient.__init__ = fail\n{NO_RUN}named = 'x'", "finding the MLflow run failed"),
        (f"{NO_RUN}named = 'unheard-of'", "logging to MLflow failed"),
        (NO_RUN, "no MLflow run is active"),
    ],
    ids=["nothing can be logged", "no client", "an unknown run", "no run"],
)
def test_what_mlflow_refuses_is_told_once_and_the_training_goes_on(
    python: Path, store: str, tmp_path: Path, before: str, warning: str
) -> None:
    """Same output, same exit code, and the run is measured to its end."""
    ended, _ = _train(python, tmp_path, store, before=before)
    assert (ended.code, ended.out) == (0, "trained\nthe end\n"), ended.err
    assert ended.err.count(warning) == 1, ended.err
    assert the_run(tmp_path / "spool").status == "COMPLETED"


def test_a_server_that_never_answers_holds_up_the_end_only(python: Path, tmp_path: Path) -> None:
    """For a bounded time; steps are not held up at all."""
    shortened = "import wattline.integrations.mlflow as ours; ours._END_TIMEOUT_S = 0.5\n"
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        ended, _ = _train(python, tmp_path, address, before=f"{shortened}{NO_RUN}named = 'x'")
    assert (ended.code, ended.out) == (0, "trained\nthe end\n"), ended.err
    assert "did not take the last figures in 0.5 s" in ended.err
    (finished,) = events(tmp_path / "spool", "RunFinished")
    assert (finished["status"], finished["duration_s"] < 60) == ("COMPLETED", True)
