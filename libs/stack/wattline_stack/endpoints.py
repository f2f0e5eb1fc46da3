"""Where everything is: what the services need to know, under the names they read it by."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Endpoints"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Addresses of the three servers, and the Java and jars that Spark starts with."""

    kafka_bootstrap_servers: str
    schema_registry_url: str
    mongodb_uri: str
    java_home: Path
    spark_jars: tuple[Path, ...]

    def environment(self) -> dict[str, str]:
        """Return the environment variables that every service of Wattline reads."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka_bootstrap_servers,
            "SCHEMA_REGISTRY_URL": self.schema_registry_url,
            "MONGODB_URI": self.mongodb_uri,
            "JAVA_HOME": str(self.java_home),
            "WATTLINE_SPARK_JARS": ",".join(str(jar) for jar in self.spark_jars),
        }

    def exports(self) -> str:
        """Return the same as lines for a shell: ``eval "$(python -m wattline_stack env)"``."""
        return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in self.environment().items())
