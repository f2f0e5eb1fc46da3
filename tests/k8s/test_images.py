"""Each built image starts as a cluster starts it, answers its probe, and stops on SIGTERM within its grace period."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.k8s.containers import Container, Pod, runtime
from tools.image.sbom import validate

pytestmark = pytest.mark.timeout(600)

SBOM = "/usr/share/wattline/sbom.cdx.json"
# What the manifests give each to end by itself.
GRACE_S = {"kafka": 60, "registry": 30, "store": 60, "streaming": 60, "dashboard": 15, "trainer": 30}
READY_S = 180.0
SIGTERM_ENDED = {0, 143}  # 143 is what a JVM says that stopped in good order
SERVERS = {
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9092",
    "SCHEMA_REGISTRY_URL": "http://127.0.0.1:8080/apis/ccompat/v7",
    "MONGODB_URI": "mongodb://127.0.0.1:27017/",
}
SCRAM_PROPERTIES = """
process.roles=broker,controller
node.id=${env:KAFKA_NODE_ID}
config.providers=env
config.providers.env.class=org.apache.kafka.common.config.provider.EnvVarConfigProvider
controller.quorum.voters=0@127.0.0.1:9093
listeners=SASL_PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093
advertised.listeners=SASL_PLAINTEXT://127.0.0.1:9092
listener.security.protocol.map=SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=SASL_PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required \
username="broker" password="${env:KAFKA_BROKER_PASSWORD}";
log.dirs=/var/lib/kafka/data
offsets.topic.replication.factor=1
"""
# Lists topics as a user: prints the number of brokers, or fails.
LOG_IN = """
import sys
from confluent_kafka.admin import AdminClient
settings = {"bootstrap.servers": "127.0.0.1:9092", "security.protocol": "SASL_PLAINTEXT", "log_level": 0,
            "sasl.mechanism": "SCRAM-SHA-512", "sasl.username": sys.argv[1], "sasl.password": sys.argv[2]}
print(len(AdminClient(settings).list_topics(timeout=10).brokers))
"""


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    """Give one test a loopback for its containers."""
    with Pod(runtime(), tmp_path) as shared:
        yield shared


def accepts(pod: Pod, container: Container, port: int) -> Callable[[], bool]:
    """Probe as a tcpSocket does."""
    code = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)"
    return lambda: pod.execute(container, "python3", "-c", code).returncode == 0


def answers(pod: Pod, container: Container, port: int, path: str) -> Callable[[], bool]:
    """Probe as an httpGet does: any status below 400."""
    code = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}{path}', timeout=3)"
    return lambda: pod.execute(container, "python3", "-c", code).returncode == 0


def require_confined(pod: Pod, container: Container) -> None:
    """Nothing but tini or the JVM is the first process, the user is a number, and the root cannot be written."""
    first = pod.execute(container, "cat", "/proc/1/cmdline").stdout.split("\0")[0]
    assert first in {"/usr/bin/tini", "/opt/jvm/java/bin/java"}
    assert pod.execute(container, "id", "-u").stdout.strip() == "10001"
    refused = pod.execute(container, "sh", "-c", "touch /opt/new || touch /etc/new")
    assert refused.returncode != 0
    assert "Read-only file system" in refused.stderr


def start_kafka(pod: Pod) -> Container:
    """Start a broker by itself and wait until it takes clients."""
    kafka = pod.start("kafka", writable=["/var/lib/kafka"])
    pod.wait(accepts(pod, kafka, 9092), kafka, READY_S)
    return kafka


def start_registry(pod: Pod) -> Container:
    """Start the registry on a file and wait until it is ready."""
    registry = pod.start("registry", writable=["/var/lib/registry"])
    pod.wait(answers(pod, registry, 9000, "/health/ready"), registry, READY_S)
    return registry


def start_store(pod: Pod) -> Container:
    """Start the embedded store and wait until it takes clients."""
    store = pod.start("store", writable=["/var/lib/store"], environment={"JAVA_OPTS": "-Xmx256m -XX:+UseSerialGC"})
    pod.wait(accepts(pod, store, 27017), store, READY_S)
    return store


def has_all_of_three_runs(pod: Pod, stream: Container) -> bool:
    """Ask the stream's own audit, in its container: three runs ended, nothing missing or different."""
    audit = pod.execute(stream, "python", "-m", "wattline_streaming", "audit", "--json")
    if audit.returncode:
        return False
    found = json.loads(audit.stdout)
    ended = [run for run in found["runs"] if run["status"] != "RUNNING" and not run["missing_events"]]
    return bool(found["clean"]) and len(ended) == len(found["runs"]) == 3


@pytest.mark.parametrize(
    ("name", "start"), [("kafka", start_kafka), ("registry", start_registry), ("store", start_store)]
)
def test_a_server_is_ready_confined_and_stops(pod: Pod, name: str, start: Callable[[Pod], Container]) -> None:
    """A server of the stack answers its probe, has no rights, and ends on SIGTERM."""
    server = start(pod)
    require_confined(pod, server)
    assert pod.stop(server, GRACE_S[name]) in SIGTERM_ENDED


