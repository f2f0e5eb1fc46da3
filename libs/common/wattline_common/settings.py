"""Where the servers are: the only place of wattline_common that reads the environment."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from wattline_common.environment import Environment
from wattline_common.kafka_security import PLAINTEXT, KafkaSecurity

__all__ = [
    "Endpoints",
    "hosts",
    "kafka_security",
    "mongodb_uri",
    "replication_factor",
    "schema_registry_url",
    "without_login",
]


@dataclass(frozen=True)
class Endpoints:
    """Addresses of Kafka, the Schema Registry and the store, and how Kafka is entered."""

    kafka_bootstrap_servers: str = "127.0.0.1:9092"
    # Both may hold a password, so neither is in a repr.
    schema_registry_url: str = field(default="http://127.0.0.1:8081/apis/ccompat/v7", repr=False)
    mongodb_uri: str = field(default="mongodb://127.0.0.1:27017/", repr=False)
    kafka_security: KafkaSecurity = PLAINTEXT

    @classmethod
    def from_environment(cls, environment: Environment | None = None) -> Endpoints:
        """Read KAFKA_*, SCHEMA_REGISTRY_URL and MONGODB_URI; raise `ConfigurationError` naming what is wrong."""
        env = environment or Environment()
        return cls(
            kafka_bootstrap_servers=env.text("KAFKA_BOOTSTRAP_SERVERS", cls.kafka_bootstrap_servers),
            schema_registry_url=schema_registry_url(env),
            mongodb_uri=mongodb_uri(env),
            kafka_security=kafka_security(env),
        )


def schema_registry_url(environment: Environment | None = None) -> str:
    """Read SCHEMA_REGISTRY_URL alone: who needs no Kafka need not have its password."""
    return (environment or Environment()).text("SCHEMA_REGISTRY_URL", Endpoints.schema_registry_url).rstrip("/")


def mongodb_uri(environment: Environment | None = None) -> str:
    """Read MONGODB_URI alone, likewise."""
    return (environment or Environment()).text("MONGODB_URI", Endpoints.mongodb_uri)


def replication_factor(environment: Environment | None = None) -> int:
    """Read KAFKA_REPLICATION_FACTOR: of topics that are made; raise `ConfigurationError` when it is none."""
    return (environment or Environment()).integer("KAFKA_REPLICATION_FACTOR", 1, at_least=1)


def without_login(url: str) -> str:
    """Return an address as people may see it: without user and password, even where these are not escaped."""
    # By the last @ and no parser: a password with a bare / # or ? in it would be taken for a host or a path.
    login, _, bare = url.rpartition("@")
    scheme, between, _ = login.partition("://")
    return f"{scheme}{between}{bare}" if between else bare


def hosts(uri: str) -> str:
    """Return hosts and ports of an address alone, as people may see them; of a text that is no address, nothing."""
    _, _, bare = without_login(uri).rpartition("://") if "://" in uri else ("", "", "")
    return re.split(r"[/?#]", bare, maxsplit=1)[0] or "(no host)"


def kafka_security(env: Environment) -> KafkaSecurity:
    """Read KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_* and KAFKA_SSL_CA_LOCATION; raise `ConfigurationError`."""
    return KafkaSecurity(
        protocol=env.text("KAFKA_SECURITY_PROTOCOL", PLAINTEXT.protocol),
        sasl_mechanism=env.text("KAFKA_SASL_MECHANISM", PLAINTEXT.sasl_mechanism),
        sasl_username=env.text("KAFKA_SASL_USERNAME"),
        sasl_password=env.text("KAFKA_SASL_PASSWORD"),
        ssl_ca_location=env.text("KAFKA_SSL_CA_LOCATION"),
    )
