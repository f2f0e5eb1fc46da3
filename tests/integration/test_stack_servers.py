"""Kafka and the registry really start, answer, and keep what they acknowledged through kill -9."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.integration.stack_helpers import only, running
from wattline_common.errors import ResourceError
from wattline_stack import Endpoints, Stack, StackSettings

MESSAGES = 2000
RECORD: dict[str, Any] = {"type": "record", "name": "Probe", "fields": [{"name": "value", "type": "int"}]}


@pytest.fixture(scope="module")
def kafka(stack_settings: StackSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Run Kafka alone, on data of its own."""
    with running(only("kafka", stack_settings, tmp_path_factory.mktemp("kafka"))) as stack:
        yield stack


@pytest.fixture(scope="module")
def registry(stack_settings: StackSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Run the registry alone, on data of its own."""
    with running(only("registry", stack_settings, tmp_path_factory.mktemp("registry"))) as stack:
        yield stack


def test_kafka_keeps_acknowledged_messages_through_a_kill(kafka: Stack) -> None:
    """Each message that was acknowledged before kill -9 is there after the restart, once and in order."""
    bootstrap = kafka.endpoints().kafka_bootstrap_servers
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic("probe", num_partitions=1, replication_factor=1)]).values():
        future.result(30)
    acknowledged: list[int] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is None:
            acknowledged.append(int(message.value() or b"-1"))

    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5})
    for number in range(MESSAGES):
        producer.produce("probe", str(number), on_delivery=delivered)
    assert producer.flush(60) == 0
    kafka.kill("kafka")
    kafka.restart("kafka")
    assert acknowledged == list(range(MESSAGES))
    assert _consume(bootstrap, MESSAGES) == acknowledged


def test_kafka_makes_no_topic_by_itself(kafka: Stack) -> None:
    """A misspelt topic is an error, not a new topic."""
    admin = AdminClient({"bootstrap.servers": kafka.endpoints().kafka_bootstrap_servers})
    assert admin.list_topics("misspelt", timeout=10).topics["misspelt"].error is not None
    assert "misspelt" not in admin.list_topics(timeout=10).topics


def test_registry_keeps_schemas_and_their_ids_through_a_kill(registry: Stack) -> None:
    """After kill -9 the same schema has the same id, by id comes the same schema, and a new one gets a new id."""
    url = registry.endpoints().schema_registry_url
    ids = [_register(url, f"probe-{number}", f"Probe{number}") for number in range(5)]
    registry.kill("registry")
    registry.restart("registry")
    assert [_register(url, f"probe-{number}", f"Probe{number}") for number in range(5)] == ids
    for number, schema_id in enumerate(ids):
        schema = json.loads(httpx2.get(f"{url}/schemas/ids/{schema_id}").json()["schema"])
        assert schema["name"] == f"Probe{number}"
    assert _register(url, "probe-new", "ProbeNew") not in ids


def test_registry_enforces_compatibility(registry: Stack) -> None:
    """An incompatible version is refused once a subject asks for FULL_TRANSITIVE."""
    url = registry.endpoints().schema_registry_url
    httpx2.put(f"{url}/config/probe-strict", json={"compatibility": "FULL_TRANSITIVE"}).raise_for_status()
    _register(url, "probe-strict", "Probe")
    changed = {**RECORD, "fields": [*RECORD["fields"], {"name": "more", "type": "string"}]}
    answer = httpx2.post(f"{url}/subjects/probe-strict/versions", json={"schema": json.dumps(changed)})
    assert answer.status_code == httpx2.codes.CONFLICT


def test_servers_listen_on_loopback_only(running_stack: Stack) -> None:
    """Nothing of the stack can be reached from another machine: it asks for no password."""
    for server in running_stack.status():
        if server.pid is None:
            continue
        listening = [each for each in psutil.Process(server.pid).net_connections("tcp") if each.status == "LISTEN"]
        assert listening
        assert {each.laddr.ip.removeprefix("::ffff:") for each in listening} == {"127.0.0.1"}


def test_a_restart_keeps_endpoints_and_killing_one_leaves_the_others(
    stack_settings: StackSettings, tmp_path: Path
) -> None:
    """Ports are chosen once; another Stack object on the same folder finds what runs and starts what does not."""
    stack = only("store", stack_settings, tmp_path)
    with running(stack):
        before = stack.endpoints()
        stack.kill("store")
        assert [each.state for each in stack.status()] == ["external", "external", "stopped"]
        with pytest.raises(ResourceError, match="not running: store"):
            stack.endpoints()
        again = only("store", stack_settings, tmp_path)
        assert again.start() == before
        pid = again.status()[-1].pid
        assert again.start() == before
        assert again.status()[-1].pid == pid
    assert stack.status()[-1].state == "stopped"


def test_the_fixture_gives_every_endpoint(stack: Endpoints) -> None:
    """What services read from their environment is all there, and it is real."""
    environment = stack.environment()
    assert set(environment) == {
        "KAFKA_BOOTSTRAP_SERVERS",
        "SCHEMA_REGISTRY_URL",
        "MONGODB_URI",
        "JAVA_HOME",
        "WATTLINE_SPARK_JARS",
    }
    assert len(environment["WATTLINE_SPARK_JARS"].split(",")) == 5
    assert all(Path(jar).is_file() for jar in environment["WATTLINE_SPARK_JARS"].split(","))
    assert (Path(environment["JAVA_HOME"]) / "bin" / "java").is_file()


def _register(url: str, subject: str, name: str) -> int:
    schema = json.dumps({**RECORD, "name": name})
    answer = httpx2.post(f"{url}/subjects/{subject}/versions", json={"schema": schema})
    answer.raise_for_status()
    return int(answer.json()["id"])


def _consume(bootstrap: str, count: int) -> list[int]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "probe", "enable.auto.commit": False})
    consumer.assign([TopicPartition("probe", 0, 0)])
    values: list[int] = []
    deadline = time.monotonic() + 60
    while len(values) < count and time.monotonic() < deadline:
        values += [int(message.value() or b"-1") for message in consumer.consume(count, timeout=0.5)]
    extra = consumer.consume(1, timeout=0.5)
    consumer.close()
    return values + [int(message.value() or b"-1") for message in extra]