def test_kafka_is_formatted_once(pod: Pod) -> None:
    """A broker by itself draws an id; a second start on the same data goes on as the same cluster."""

    def start_and_stop() -> str:
        kafka = start_kafka(pod)
        identity = pod.execute(kafka, "grep", "cluster.id", "/var/lib/kafka/data/meta.properties").stdout
        assert pod.stop(kafka, GRACE_S["kafka"]) in SIGTERM_ENDED
        return identity

    first = start_and_stop()
    assert re.fullmatch(r"cluster\.id=[\w-]{22}\n", first)
    assert start_and_stop() == first


def test_a_new_kafka_knows_its_scram_users(pod: Pod, tmp_path: Path) -> None:
    """Users that are given when the log folder is formatted can log in at once; a wrong password cannot."""
    properties = tmp_path / "server.properties"
    properties.write_text(SCRAM_PROPERTIES, "utf-8")
    kafka = pod.start(
        "kafka",
        writable=["/var/lib/kafka"],
        files={"/etc/kafka/server.properties": properties},
        environment={
            "KAFKA_NODE_ID": "0",
            "KAFKA_CLUSTER_ID": "V_Gzapz7SWWQNZhBSxE1uQ",
            "KAFKA_BROKER_PASSWORD": "of-the-broker",
            "KAFKA_SCRAM_USERS": "broker=of-the-broker,streaming=with=equals",
        },
    )
    pod.wait(accepts(pod, kafka, 9092), kafka, READY_S)
    right = pod.start("streaming", "streaming", "with=equals", command=["python", "-c", LOG_IN])
    assert (right.process.wait(60), right.output.strip()) == (0, "1")
    wrong = pod.start("streaming", "streaming", "guessed", command=["python", "-c", LOG_IN])
    assert wrong.process.wait(60) != 0
    assert "of-the-broker" not in kafka.output


def test_dashboard_is_healthy_confined_and_stops(pod: Pod) -> None:
    """The pages are served without a store too, which they say; the probe is Streamlit's own."""
    dashboard = pod.start("dashboard", environment={"WATTLINE_DASHBOARD_ADDRESS": "0.0.0.0"})  # noqa: S104 - in its own network
    pod.wait(answers(pod, dashboard, 8501, "/_stcore/health"), dashboard, READY_S)
    require_confined(pod, dashboard)
    assert pod.stop(dashboard, GRACE_S["dashboard"]) in SIGTERM_ENDED


def test_trainer_trains_confined_and_stops(pod: Pod) -> None:
    """A real training runs without Kafka, and ends after the step that SIGTERM meets."""
    trainer = pod.start("trainer", "digits", "--minutes", "5")
    pod.wait(lambda: "epoch 1:" in trainer.output, trainer, READY_S)
    require_confined(pod, trainer)
    assert pod.stop(trainer, GRACE_S["trainer"]) in SIGTERM_ENDED


def test_streaming_streams_what_the_trainer_sent(pod: Pod) -> None:
    """The images are one line: topics, subjects, a simulated fleet, its events stored and counted, a clean stop."""
    for start in (start_kafka, start_registry, start_store):
        start(pod)
    for command in (["wattline_common.kafka"], ["wattline_common.registry", "register"]):
        done = pod.start("streaming", command=["python", "-m", *command], environment=SERVERS)
        assert done.process.wait(120) == 0, done.output
    stream = pod.start(
        "streaming", "run", writable=["/var/lib/wattline"], environment=SERVERS | {"WATTLINE_HTTP_PORT": "9464"}
    )
    pod.wait(answers(pod, stream, 9464, "/readyz"), stream, READY_S)
    assert answers(pod, stream, 9464, "/livez")()
    require_confined(pod, stream)
    fleet = pod.start("trainer", "simulate", "--runs", "3", environment=SERVERS)
    assert fleet.process.wait(READY_S) == 0, fleet.output
    pod.wait(lambda: has_all_of_three_runs(pod, stream), stream, READY_S)
    assert pod.stop(stream, GRACE_S["streaming"]) in SIGTERM_ENDED
    assert "stopped between batches" in stream.output


@pytest.mark.parametrize(
    ("image", "holds", "lacks"),
    [
        ("trainer", "pkg:pypi/scikit-learn@", "pkg:pypi/pyspark@"),
        ("tracker", "pkg:pypi/confluent-kafka@", "pkg:pypi/numpy@"),
        ("dashboard", "pkg:pypi/streamlit@", "pkg:pypi/pyspark@"),
        ("streaming", "pkg:maven/org.apache.spark/spark-sql-kafka-0-10_2.13@", "pkg:pypi/wattline-stack@"),
        ("kafka", "pkg:maven/org.apache.kafka/kafka_2.13@", "pkg:maven/de.bwaldvogel/"),
        ("registry", "pkg:maven/com.h2database/h2@", "pkg:maven/org.apache.kafka/kafka_2.13@"),
        ("store", "pkg:maven/de.bwaldvogel/mongo-java-server-core@", "pkg:maven/org.apache.kafka/"),
    ],
)
def test_an_image_says_what_it_holds(pod: Pod, image: str, holds: str, lacks: str) -> None:
    """The bill of materials inside is valid CycloneDX, names what must be there and not what another image has."""
    shown = pod.start(image, SBOM, command=["cat"])
    shown.process.wait(60)
    validate(shown.output)
    found = [component.get("purl", "") for component in json.loads(shown.output)["components"]]
    assert any(purl.startswith(holds) for purl in found)
    assert not any(purl.startswith(lacks) for purl in found)
