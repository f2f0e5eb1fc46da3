"""The tracker's settings: the only place of it that reads the environment."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from wattline.job import Job, read_job
from wattline.meters.cpu_charge import CPU_MODELS
from wattline_common.carbon.settings import GridSettings
from wattline_common.environment import Environment
from wattline_common.errors import ConfigurationError
from wattline_common.settings import Endpoints

__all__ = ["Settings", "environment_with"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a run is measured and where its events go; an argument of `wattline.track` stands above it."""

    disabled: bool = False
    quiet: bool = False
    emit_interval_s: float = 5.0
    region_iso: str = "unknown"
    grid: GridSettings = field(default_factory=GridSettings)
    pue: float = 1.0
    budget_kg: float | None = None
    user_id: str = ""
    project: str = ""
    environment: str = "local"
    run_id: str = ""
    job: Job = field(default_factory=Job)
    """What torchrun, SLURM and Kubernetes say of the job around this process; the settings here stand above it."""
    flush_timeout_s: float = 10.0
    queue_events: int = 10_000
    spool_dir: Path = Path()
    spool_mb: int = 512
    visible_gpus: tuple[str, ...] | None = None
    local_ranks: int | None = None
    cpu_model: str = ""
    cpu_tdp_w: float = 0.0
    share: str = "tree"
    memory_allocated_bytes: int | None = None
    endpoints: Endpoints | None = field(default_factory=Endpoints)  # None: they are wrong, so events go nowhere

    @classmethod
    def from_environment(
        cls, problem: Callable[[ConfigurationError], None], environment: Environment | None = None
    ) -> Settings:
        """Read WATTLINE_* and the servers' addresses; a wrong one is told to ``problem`` and takes its default."""
        env = environment or Environment()

        def tolerant(read: Callable[[], T], default: T) -> T:
            try:
                return read()
            except ConfigurationError as error:
                problem(error)
                return default

        def one_of(name: str, default: str, values: Sequence[str]) -> str:
            text = env.text(name, default)
            if text != default and text not in values:
                problem(ConfigurationError(f"{name}={text!r} is none of {', '.join(values)}; set it to one of them"))
                return default
            return text

        megabytes = tolerant(lambda: env.integer("SLURM_MEM_PER_NODE", 0), 0)
        return cls(
            disabled=tolerant(lambda: env.flag("WATTLINE_DISABLED"), default=False),
            quiet=tolerant(lambda: env.flag("WATTLINE_QUIET"), default=False),
            emit_interval_s=tolerant(
                lambda: env.number("WATTLINE_EMIT_INTERVAL_S", cls.emit_interval_s, at_least=0.1), cls.emit_interval_s
            ),
            region_iso=env.text("WATTLINE_REGION", cls.region_iso),
            grid=tolerant(lambda: GridSettings.from_environment(env), GridSettings()),
            pue=tolerant(lambda: env.number("WATTLINE_PUE", cls.pue, at_least=1.0), cls.pue),
            budget_kg=tolerant(
                lambda: env.number("WATTLINE_BUDGET_KG", 0.0) if env.text("WATTLINE_BUDGET_KG") else None, None
            ),
            user_id=env.text("WATTLINE_USER"),
            project=env.text("WATTLINE_PROJECT"),
            environment=env.text("WATTLINE_ENVIRONMENT", cls.environment),
            run_id=env.text("WATTLINE_RUN_ID"),
            job=read_job(env),
            flush_timeout_s=tolerant(
                lambda: env.number("WATTLINE_FLUSH_TIMEOUT_S", cls.flush_timeout_s), cls.flush_timeout_s
            ),
            queue_events=tolerant(
                lambda: env.integer("WATTLINE_QUEUE_EVENTS", cls.queue_events, at_least=1), cls.queue_events
            ),
            spool_dir=_spool_dir(env),
            spool_mb=tolerant(lambda: env.integer("WATTLINE_SPOOL_MB", cls.spool_mb, at_least=1), cls.spool_mb),
            visible_gpus=_visible_gpus(env),
            local_ranks=tolerant(lambda: env.integer("LOCAL_WORLD_SIZE", 0), 0) or None,
            cpu_model=one_of("WATTLINE_CPU_MODEL", cls.cpu_model, CPU_MODELS),
            cpu_tdp_w=tolerant(lambda: env.number("WATTLINE_CPU_TDP_W", cls.cpu_tdp_w), cls.cpu_tdp_w),
            share=one_of("WATTLINE_SHARE", cls.share, ("tree", "cgroup")),
            memory_allocated_bytes=megabytes * 2**20 or None,
            endpoints=tolerant(lambda: Endpoints.from_environment(env), None),
        )


def environment_with(**variables: str | None) -> dict[str, str]:
    """Return the environment for a process to start: this one, and some variables of ours; None leaves one alone."""
    return {**os.environ, **{name: value for name, value in variables.items() if value is not None}}


def _visible_gpus(env: Environment) -> tuple[str, ...] | None:
    """Return the cards that are named, None where none need be; as CUDA has it, an empty list hides every card."""
    name = "CUDA_VISIBLE_DEVICES"
    return tuple(filter(None, map(str.strip, env.text(name).split(",")))) if env.is_set(name) else None


def _spool_dir(env: Environment) -> Path:
    """Return the folder of the spool: the one that is set, else the place for a user's state."""
    if given := env.text("WATTLINE_SPOOL_DIR"):
        return Path(given).absolute()
    if state := env.text("XDG_STATE_HOME"):
        return Path(state).absolute() / "wattline"
    try:
        return Path.home() / ".local" / "state" / "wattline"
    except RuntimeError:  # a user without a home
        return Path(tempfile.gettempdir()) / "wattline"
