"""The topics of the contract on a real broker, on data of its own: made, mended, and refused where that is right."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaError, Message
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from tests.integration.stack_helpers import only, running
from wattline_common import kafka
from wattline_common.errors import BrokerUnavailableError, ConfigurationError

if TYPE_CHECKING:
    from wattline_stack import Stack, StackSettings

NOWHERE = "127.0.0.1:9"
TIMEOUT_S = 30.0
CREATED = [f"created {topic.name}" for topic in kafka.TOPICS]


@pytest.fixture(scope="module")
def server(stack_settings: StackSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Run a broker alone: these tests delete its topics."""
    with running(only("kafka", stack_settings, tmp_path_factory.mktemp("kafka"))) as stack:
        yield stack


@pytest.fixture(scope="module")
def servers(server: Stack) -> str:
    """Return the broker's address."""
    return next(each.endpoint for each in server.status() if each.name == "kafka")


@pytest.fixture(scope="module")
def admin(servers: str) -> AdminClient:
    """Return a client that looks at what ours has done."""
    return AdminClient({"bootstrap.servers": servers, "log_level": 0})


@pytest.fixture(autouse=True)
def _no_topics(request: pytest.FixtureRequest) -> None:
    """Delete the topics before each test that uses the broker."""
    if "servers" not in request.fixturenames:
        return
    admin: AdminClient = request.getfixturevalue("admin")
    names = [topic.name for topic in kafka.TOPICS]
    for future in admin.delete_topics(names).values():
        if (error := future.exception(TIMEOUT_S)) is not None:
            assert error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    _until(lambda: not set(names) & set(_topics(admin)))


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "the broker did not get there in time"
        time.sleep(0.05)


def _topics(admin: AdminClient) -> dict[str, int]:
    return {name: len(each.partitions) for name, each in admin.list_topics(timeout=TIMEOUT_S).topics.items()}


