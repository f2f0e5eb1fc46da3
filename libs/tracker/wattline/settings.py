"""The tracker's settings: the only place of it that reads the environment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from wattline_common.environment import Environment
from wattline_common.errors import ConfigurationError
from wattline_common.settings import Endpoints

__all__ = ["Settings"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a run is measured and where its events go; an argument of `wattline.track` stands above it."""

    disabled: bool = False
    quiet: bool = False
    emit_interval_s: float = 5.0
    region_iso: str = "unknown"
    pue: float = 1.0
    user_id: str = ""
    project: str = ""
    environment: str = "local"
    run_id: str = ""
    flush_timeout_s: float = 10.0
    queue_events: int = 10_000
    visible_gpus: tuple[str, ...] = ()
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

        gpus = env.text("CUDA_VISIBLE_DEVICES")
        return cls(
            disabled=tolerant(lambda: env.flag("WATTLINE_DISABLED"), default=False),
            quiet=tolerant(lambda: env.flag("WATTLINE_QUIET"), default=False),
            emit_interval_s=tolerant(
                lambda: env.number("WATTLINE_EMIT_INTERVAL_S", cls.emit_interval_s, at_least=0.1), cls.emit_interval_s
            ),
            region_iso=env.text("WATTLINE_REGION", cls.region_iso),
            pue=tolerant(lambda: env.number("WATTLINE_PUE", cls.pue, at_least=1.0), cls.pue),
            user_id=env.text("WATTLINE_USER"),
            project=env.text("WATTLINE_PROJECT"),
            environment=env.text("WATTLINE_ENVIRONMENT", cls.environment),
            run_id=env.text("WATTLINE_RUN_ID"),
            flush_timeout_s=tolerant(
                lambda: env.number("WATTLINE_FLUSH_TIMEOUT_S", cls.flush_timeout_s), cls.flush_timeout_s
            ),
            queue_events=tolerant(
                lambda: env.integer("WATTLINE_QUEUE_EVENTS", cls.queue_events, at_least=1), cls.queue_events
            ),
            visible_gpus=tuple(name.strip() for name in gpus.split(",") if name.strip()),
            endpoints=tolerant(lambda: Endpoints.from_environment(env), None),
        )
