"""How our clients prove to Kafka who they are, and what they trust: for librdkafka, and for Spark's Java client."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from wattline_common.errors import ConfigurationError

__all__ = ["PLAINTEXT", "KafkaSecurity"]

_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_LOGIN_MODULES = {
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
}


@dataclass(frozen=True, kw_only=True)
class KafkaSecurity:
    """Protocol, SASL login and trusted authorities (a PEM file; none: the system's own).

    Raises `ConfigurationError` when it is made of settings that cannot work. The password is in no repr.
    """

    protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "SCRAM-SHA-512"
    sasl_username: str = ""
    sasl_password: str = field(default="", repr=False)
    ssl_ca_location: str = ""

    def __post_init__(self) -> None:
        """Refuse what no broker could accept, before any connection is tried."""
        if self.protocol not in _PROTOCOLS:
            raise ConfigurationError(
                f"KAFKA_SECURITY_PROTOCOL={self.protocol!r} is unknown; set one of {', '.join(_PROTOCOLS)}"
            )
        if self.has_sasl and self.sasl_mechanism not in _LOGIN_MODULES:
            raise ConfigurationError(
                f"KAFKA_SASL_MECHANISM={self.sasl_mechanism!r} is unknown; set one of {', '.join(_LOGIN_MODULES)}"
            )
        if self.has_sasl and not (self.sasl_username and self.sasl_password):
            raise ConfigurationError(
                f"KAFKA_SECURITY_PROTOCOL={self.protocol} needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
            )
        if self.has_tls and self.ssl_ca_location and not Path(self.ssl_ca_location).is_file():
            raise ConfigurationError(
                f"KAFKA_SSL_CA_LOCATION={self.ssl_ca_location} is no file; name the PEM file of the broker's authority"
            )

    @property
    def has_sasl(self) -> bool:
        """Whether clients log in."""
        return self.protocol.startswith("SASL_")

    @property
    def has_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.protocol.endswith("SSL")

    def librdkafka(self) -> dict[str, str]:
        """Return the settings as confluent-kafka takes them."""
        if self.protocol == "PLAINTEXT":
            return {}
        settings = {"security.protocol": self.protocol}
        if self.has_sasl:
            settings |= {
                "sasl.mechanism": self.sasl_mechanism,
                "sasl.username": self.sasl_username,
                "sasl.password": self.sasl_password,
            }
        if self.has_tls and self.ssl_ca_location:
            settings["ssl.ca.location"] = self.ssl_ca_location
        return settings

    def java(self) -> dict[str, str]:
        """Return the settings as Kafka's Java clients take them; the login counts as a password there, in no log."""
        if self.protocol == "PLAINTEXT":
            return {}
        settings = {"security.protocol": self.protocol}
        if self.has_sasl:
            login = f"username={_quoted(self.sasl_username)} password={_quoted(self.sasl_password)}"
            settings |= {
                "sasl.mechanism": self.sasl_mechanism,
                "sasl.jaas.config": f"{_LOGIN_MODULES[self.sasl_mechanism]} required {login};",
            }
        if self.has_tls and self.ssl_ca_location:
            settings |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": self.ssl_ca_location}
        return settings


PLAINTEXT = KafkaSecurity()


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
