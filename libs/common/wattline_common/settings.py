"""Where the servers are: the only place of wattline_common that reads the environment."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from wattline_common.environment import Environment
from wattline_common.kafka_security import PLAINTEXT, KafkaSecurity

__all__ = ["Endpoints", "replication_factor", "without_login"]


@dataclass(frozen=True)
class Endpoints:
    """Addresses of Kafka, the Schema Registry and the store, and how Kafka is entered."""

    kafka_bootstrap_servers: str = "127.0.0.1:9092"
    schema_registry_url: str = "http://127.0.0.1:8081/apis/ccompat/v7"
    mongodb_uri: str = "mongodb://127.0.0.1:27017/"
    kafka_security: KafkaSecurity = PLAINTEXT

    @classmethod
    def from_environment(cls, environment: Environment | None = None) -> Endpoints:
        """Read KAFKA_*, SCHEMA_REGISTRY_URL and MONGODB_URI; raise `ConfigurationError` naming what is wrong."""
        env = environment or Environment()
        return cls(
            kafka_bootstrap_servers=env.text("KAFKA_BOOTSTRAP_SERVERS", cls.kafka_bootstrap_servers),
            kafka_security=_kafka_security(env),
            schema_registry_url=env.text("SCHEMA_REGISTRY_URL", cls.schema_registry_url).rstrip("/"),
            mongodb_uri=env.text("MONGODB_URI", cls.mongodb_uri),
        )


def replication_factor(environment: Environment | None = None) -> int:
    """Read KAFKA_REPLICATION_FACTOR: of topics that are made; raise `ConfigurationError` when it is none."""
    return (environment or Environment()).integer("KAFKA_REPLICATION_FACTOR", 1, at_least=1)


def without_login(url: str) -> str:
    """Return an address as people may see it: without user and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _kafka_security(env: Environment) -> KafkaSecurity:
    return KafkaSecurity(
        protocol=env.text("KAFKA_SECURITY_PROTOCOL", PLAINTEXT.protocol),
        sasl_mechanism=env.text("KAFKA_SASL_MECHANISM", PLAINTEXT.sasl_mechanism),
        sasl_username=env.text("KAFKA_SASL_USERNAME"),
        sasl_password=env.text("KAFKA_SASL_PASSWORD"),
        ssl_ca_location=env.text("KAFKA_SSL_CA_LOCATION"),
    )
