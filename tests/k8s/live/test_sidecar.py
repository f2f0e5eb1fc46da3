"""A Job that knows nothing of Wattline, with the sidecar: its energy is booked, and its end is its own."""

from __future__ import annotations

import datetime
from collections.abc import Callable

import pytest

from tests.k8s.live.conftest import Ready
from tests.k8s.live.foreign import ForeignJob
from tests.k8s.live.installation import Installation, wait_until
from wattline_common.store import as_map

pytestmark = pytest.mark.timeout(900)

STORED_S = 120.0
ENDED_S = 300.0
# What was used since the last look, a second before its end, a container takes along; that of the init container, and
# what the kernel counts of starting processes, nobody says.
UNSEEN_S, UNSAID_S = 1.6, 1.5
Report = Callable[[str], None]


@pytest.fixture
def installation(ready: Ready) -> Installation:
    """Return where it runs."""
    return ready.installation


def wait_ended(installation: Installation, job: ForeignJob) -> str:
    """Wait until the Job has ended; return how."""
    wait_until(lambda: installation.job_ended(job.name), job.told, ENDED_S)
    return str(installation.job_ended(job.name))


def wait_run_ended(job: ForeignJob) -> str:
    """Wait until the store has the end of its run, with all its events; return its status."""

    def whole() -> bool:
        run = job.run()
        return bool(run and run["status"] != "RUNNING" and job.stored_events() == run["events_expected"])

    wait_until(whole, lambda: f"the run's end: {job.run()}\n{job.told()}", STORED_S)
    run = job.run()
    assert run is not None
    return str(run["status"])


def test_a_foreign_job_is_booked_by_its_cpu_time(installation: Installation, report: Report) -> None:
    """The run has the energy of the CPU seconds that the Job itself tells, and who, what and where by annotations."""
    job = ForeignJob(installation, CPU_S="30")
    assert wait_ended(installation, job) == "Complete", job.told()
    assert wait_run_ended(job) == "UNKNOWN"
    run = job.run()
    assert run is not None
    assert (run["user_id"], run["project"], run["model_name"]) == ("ada", "vision", job.model_name)
    pod = job.pod()
    assert (run["hosts"], run["environment"]) == ([pod["spec"]["nodeName"]], "cluster")
    (source,) = run["sources"].values()
    tags = as_map(source["started"]["tags"])
    assert (tags["kubernetes_job"], tags["kubernetes_pod"]) == (job.name, pod["metadata"]["name"])
    said_s, measured_s = job.said_cpu_s(), job.measured_cpu_s()
    report(f"a foreign Job told {said_s:.2f} CPU s, its run has the energy of {measured_s:.2f}")
    assert said_s > 30
    assert said_s - UNSEEN_S < measured_s < said_s + UNSAID_S


def test_the_jobs_exit_code_is_its_own(installation: Installation, report: Report) -> None:
    """A training that fails is a Job that failed, with its own code; the sidecar delays its end by moments only."""
    job = ForeignJob(installation, CPU_S="8", EXIT_CODE="3")
    assert wait_ended(installation, job) == "Failed"
    (training,) = job.pod()["status"]["containerStatuses"]
    ended = training["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (3, "Error")
    (sidecar,) = [each for each in job.pod()["status"]["initContainerStatuses"] if each["name"] == "wattline"]
    after = _moment(sidecar["state"]["terminated"]["finishedAt"]) - _moment(ended["finishedAt"])
    report(f"the sidecar ended {after.total_seconds():.0f} s after the training, code {_code(sidecar)}")
    assert after < datetime.timedelta(seconds=15)
    assert _code(sidecar) == 0
    assert wait_run_ended(job) == "UNKNOWN"


def _moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def _code(status: dict[str, dict[str, dict[str, int]]]) -> int:
    return status["state"]["terminated"]["exitCode"]


@pytest.mark.parametrize("ignores", ["no", "yes"], ids=["ends on SIGTERM", "ignores SIGTERM"])
def test_what_a_preempted_pod_used_is_delivered(installation: Installation, report: Report, ignores: str) -> None:
    """A pod that is deleted in the midst of its work delivers what was measured, its run's end too.

    Even where the training takes all of the grace period, of which two seconds are then left for the sidecar.
    """
    job = ForeignJob(installation, grace_s=10, CPU_S="3000", IGNORES_SIGTERM=ignores)
    wait_until(lambda: job.measured_cpu_s() > 5, job.told, ENDED_S)
    pod, said_s = job.pod()["metadata"]["name"], job.said_cpu_s()
    installation.kubectl("delete", "pod", "-n", installation.namespace, pod, timeout_s=60)
    status = wait_run_ended(job)
    measured_s = job.measured_cpu_s()
    report(f"a preempted Job had told {said_s:.2f} CPU s, its run has the energy of {measured_s:.2f}, {status}")
    assert measured_s > said_s - UNSEEN_S
    assert installation.job_ended(job.name) == "Failed"


def test_a_sidecar_that_is_killed_goes_on(installation: Installation, report: Report) -> None:
    """The training notices nothing; the run goes on as the same one, and nothing of it is counted twice."""
    job = ForeignJob(installation, CPU_S="60")
    wait_until(lambda: job.measured_cpu_s() > 5, job.told, ENDED_S)
    job.kill_sidecar()
    wait_until(lambda: job.sidecar_restarts() == 1, job.told, 60)
    assert wait_ended(installation, job) == "Complete"
    (training,) = job.pod()["status"]["containerStatuses"]
    assert training["restartCount"] == 0
    wait_until(lambda: job.sources_ended() == [False, True], lambda: f"two sources: {job.run()}", STORED_S)
    said_s, measured_s = job.said_cpu_s(), job.measured_cpu_s()
    report(f"a Job whose sidecar was killed told {said_s:.2f} CPU s, its run has the energy of {measured_s:.2f}")
    assert 0.5 * said_s < measured_s < said_s + UNSAID_S
