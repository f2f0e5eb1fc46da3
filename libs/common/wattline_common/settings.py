"""Where the servers are: the only place of wattline_common that reads the environment."""

from __future__ import annotations

from dataclasses import dataclass

from wattline_common.environment import Environment

__all__ = ["Endpoints"]


@dataclass(frozen=True)
class Endpoints:
    """Addresses of Kafka, the Schema Registry and the store."""

    kafka_bootstrap_servers: str = "127.0.0.1:9092"
    schema_registry_url: str = "http://127.0.0.1:8081/apis/ccompat/v7"
    mongodb_uri: str = "mongodb://127.0.0.1:27017/"

    @classmethod
    def from_environment(cls, environment: Environment | None = None) -> Endpoints:
        """Read KAFKA_BOOTSTRAP_SERVERS, SCHEMA_REGISTRY_URL and MONGODB_URI."""
        env = environment or Environment()
        return cls(
            kafka_bootstrap_servers=env.text("KAFKA_BOOTSTRAP_SERVERS", cls.kafka_bootstrap_servers),
            schema_registry_url=env.text("SCHEMA_REGISTRY_URL", cls.schema_registry_url).rstrip("/"),
            mongodb_uri=env.text("MONGODB_URI", cls.mongodb_uri),
        )
