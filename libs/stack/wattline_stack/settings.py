"""What may be set from outside: where data and downloads lie, how much heap each server gets, which parts are real."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wattline_common.environment import Environment
from wattline_common.errors import ConfigurationError
from wattline_common.kafka_security import PLAINTEXT, KafkaSecurity
from wattline_common.settings import kafka_security

__all__ = ["StackSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StackSettings:
    """Settings of the stack; an endpoint that is given names a real server, so that part is not started."""

    data_dir: Path
    cache_dir: Path
    kafka_heap_mb: int = 300
    registry_heap_mb: int = 128
    store_heap_mb: int = 768
    store_fsync: bool = False
    store_compact_mb: int = 16
    start_timeout_s: float = 120.0
    stop_timeout_s: float = 20.0
    jar_repository: str = ""
    kafka_bootstrap_servers: str = ""
    schema_registry_url: str = field(default="", repr=False)  # both may hold a password
    mongodb_uri: str = field(default="", repr=False)
    kafka_security: KafkaSecurity = PLAINTEXT

    def __post_init__(self) -> None:
        """Refuse a login to the embedded Kafka, which asks for none."""
        if self.kafka_security.protocol != PLAINTEXT.protocol and not self.kafka_bootstrap_servers:
            raise ConfigurationError(
                f"KAFKA_SECURITY_PROTOCOL={self.kafka_security.protocol} is for a real server: name it by "
                "KAFKA_BOOTSTRAP_SERVERS, or unset the protocol, since the embedded Kafka speaks PLAINTEXT"
            )

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] | None = None) -> StackSettings:
        """Read the settings; raise `ConfigurationError` naming the variable that is wrong."""
        env = Environment(variables)
        return cls(
            data_dir=_folder("WATTLINE_DATA_DIR", env.text("WATTLINE_DATA_DIR", ".wattline")),
            cache_dir=_folder("WATTLINE_CACHE_DIR", env.text("WATTLINE_CACHE_DIR") or _user_cache(env)),
            kafka_heap_mb=env.integer("WATTLINE_KAFKA_HEAP_MB", 300, at_least=128),
            registry_heap_mb=env.integer("WATTLINE_REGISTRY_HEAP_MB", 128, at_least=96),
            store_heap_mb=env.integer("WATTLINE_STORE_HEAP_MB", 768, at_least=32),
            store_fsync=env.flag("WATTLINE_STORE_FSYNC"),
            store_compact_mb=env.integer("WATTLINE_STORE_COMPACT_MB", 16, at_least=1),
            start_timeout_s=env.number("WATTLINE_START_TIMEOUT_S", 120.0, at_least=1.0),
            stop_timeout_s=env.number("WATTLINE_STOP_TIMEOUT_S", 20.0, at_least=0.1),
            jar_repository=env.text("WATTLINE_JAR_REPOSITORY"),
            kafka_bootstrap_servers=env.text("KAFKA_BOOTSTRAP_SERVERS"),
            schema_registry_url=env.text("SCHEMA_REGISTRY_URL"),
            mongodb_uri=env.text("MONGODB_URI"),
            kafka_security=kafka_security(env),
        )


def _folder(name: str, text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:  # ~ of nobody
        raise ConfigurationError(f"{name}={text:.200} is no folder: {error}; name another") from error


def _user_cache(env: Environment) -> str:
    if sys.platform == "darwin":
        return "~/Library/Caches/wattline"
    return os.path.join(env.text("XDG_CACHE_HOME", "~/.cache"), "wattline")  # noqa: PTH118 - "~" is expanded by the caller
