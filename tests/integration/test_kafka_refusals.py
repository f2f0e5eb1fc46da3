"""A broker that refuses us, by login or by rights, is no outage: not to our own producers, not to Spark's client."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]  # it has no types
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from tests.e2e.test_kafka_security import HOST, LISTENER, LOGIN_MODULE, Authority
from tests.integration.stack_helpers import only, running
from wattline_common import kafka
from wattline_common.errors import BrokerUnavailableError, ConfigurationError
from wattline_common.kafka_security import KafkaSecurity
from wattline_stack import StackSettings
from wattline_stack.servers import kafka as kafka_server
from wattline_streaming import failures

pytestmark = pytest.mark.timeout(600)

USER, PASSWORD, ANOTHER = "owner", 'canary "one" \\ two', "another canary"
# The stranger may log in, and has no rights.
RIGHTS = """\
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:owner
"""


class Broker:
    """A broker with a SASL_SSL listener and two users."""

    def __init__(self, address: str, authority: Path) -> None:
        self.address = address
        self._authority = authority

    def security(self, user: str = USER, password: str = PASSWORD, authority: Path | None = None) -> KafkaSecurity:
        """Return how a user comes in."""
        return KafkaSecurity(
            protocol="SASL_SSL",
            sasl_username=user,
            sasl_password=password,
            ssl_ca_location=str(authority or self._authority),
        )


@pytest.fixture(scope="module")
def broker(stack_settings: StackSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Run a broker alone, and make its users and topics."""
    folder = tmp_path_factory.mktemp("refusing")
    authority = Authority(folder / "authority")
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    listener = LISTENER.format(port=port, keystore=authority.broker, module=LOGIN_MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kafka_server, "PROPERTIES", kafka_server.PROPERTIES + listener + RIGHTS)
        with running(only("kafka", stack_settings, folder / "kafka")) as stack:
            admin = AdminClient({"bootstrap.servers": next(e.endpoint for e in stack.status() if e.name == "kafka")})
            login = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
            for name in (USER, "stranger"):
                user = UserScramCredentialUpsertion(name, login, PASSWORD.encode())
                admin.alter_user_scram_credentials([user])[name].result(20)
            made = Broker(f"{HOST}:{port}", authority.certificate)
            kafka.ensure_topics(made.address, made.security())
            yield made


@pytest.fixture(scope="module")
def another_authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the certificate of an authority that the broker's is not of."""
    return Authority(tmp_path_factory.mktemp("another") / "authority").certificate


def publish(broker: Broker, security: KafkaSecurity, flush_s: float = 8.0) -> int:
    """Send a message as the stream does; return how many are left."""
    producer = kafka.producer(broker.address, security)
    producer.produce(kafka.TRAINING_AGGREGATES, key=b"window", value=b"value")
    return producer.flush(flush_s)


def test_a_producer_that_may_write_writes(broker: Broker) -> None:
    """The password goes through as it is."""
    assert publish(broker, broker.security(), flush_s=30.0) == 0


def test_a_producer_with_a_wrong_password_is_refused(broker: Broker) -> None:
    """Flushing raises what to set, where librdkafka alone would try again for ever."""
    with pytest.raises(ConfigurationError, match="check KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD") as caught:
        publish(broker, broker.security(password=ANOTHER))
    assert "canary" not in str(caught.value)


def test_a_producer_of_another_authority_is_refused(broker: Broker, another_authority: Path) -> None:
    """We do not speak to a broker that we have no reason to trust."""
    with pytest.raises(ConfigurationError, match=r"certificate verify failed.*KAFKA_SSL_CA_LOCATION"):
        publish(broker, broker.security(authority=another_authority))


def test_a_producer_without_rights_is_refused(broker: Broker) -> None:
    """A message that the broker does not allow is not lost in silence."""
    with pytest.raises(ConfigurationError, match="does not allow this to the user of KAFKA_SASL_USERNAME"):
        publish(broker, broker.security("stranger"))


@pytest.mark.parametrize("ask", [kafka.require_topics, kafka.ensure_topics])
def test_who_may_not_see_the_topics_is_told_so(broker: Broker, ask: Callable[..., object]) -> None:
    """It is neither an outage nor simply a topic that lacks."""
    with pytest.raises(ConfigurationError, match="the user of KAFKA_SASL_USERNAME"):
        ask(broker.address, broker.security("stranger"))


def test_a_broker_that_is_away_stays_an_outage(broker: Broker) -> None:
    """Settings for a login change nothing about waiting."""
    with pytest.raises(BrokerUnavailableError):
        kafka.require_topics(f"{HOST}:9", broker.security())


def read_by_spark(spark: SparkSession, broker: Broker, security: KafkaSecurity) -> int:
    """Count a topic's messages by Spark's own client."""
    options = {
        "kafka.bootstrap.servers": broker.address,
        "subscribe": kafka.TRAINING_AGGREGATES,
        **{f"kafka.{name}": value for name, value in security.java().items()},
    }
    frame = spark.read.format("kafka").options(**options).load()
    described = frame._jdf.queryExecution().toString()  # all plans, as logs and errors show them
    assert "KafkaRelation" in described
    assert "canary" not in described
    return frame.count()


def test_spark_comes_in_by_the_same_settings(spark: SparkSession, broker: Broker) -> None:
    """The login's quotes and backslashes reach Java as they are; no plan shows it."""
    publish(broker, broker.security(), flush_s=30.0)
    assert read_by_spark(spark, broker, broker.security()) > 0


@pytest.mark.parametrize("wrong", ["password", "authority", "no certificate", "rights"])
def test_what_spark_is_refused_for_is_no_outage(
    spark: SparkSession, broker: Broker, another_authority: Path, tmp_path: Path, wrong: str
) -> None:
    """The query then ends after some tries, with the reason, and does not wait for ever."""
    empty = tmp_path / "empty.pem"
    empty.touch()
    security, *words = {
        "password": (broker.security(password=ANOTHER), "SaslAuthenticationException"),
        "authority": (broker.security(authority=another_authority), "SslAuthenticationException"),
        "no certificate": (broker.security(authority=empty), "SSL keystore"),
        "rights": (broker.security("stranger"), "TopicAuthorizationException"),
    }[wrong]
    with pytest.raises((PySparkException, Py4JJavaError)) as caught:
        read_by_spark(spark, broker, security)
    problem = failures.text(caught.value)
    assert any(word in problem for word in words), problem
    assert not failures.is_outage(problem), problem
    assert "canary" not in str(caught.value)
