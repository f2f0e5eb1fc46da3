"""The trainer's settings: the only place of it that reads the environment."""

from __future__ import annotations

from dataclasses import dataclass, field

from wattline_common.environment import Environment
from wattline_common.errors import ConfigurationError
from wattline_common.settings import Endpoints

__all__ = ["MAX_MINUTES", "MIN_MINUTES", "Settings"]

MIN_MINUTES = 0.2
MAX_MINUTES = 60.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How long a training runs, and from which seed; a command line option stands above each.

    The interval and the servers are the tracker's own settings, which a simulation needs before it has a run.
    """

    minutes: float = 3.0
    seed: int = 0
    emit_interval_s: float = 5.0
    endpoints: Endpoints = field(default_factory=Endpoints)

    @classmethod
    def from_environment(cls, environment: Environment | None = None) -> Settings:
        """Read WATTLINE_TRAINER_MINUTES, WATTLINE_TRAINER_SEED and the shared ones.

        Raises `ConfigurationError` when one is wrong.
        """
        env = environment or Environment()
        minutes = env.number("WATTLINE_TRAINER_MINUTES", cls.minutes, at_least=MIN_MINUTES)
        if minutes > MAX_MINUTES:
            raise ConfigurationError(
                f"WATTLINE_TRAINER_MINUTES={minutes:g} is above {MAX_MINUTES:g}; set {MIN_MINUTES:g} to {MAX_MINUTES:g}"
            )
        return cls(
            minutes=minutes,
            seed=env.integer("WATTLINE_TRAINER_SEED", cls.seed),
            emit_interval_s=env.number("WATTLINE_EMIT_INTERVAL_S", cls.emit_interval_s, at_least=0.1),
            endpoints=Endpoints.from_environment(env),
        )
