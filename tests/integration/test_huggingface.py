"""A real `Trainer` is measured by one line, and trains, prints and ends as without it."""

from __future__ import annotations

import json
import re
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.integration.huggingface_training import EPOCHS, FAULT_AT, SAMPLES, STEPS, train
from tests.library_venvs import Ended, huggingface_python
from tests.spooled import events, the_run
from wattline.report import collect
from wattline.spool_folders import SpoolRoot

pytestmark = pytest.mark.timeout(900)  # the venv is 1.7 GB, and is made by whoever asks first
FAST: dict[str, Any] = {"emit_interval_s": 0.1, "dataset_name": "sums"}
CAUGHT = "try: train()\nexcept ValueError: print('caught')\n"
RAISES = "raise ValueError('its own')"


@pytest.fixture(scope="module")
def python() -> Path:
    """Give a Python with transformers and torch."""
    return huggingface_python()


@pytest.fixture(scope="module")
def off(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """Give what the training is without us."""
    ended = train(python, tmp_path_factory.mktemp("off"), None)
    assert ended.code == 0, ended.err
    return ended


def test_a_measured_training_is_as_without_us_and_tells_all_of_itself(python: Path, off: Ended, tmp_path: Path) -> None:
    """Same weights, output and random numbers; in the spool are plan, hyperparameters, every step and the end."""
    on = train(python, tmp_path, {**FAST, "hyperparameters": {"note": "mine"}})
    assert (on.code, on.out) == (off.code, off.out), on.err
    assert re.search(r"wattline: bert-.* kWh", on.err)
    (started,) = events(tmp_path / "spool", "RunStarted")
    assert (started["planned_epochs"], started["planned_steps"]) == (EPOCHS, STEPS)
    assert (started["model_name"], started["dataset_name"], started["framework"]) == ("bert", "sums", "torch")
    expected = {"learning_rate": "5e-05", "per_device_train_batch_size": "8", "lr_scheduler_type": "linear"}
    assert started["hyperparameters"].items() >= {**expected, "note": "mine"}.items()
    steps = events(tmp_path / "spool", "StepCompleted")
    assert sum(step["steps_covered"] for step in steps) == STEPS
    assert sum(step["samples"] for step in steps) == EPOCHS * SAMPLES
    assert {step["epoch"] for step in steps} == {1, 2}
    log = json.loads((tmp_path / "log0.json").read_text())
    losses = [entry for entry in log if "loss" in entry]
    evaluated = [entry for entry in log if "eval_accuracy" in entry]
    last = steps[-1]
    assert (last["step"], last["loss"], last["gradient_norm"]) == (STEPS, losses[-1]["loss"], losses[-1]["grad_norm"])
    assert last["accuracy"] == evaluated[-1]["eval_accuracy"]
    assert last["metrics"]["eval_loss"] == evaluated[-1]["eval_loss"]
    assert losses[-1]["energy_kwh"] > 0
    assert losses[-1]["emissions_kg"] > 0
    (finished,) = events(tmp_path / "spool", "RunFinished")
    assert (finished["status"], finished["final_loss"]) == ("COMPLETED", losses[-1]["loss"])
    assert finished["source_energy_kwh"] >= losses[-1]["energy_kwh"]


@pytest.mark.parametrize(
    ("arguments", "planned_epochs"),
    [
        ({"gradient_accumulation_steps": 3}, EPOCHS),
        ({"gradient_accumulation_steps": 3, "dataloader_drop_last": True}, EPOCHS),
        ({"num_train_epochs": 1.5}, None),
        ({"max_steps": 20}, None),
    ],
    ids=str,
)
def test_steps_and_samples_are_those_that_were_trained_on(
    python: Path, tmp_path: Path, arguments: dict[str, Any], planned_epochs: int | None
) -> None:
    """Whatever is accumulated or left out; the plan is what was done, and names epochs only where they are whole."""
    ended = train(python, tmp_path, FAST, **arguments)
    assert ended.code == 0, ended.err
    trained = re.search(r"^trained on (\d+) in (\d+)$", ended.out, re.MULTILINE)
    assert trained is not None
    steps = events(tmp_path / "spool", "StepCompleted")
    assert sum(step["samples"] for step in steps) == int(trained[1])
    assert sum(step["steps_covered"] for step in steps) == int(trained[2])
    (started,) = events(tmp_path / "spool", "RunStarted")
    assert (started["planned_epochs"], started["planned_steps"]) == (planned_epochs, int(trained[2]))


@pytest.mark.parametrize(
    ("fault", "code", "status"),
    [(RAISES, 1, "FAILED"), ("raise KeyboardInterrupt", -signal.SIGINT, "STOPPED"), ("sys.exit(3)", 3, "FAILED")],
)
def test_a_training_that_raises_ends_with_its_script(
    python: Path, tmp_path: Path, fault: str, code: int, status: str
) -> None:
    """The Trainer tells callbacks nothing of it; the exception is the script's own, with its exit code."""
    on = train(python, tmp_path, FAST, fault=fault)
    assert on.code == code, on.err
    assert ("its own" in on.err) == (fault == RAISES)
    run = the_run(tmp_path / "spool")
    assert (run.status, run.steps) == (status, FAULT_AT)
    if fault == RAISES:
        alone = train(python, tmp_path / "off", None, fault=fault)
        assert (on.code, on.out) == (alone.code, alone.out)


def test_an_exception_that_is_caught_fails_its_run_and_not_the_next(python: Path, tmp_path: Path) -> None:
    """At the next training's begin, or at once by a `with`; the same callback then measures the next one."""
    again = f"{CAUGHT}options['fault_at'] = -1\ntrain()\noptions['fault_at'] = {FAULT_AT}\n"
    at_once = (
        "try:\n    with callbacks[0]: train()\nexcept ValueError: pass\n"
        "first, second = callbacks[0].run.summary(), callbacks[0].run.summary()\n"
        "print('ended at once:', first.duration_s == second.duration_s)\n"
    )
    ended = train(python, tmp_path, FAST, how=again + at_once + CAUGHT, fault=RAISES)
    assert ended.code == 0, ended.err
    assert "ended at once: True" in ended.out
    assert ended.out.count("caught") == 2
    runs = sorted((run.status, run.steps) for run in collect(SpoolRoot(tmp_path / "spool")))
    assert runs == [("COMPLETED", STEPS), ("FAILED", FAULT_AT), ("FAILED", FAULT_AT), ("FAILED", FAULT_AT)]


def test_a_used_up_budget_ends_the_training_in_good_order(python: Path, tmp_path: Path) -> None:
    """The Trainer ends by itself and says what it has trained; nothing is raised, and the run is STOPPED."""
    budget = {**FAST, "budget_kg": 1e-9, "budget_action": "stop"}
    ended = train(python, tmp_path, budget, num_train_epochs=200)
    assert ended.code == 0, ended.err
    assert "train_loss" in ended.out
    assert ended.out.endswith("the end\n")
    run = the_run(tmp_path / "spool")
    assert run.status == "STOPPED"
    assert 0 < run.steps < 200 * STEPS / EPOCHS
    assert run.emissions_g > 1e-6


def test_ranks_are_one_run_and_stop_together(python: Path, tmp_path: Path) -> None:
    """One of them measures and finds the budget used up; at the same step both end, and nobody waits for ever."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{probe.getsockname()[1]}"
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--rdzv_backend=c10d", "--rdzv_id=job")
    budget = {**FAST, "budget_kg": 1e-9, "budget_action": "stop"}
    ended = train(
        python, tmp_path, budget, *launcher, f"--rdzv_endpoint={endpoint}", num_train_epochs=200, ddp_backend="gloo"
    )
    assert ended.code == 0, ended.err
    assert {event["rank"] for event in events(tmp_path / "spool", "RunStarted")} == {0, 1}
    run = the_run(tmp_path / "spool")
    assert (run.sources, run.status) == (2, "STOPPED")
    ends = {json.loads((tmp_path / f"log{rank}.json").read_text())[-1]["step"] for rank in (0, 1)}
    assert len(ends) == 1
    assert ends.pop() < 200 * STEPS / EPOCHS / 2


@pytest.mark.parametrize(
    ("before", "environment", "told"),
    [
        ("import wattline.integrations.huggingface as hf; hf._plan = None", {}, "starting the run failed"),
        ("import wattline.integrations.huggingface as hf; hf._logged = hf._batch = None", {}, "taking a step failed"),
        ("", {"WATTLINE_SPOOL_DIR": "/proc/spool"}, "spool"),
        ("", {"WATTLINE_DISABLED": "1"}, ""),
    ],
    ids=["no run begins", "the Trainer cannot be read", "no spool", "switched off"],
)
def test_a_fault_of_ours_is_not_the_trainings(
    python: Path, off: Ended, tmp_path: Path, before: str, environment: dict[str, str], told: str
) -> None:
    """Same weights, same output, same exit code; the fault is told."""
    ended = train(python, tmp_path, FAST, before=before, environment=environment)
    assert (ended.code, ended.out) == (off.code, off.out), ended.err
    assert bool(told) == ("wattline" in ended.err)
    assert told in ended.err


def test_an_argument_that_track_does_not_have_is_told_at_once(python: Path, tmp_path: Path) -> None:
    """As `track` itself would: before anything is trained."""
    ended = train(python, tmp_path, {"modelname": "x"})
    assert ended.code == 1
    assert "unexpected keyword argument 'modelname'" in ended.err