def _config(admin: AdminClient, topic: str) -> dict[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    return {name: entry.value for name, entry in admin.describe_configs([resource])[resource].result(TIMEOUT_S).items()}


def _set(admin: AdminClient, topic: str, **values: str) -> None:
    entries = [
        ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        for name, value in values.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    admin.incremental_alter_configs([resource])[resource].result(TIMEOUT_S)
    _until(lambda: all(_config(admin, topic)[entry.name] == entry.value for entry in entries))


def _command(servers: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wattline_common.kafka", *arguments]
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": servers}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_the_topics_are_made_as_the_contract_says(servers: str, admin: AdminClient) -> None:
    """Names, partitions and settings, as the broker itself tells them."""
    assert sorted(kafka.ensure_topics(servers)) == sorted(CREATED)
    found = _topics(admin)
    for topic in kafka.TOPICS:
        assert found[topic.name] == topic.partitions
        config = _config(admin, topic.name)
        assert {key: sorted(config[key].split(",")) for key in topic.config} == {
            key: sorted(value.split(",")) for key, value in topic.config.items()
        }
    assert _config(admin, "training.events")["message.timestamp.type"] == "LogAppendTime"


def test_a_second_time_does_nothing(servers: str) -> None:
    """Every service may ensure the topics at every start."""
    kafka.ensure_topics(servers)
    assert kafka.ensure_topics(servers) == []


def test_services_that_start_together_do_not_fail(servers: str, admin: AdminClient) -> None:
    """Each topic is created by one of them, and the others carry on."""
    with ThreadPoolExecutor(6) as pool:
        done = [line for lines in pool.map(lambda _: kafka.ensure_topics(servers), range(6)) for line in lines]
    assert sorted(line for line in done if line.startswith("created ")) == sorted(CREATED)
    assert {topic.name for topic in kafka.TOPICS} <= set(_topics(admin))


def test_a_missing_topic_is_made_beside_the_others(servers: str, admin: AdminClient) -> None:
    """What is there is left alone."""
    kafka.ensure_topics(servers)
    admin.delete_topics(["training.aggregates"])["training.aggregates"].result(TIMEOUT_S)
    _until(lambda: "training.aggregates" not in _topics(admin))
    assert kafka.ensure_topics(servers) == ["created training.aggregates"]


def test_drifted_settings_are_mended(servers: str, admin: AdminClient) -> None:
    """Each wrong setting is set back and said; settings that the contract does not fix stay."""
    kafka.ensure_topics(servers)
    _set(
        admin, "training.events", message_timestamp_type="CreateTime", retention_ms="1000", max_message_bytes="2000000"
    )
    _set(admin, "training.aggregates", cleanup_policy="delete")
    assert sorted(kafka.ensure_topics(servers)) == [
        "set cleanup.policy=compact,delete on training.aggregates",
        "set message.timestamp.type=LogAppendTime on training.events",
        "set retention.ms=1209600000 on training.events",
    ]
    _until(lambda: set(_config(admin, "training.aggregates")["cleanup.policy"].split(",")) == {"compact", "delete"})
    mended = {"message.timestamp.type": "LogAppendTime", "retention.ms": "1209600000", "max.message.bytes": "2000000"}
    _until(lambda: mended.items() <= _config(admin, "training.events").items())
    assert kafka.ensure_topics(servers) == []


def test_a_topic_made_by_hand_takes_the_contracts_settings(servers: str, admin: AdminClient) -> None:
    """More partitions are fine; the settings are mended."""
    admin.create_topics([NewTopic("training.events", 9, 1)])["training.events"].result(TIMEOUT_S)
    done = kafka.ensure_topics(servers)
    assert "created training.events" not in done
    assert "set message.timestamp.type=LogAppendTime on training.events" in done
    assert _topics(admin)["training.events"] == 9


def test_too_few_partitions_are_named_with_the_remedy(servers: str, admin: AdminClient) -> None:
    """Keys would move to other partitions, so a person decides."""
    admin.create_topics([NewTopic("training.events", 2, 1)])["training.events"].result(TIMEOUT_S)
    with pytest.raises(ConfigurationError, match=r"training\.events has 2 partitions, fewer than 6.*--alter"):
        kafka.ensure_topics(servers)


def test_too_many_replicas_are_a_wrong_setting(servers: str, admin: AdminClient) -> None:
    """One broker cannot hold three replicas; that is no broker away."""
    with pytest.raises(ConfigurationError, match="--replication-factor"):
        kafka.ensure_topics(servers, replication_factor=3)
    done = _command(servers, "--replication-factor", "3")
    assert done.returncode == 1
    assert "cannot have 3 replicas" in done.stderr


def test_the_cluster_has_an_identity(servers: str, server: Stack) -> None:
    """The same id again and again, also after kill -9 and a restart."""
    first = kafka.cluster_id(servers)
    assert len(first) == 22  # a UUID in URL-safe base 64
    server.kill("kafka")
    server.restart("kafka")
    assert kafka.cluster_id(servers) == first


def _produced(servers: str, keys: list[str]) -> dict[str, Message]:
    """Produce a message for each key and return what a consumer reads back, by key."""
    kafka.ensure_topics(servers)
    producer = kafka.producer(servers)
    for key in keys:
        producer.produce(kafka.TRAINING_EVENTS, b"value", key, timestamp=1_000)
    assert producer.flush(TIMEOUT_S) == 0
    consumer = Consumer({"bootstrap.servers": servers, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"})
    consumer.subscribe([kafka.TRAINING_EVENTS])
    found: dict[str, Message] = {}

    def read() -> bool:
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            found[(message.key() or b"").decode()] = message
        return len(found) == len(keys)

    try:
        _until(read)
    finally:
        consumer.close()
    return found


def test_the_producer_places_keys_as_java_does(servers: str) -> None:
    """By murmur2: Kafka's own test vectors, so that a Java service re-produces a run to the same partition."""
    murmur2 = {"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536}
    found = _produced(servers, list(murmur2))
    assert {key: message.partition() for key, message in found.items()} == {
        key: (value & 0x7FFFFFFF) % 6 for key, value in murmur2.items()
    }


def test_offsets_say_how_many_messages_a_topic_holds(servers: str) -> None:
    """By partition, those without a message included."""
    kafka.ensure_topics(servers)
    producer = kafka.producer(servers)
    for partition in (1, 1, 4):
        producer.produce(kafka.TRAINING_EVENTS, value=b"one", partition=partition)
    assert producer.flush(TIMEOUT_S) == 0
    found = kafka.offsets(servers, kafka.TRAINING_EVENTS)
    assert {number: after - first for number, (first, after) in found.items()} == {0: 0, 1: 2, 2: 0, 3: 0, 4: 1, 5: 0}


def test_the_broker_stamps_the_time(servers: str) -> None:
    """A producer's own timestamp does not count: retention and late events go by the broker's clock."""
    began_ms = time.time() * 1000 - 5_000
    (message,) = _produced(servers, ["run"]).values()
    kind, stamp_ms = message.timestamp()
    assert kind == TIMESTAMP_LOG_APPEND_TIME
    assert stamp_ms > began_ms


def test_the_command_tells_what_it_did(servers: str) -> None:
    """0; first a line for each topic, then that all are there."""
    first, second = _command(servers), _command(servers)
    assert (first.returncode, sorted(first.stdout.splitlines())) == (0, sorted(CREATED))
    assert (second.returncode, second.stdout) == (0, "all topics are there\n")


@pytest.mark.parametrize("ask", [kafka.ensure_topics, kafka.cluster_id])
def test_a_broker_away_is_named_with_its_setting(ask: Callable[[str], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the setting, its value and the remedy."""
    monkeypatch.setattr(kafka, "_TIMEOUT_S", 0.5)
    with pytest.raises(
        BrokerUnavailableError, match=f"KAFKA_BOOTSTRAP_SERVERS={NOWHERE}.*start it, or set the address"
    ):
        ask(NOWHERE)


def test_the_command_says_that_the_broker_is_away(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """1, and one line on standard error: librdkafka, which writes there by itself, is quiet."""
    monkeypatch.setattr(kafka, "_TIMEOUT_S", 0.5)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", NOWHERE)
    monkeypatch.setattr(sys, "argv", ["kafka"])
    assert kafka.main() == 1
    output = capfd.readouterr()
    assert output.out == ""
    assert len(output.err.splitlines()) == 1
    assert "Kafka does not answer" in output.err
