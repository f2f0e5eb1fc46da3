"""What launcher and scheduler say of the job that this process is part of: torchrun, SLURM, Kubernetes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wattline.identity import safe_id
from wattline_common.environment import Environment

__all__ = ["NAMESPACE_FILE", "Job", "next_run_id", "read_job"]

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""Where a pod with a service account's token finds its namespace."""
_RUNS = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The job around this process; what nobody tells is empty. Settings of our own stand above it."""

    launchers: tuple[str, ...] = ()
    """Who tells of it, the innermost first."""
    run: str = ""
    """Identity that the ranks of a distributed job share; empty for a single process."""
    rank: int | None = None
    user_id: str = ""
    project: str = ""
    host: str = ""
    """The machine, where its own name is another."""
    tags: Mapping[str, str] = field(default_factory=dict)


def read_job(env: Environment, namespace_file: Path = NAMESPACE_FILE) -> Job:
    """Return what the environment tells; where several do, the innermost counts. A wrong value is as good as none."""
    found = (_torchrun(env), _slurm(env), _kubernetes(env, namespace_file))

    def first(name: str) -> str:
        return next((value for job in found if (value := str(getattr(job, name)))), "")

    return Job(
        launchers=tuple(name for job in found for name in job.launchers),
        run=first("run"),
        rank=next((job.rank for job in found if job.rank is not None), None),
        user_id=first("user_id"),
        project=first("project"),
        host=first("host"),
        tags={key: value for job in found for key, value in job.tags.items() if value},
    )


def next_run_id(job: Job) -> str:
    """Return the run_id that all ranks of a job come to: its name, and the how manieth run of each process it is."""
    return f"{safe_id(job.run)}-{next(_RUNS)}" if job.run else ""


def _torchrun(env: Environment) -> Job:
    """Read torchrun, or another launcher with its variables: a single process has none of them that count."""
    if (_whole(env, "WORLD_SIZE") or 1) <= 1:
        return Job()
    run = env.text("TORCHELASTIC_RUN_ID", "none")  # torchrun's own default, which any two jobs may have
    place = (env.text("MASTER_ADDR"), env.text("MASTER_PORT"), env.text("TORCHELASTIC_RESTART_COUNT", "0"))
    return Job(
        launchers=("torchrun",) if env.text("TORCHELASTIC_RUN_ID") else (),
        run="" if run == "none" else "-".join(("torchrun", run, *place)),
        rank=_whole(env, "RANK"),
    )


def _slurm(env: Environment) -> Job:
    """Read SLURM; the tasks of one step are ranks of one run."""
    job_id = env.text("SLURM_JOB_ID")
    if not job_id:
        return Job()
    is_ranked = (_whole(env, "SLURM_STEP_NUM_TASKS") or 1) > 1
    parts = ("slurm", job_id, env.text("SLURM_STEP_ID", "0"), env.text("SLURM_RESTART_COUNT", "0"))
    return Job(
        launchers=("slurm",),
        run="-".join(parts) if is_ranked else "",
        rank=_whole(env, "SLURM_PROCID") if is_ranked else None,
        user_id=env.text("SLURM_JOB_USER"),
        project=env.text("SLURM_JOB_ACCOUNT"),
        tags={
            "slurm_job_id": job_id,
            "slurm_job_name": env.text("SLURM_JOB_NAME"),
            "slurm_partition": env.text("SLURM_JOB_PARTITION"),
        },
    )


def _kubernetes(env: Environment, namespace_file: Path) -> Job:
    """Read what a pod's manifest gives by the downward API; the pods of an indexed Job are ranks of one run.

    A Job's name may come again when the Job has gone, and another training must not join its run: so the run is named
    by the Job's uid, and without it each pod is a run of its own.
    """
    if not env.text("KUBERNETES_SERVICE_HOST"):
        return Job()
    namespace, name, uid = env.text("POD_NAMESPACE") or _line(namespace_file), env.text("JOB_NAME"), env.text("JOB_UID")
    index = _whole(env, "JOB_COMPLETION_INDEX")
    return Job(
        launchers=("kubernetes",),
        run="" if index is None or not uid else "-".join(filter(None, ("kubernetes", name, uid))),
        rank=index,
        user_id=env.text("POD_SERVICE_ACCOUNT"),
        project=namespace,
        host=env.text("NODE_NAME"),
        tags={
            "kubernetes_namespace": namespace,
            "kubernetes_pod": env.text("POD_NAME"),
            "kubernetes_job": name,
        },
    )


def _whole(env: Environment, name: str) -> int | None:
    """Return a launcher's number; what is none is no setting of ours to complain of."""
    text = env.text(name)
    return int(text) if text.isascii() and text.isdigit() else None


def _line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
