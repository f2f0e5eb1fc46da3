"""Settings that no broker could accept are refused by name; what works is told alike to both kinds of clients."""

from __future__ import annotations

from pathlib import Path

import pytest

from wattline_common.environment import Environment
from wattline_common.errors import ConfigurationError
from wattline_common.kafka_security import PLAINTEXT, KafkaSecurity
from wattline_common.settings import Endpoints, mongodb_uri, replication_factor, schema_registry_url

LOGIN = {"KAFKA_SASL_USERNAME": "ada", "KAFKA_SASL_PASSWORD": 'a "quoted" \\ canary'}


def security(**variables: str) -> KafkaSecurity:
    """Return what the environment says."""
    return Endpoints.from_environment(Environment(variables)).kafka_security


def test_nothing_set_is_plaintext() -> None:
    """A laptop needs no setting, and neither client is told anything."""
    assert security() == PLAINTEXT
    assert (PLAINTEXT.librdkafka(), PLAINTEXT.java()) == ({}, {})


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"KAFKA_SECURITY_PROTOCOL": "TLS"}, r"KAFKA_SECURITY_PROTOCOL='TLS' is unknown; set one of PLAINTEXT, SSL"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_USERNAME": "ada"}, "needs KAFKA_SASL_USERNAME"),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": "GSSAPI", **LOGIN},
            "KAFKA_SASL_MECHANISM='GSSAPI' is unknown",
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CA_LOCATION": "/nowhere"},
            "KAFKA_SSL_CA_LOCATION=/nowhere is no",
        ),
    ],
)
def test_what_cannot_work_is_refused_by_its_name(variables: dict[str, str], words: str) -> None:
    """Before any connection, and without the password."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        security(**variables)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(("protocol", "sasl", "tls"), [("SASL_PLAINTEXT", True, False), ("SSL", False, True)])
def test_only_what_the_protocol_uses_is_told(tmp_path: Path, protocol: str, sasl: bool, tls: bool) -> None:
    """No login without SASL, no authority without TLS, for either kind of client."""
    authority = tmp_path / "ca.pem"
    authority.touch()
    found = security(KAFKA_SECURITY_PROTOCOL=protocol, KAFKA_SSL_CA_LOCATION=str(authority), **LOGIN)
    for told in (found.librdkafka(), found.java()):
        assert told["security.protocol"] == protocol
        assert any("sasl" in name for name in told) is sasl
        assert any(name.startswith("ssl.") for name in told) is tls


def test_the_java_login_survives_quotes_and_backslashes() -> None:
    """A password is what it is; what a JAAS line would read otherwise is escaped."""
    told = security(KAFKA_SECURITY_PROTOCOL="SASL_SSL", **LOGIN).java()
    assert told["sasl.jaas.config"] == (
        "org.apache.kafka.common.security.scram.ScramLoginModule required "
        'username="ada" password="a \\"quoted\\" \\\\ canary";'
    )


def test_the_password_is_in_no_repr() -> None:
    """Settings are logged and shown in traces; the password is not."""
    found = Endpoints.from_environment(Environment({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", **LOGIN}))
    assert "ada" in repr(found)
    assert "canary" not in repr(found)


def test_the_replication_factor_is_one_or_what_is_set() -> None:
    """Zero replicas are no replicas."""
    assert replication_factor(Environment({})) == 1
    assert replication_factor(Environment({"KAFKA_REPLICATION_FACTOR": "3"})) == 3
    with pytest.raises(ConfigurationError, match="KAFKA_REPLICATION_FACTOR=0"):
        replication_factor(Environment({"KAFKA_REPLICATION_FACTOR": "0"}))


def test_who_needs_no_kafka_needs_no_login_to_it() -> None:
    """The registry's and the store's address are read alone; neither is in a repr, as it may hold a password."""
    env = Environment(
        {
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "SCHEMA_REGISTRY_URL": "https://ada:canary@r/",
            "MONGODB_URI": "mongodb://ada:canary@m/",
        }
    )
    assert (schema_registry_url(env), mongodb_uri(env)) == ("https://ada:canary@r", "mongodb://ada:canary@m/")
    assert "canary" not in repr(Endpoints("k:9092", schema_registry_url(env), mongodb_uri(env)))
