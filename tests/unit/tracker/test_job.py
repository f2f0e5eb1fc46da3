"""What torchrun, SLURM and Kubernetes tell of a job becomes run, rank, user, project, host, tags; ours stands above."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import wattline
from wattline.identity import host_name
from wattline.job import Job, next_run_id, read_job
from wattline.testing import MemoryPublisher
from wattline_common.environment import Environment
from wattline_common.events import RunStarted

TORCHRUN = {"TORCHELASTIC_RUN_ID": "j", "WORLD_SIZE": "4", "MASTER_ADDR": "h", "MASTER_PORT": "1", "RANK": "3"}
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_ID": "2",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_PROCID": "1",
    "SLURM_JOB_USER": "ada",
    "SLURM_JOB_ACCOUNT": "vision",
    "SLURM_JOB_NAME": "resnet",
    "SLURM_JOB_PARTITION": "gpu",
}
KUBERNETES = {
    "KUBERNETES_SERVICE_HOST": "10.0.0.1",
    "JOB_COMPLETION_INDEX": "2",
    "JOB_NAME": "train",
    "JOB_UID": "11-22",
    "POD_NAME": "train-2-x",
    "POD_NAMESPACE": "vision",
    "POD_SERVICE_ACCOUNT": "trainer",
    "NODE_NAME": "node-a",
}


def _job(variables: dict[str, str], namespace_file: Path = Path("/nowhere")) -> Job:
    return read_job(Environment(variables), namespace_file)


def test_the_ranks_of_a_job_share_its_name() -> None:
    """By torchrun or SLURM, with several processes only; a name that two jobs may share is none."""
    found = [_job(each) for each in (TORCHRUN, SLURM, {**TORCHRUN, "TORCHELASTIC_RUN_ID": "none"})]
    assert [(each.run, each.rank) for each in found] == [("torchrun-j-h-1-0", 3), ("slurm-7-2-0", 1), ("", 3)]
    alone = _job({**SLURM, "SLURM_STEP_NUM_TASKS": "1", "WORLD_SIZE": "one", "RANK": "x"})
    assert (alone.run, alone.rank) == ("", None)


def test_slurm_tells_user_account_and_names() -> None:
    """Of a single task too; what it does not tell is no tag."""
    found = _job({**SLURM, "SLURM_STEP_NUM_TASKS": "1", "SLURM_JOB_PARTITION": ""})
    assert (found.launchers, found.user_id, found.project, found.host) == (("slurm",), "ada", "vision", "")
    assert found.tags == {"slurm_job_id": "7", "slurm_job_name": "resnet"}


def test_a_pod_tells_node_namespace_and_names() -> None:
    """The pods of an indexed Job share a run, each by its index."""
    found = _job(KUBERNETES)
    assert (found.launchers, found.run, found.rank) == (("kubernetes",), "kubernetes-train-11-22", 2)
    assert (found.host, found.project, found.user_id) == ("node-a", "vision", "trainer")
    assert found.tags == {
        "kubernetes_namespace": "vision",
        "kubernetes_pod": "train-2-x",
        "kubernetes_job": "train",
    }


@pytest.mark.parametrize("missing", ["JOB_UID", "JOB_COMPLETION_INDEX"])
def test_a_jobs_name_alone_names_no_run(missing: str) -> None:
    """It may come again with another training; and pods without an index are no ranks."""
    assert _job({**KUBERNETES, missing: ""}).run == ""


def test_outside_of_a_pod_its_names_mean_nothing() -> None:
    """Others use such variables too."""
    assert _job({**KUBERNETES, "KUBERNETES_SERVICE_HOST": ""}) == Job()


def test_the_namespace_is_found_where_it_is_mounted(tmp_path: Path) -> None:
    """With a service account's token; what the manifest gives stands above it, and without either there is none."""
    mounted = tmp_path / "namespace"
    mounted.write_text("speech\n", encoding="utf-8")
    untold = {**KUBERNETES, "POD_NAMESPACE": ""}
    assert [_job(each, mounted).project for each in (untold, KUBERNETES)] == ["speech", "vision"]
    assert _job(untold).project == ""


def test_the_innermost_counts() -> None:
    """A torchrun within SLURM within a pod: its run and rank, and of the others what it does not tell."""
    found = _job({**KUBERNETES, **SLURM, **TORCHRUN})
    assert found.launchers == ("torchrun", "slurm", "kubernetes")
    assert (found.run, found.rank, found.user_id, found.host) == ("torchrun-j-h-1-0", 3, "ada", "node-a")
    assert {"slurm_job_id", "kubernetes_pod"} <= found.tags.keys()
    in_pods = _job({**KUBERNETES, **TORCHRUN, "TORCHELASTIC_RUN_ID": ""})
    assert (in_pods.run, in_pods.rank) == ("kubernetes-train-11-22", 3)


def test_each_run_of_a_job_has_an_id_of_its_own() -> None:
    """The first of one rank is the first of the others; without a job there is none."""
    first, second = next_run_id(Job(run="slurm-7-2-0")), next_run_id(Job(run="slurm-7-2-0"))
    assert first.startswith("slurm-7-2-0-")
    assert first != second
    assert next_run_id(Job()) == ""


@pytest.fixture
def _in_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("WATTLINE_", "SLURM_"))]:
        monkeypatch.delenv(name)
    for name, value in {**KUBERNETES, **SLURM}.items():
        monkeypatch.setenv(name, value)


def _started(**arguments: object) -> RunStarted:
    publisher = MemoryPublisher()
    with wattline.track(meters=[], publisher=publisher, **arguments):  # type: ignore[arg-type]  # by name
        pass
    first = publisher.events[0]
    assert isinstance(first, RunStarted)
    return first


@pytest.mark.usefixtures("_in_a_job")
def test_a_run_is_booked_on_its_job() -> None:
    """Its events say who, for what, where and which rank; the names are tags."""
    event = _started(tags={"team": "a"})
    assert (event.user_id, event.project, event.host, event.rank) == ("ada", "vision", "node-a", 1)
    assert event.run_id.startswith("slurm-7-2-0-")
    assert event.tags["team"] == "a"
    assert (event.tags["slurm_job_name"], event.tags["kubernetes_pod"]) == ("resnet", "train-2-x")


@pytest.mark.usefixtures("_in_a_job")
def test_what_is_set_stands_above_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of our own, and arguments; a tag that was given is not replaced."""
    for name, value in {"USER": "eve", "PROJECT": "speech", "RUN_ID": "mine"}.items():
        monkeypatch.setenv(f"WATTLINE_{name}", value)
    event = _started(tags={"slurm_job_name": "other"}, host="h", rank=9)
    assert (event.user_id, event.project, event.run_id) == ("eve", "speech", "mine")
    assert (event.host, event.rank, event.tags["slurm_job_name"]) == ("h", 9, "other")


@pytest.mark.usefixtures("_in_a_job")
def test_processes_meet_by_the_machines_own_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Pods of one run on one node must not: neither can see the processes that it would measure for the other."""
    monkeypatch.setenv("WATTLINE_SPOOL_DIR", str(tmp_path))
    with wattline.track(run_id="r", publisher=MemoryPublisher()):
        assert [folder.name for folder in (tmp_path / "running").iterdir()] == [f"{host_name()}-r"]
