"""The ordinary stream on a Spark standalone cluster, by settings only: a master, two workers, and one executor pod.

The checkpoint lies on a folder that all share, as a volume would be. The pod is no pod here but the command that it
would run.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.events import run_events
from tests.line import DEADLINE_S, Line, running_line, wait_for
from tests.probes import Probes, free_port
from tests.spark_cluster import LOOPBACK, SparkCluster, fetched_json, running_cluster
from wattline_common import kafka, store
from wattline_common.codec import encode_body, frame
from wattline_common.events import EVENT_TYPES, Event
from wattline_common.registry import Registry
from wattline_stack import StackSettings
from wattline_streaming.audit import Audit, audit

pytestmark = pytest.mark.timeout(1200)

RUNS, SAMPLES = 12, 30
POD = "77"  # the id of the executor that is started as Kubernetes would


@dataclass
class Outcome:
    """What the stream ended in, and what Spark said of who had worked."""

    produced: int
    audit: Audit
    metrics: dict[tuple[str, frozenset[tuple[str, str]]], float]
    spark_properties: dict[str, str]
    executors: dict[str, dict[str, Any]]
    commands: list[str]  # of the workers' executors
    worker_web_ports: set[int]
    exit_code: int | None
    log: str
    applications: list[dict[str, Any]]


@dataclass(frozen=True)
class Ports:
    """What the driver listens on."""

    driver: int
    ui: int
    http: int

    @property
    def rest(self) -> str:
        """Return where Spark's own interface tells of the application."""
        return f"http://{LOOPBACK}:{self.ui}/api/v1/applications"


@pytest.fixture(scope="module")
def outcome(stack_settings: StackSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """Run the line with its executors on the cluster; produce, let all of it settle, stop by SIGTERM."""
    data_dir = tmp_path_factory.mktemp("cluster")
    cluster, ports = SparkCluster(free_port(), free_port()), Ports(free_port(), free_port(), free_port())
    (data_dir / "conf").mkdir()
    (data_dir / "conf" / "spark-defaults.conf").write_text(
        f"""
        spark.driver.host {LOOPBACK}
        spark.driver.bindAddress={LOOPBACK}
        spark.driver.port: {ports.driver}
        spark.executor.memory 512m
        spark.executor.extraJavaOptions -XX:+UseSerialGC -XX:TieredStopAtLevel=1
        spark.sql.shuffle.partitions 3
        spark.ui.enabled true
        spark.ui.port {ports.ui}
        """
    )
    settings = {
        "WATTLINE_SPARK_MASTER": f"spark://{LOOPBACK}:{cluster.port}",
        "SPARK_CONF_DIR": str(data_dir / "conf"),
        "SPARK_LOCAL_IP": LOOPBACK,
        "WATTLINE_HTTP_PORT": str(ports.http),
        "WATTLINE_REGISTRY_WATCH_INTERVAL_S": "1",
    }
    with (
        running_line(data_dir, **settings) as line,
        running_cluster(cluster, data_dir / "spark", line.endpoints.java_home, workers=2),
    ):
        yield run(line, cluster, ports)


def run(line: Line, cluster: SparkCluster, ports: Ports) -> Outcome:
    """Do what the fixture promises and return all that the tests compare."""
    stream, probes = line.start_stream(), Probes(ports.http)
    wait_for(lambda: bool(applications(ports)), lambda: f"Spark to start: {stream.tail()}")
    (application,) = applications(ports)
    pod = start_pod(line, ports, application["id"])
    try:
        wait_for(probes.is_ready, lambda: f"the stream to be ready: {probes.get('/readyz')} {stream.tail()}")
        wait_for(lambda: POD in executors(ports, application["id"]), lambda: f"the pod's executor: {pod.args!r}")
        events = [event for k in range(RUNS) for event in run_events(f"run-{k}", samples=SAMPLES, seed=k)]
        produce(line, events)

        def done() -> bool:
            found = audit(line.database)
            return found.clean and found.open_windows == 0 and found.counts[store.TRAINING_METRICS] == len(events)

        def told() -> bool:
            return probes.value("wattline_events_booked_total") >= len(events)

        wait_for(done, lambda: f"{len(events)} events, settled: {audit(line.database).as_text()}")
        wait_for(told, lambda: f"{len(events)} events to be told: {probes.metrics()}")
        properties = dict(fetched_json(f"{ports.rest}/{application['id']}/environment")["sparkProperties"])
        worked, metrics = executors(ports, application["id"]), probes.metrics()
        stream.signal(signal.SIGTERM)
        assert stream.wait(DEADLINE_S), "SIGTERM did not stop the stream"
        assert pod.wait(DEADLINE_S) is not None, "the pod outlives its driver"
    finally:
        pod.kill()
    wait_for(
        lambda: bool(cluster.state()["completedapps"]), lambda: f"the end of the application: {cluster.state()}", 30
    )
    return Outcome(
        produced=len(events),
        audit=audit(line.database),
        metrics=metrics,
        spark_properties=properties,
        executors=worked,
        commands=[path.read_text().splitlines()[0] for path in line.data_dir.glob("spark/*/app-*/*/stderr")],
        worker_web_ports=cluster.worker_web_ports(),
        exit_code=stream.exit_code,
        log=stream.log.read_text(),
        applications=cluster.state()["completedapps"],
    )


def start_pod(line: Line, ports: Ports, application_id: str) -> subprocess.Popen[bytes]:
    """Start the executor's command with the environment that Spark gives an executor's pod."""
    told = {
        "JAVA_HOME": str(line.endpoints.java_home),
        "SPARK_LOCAL_IP": LOOPBACK,
        "SPARK_DRIVER_URL": f"spark://CoarseGrainedScheduler@{LOOPBACK}:{ports.driver}",
        "SPARK_EXECUTOR_ID": POD,
        "SPARK_APPLICATION_ID": application_id,
        "SPARK_EXECUTOR_CORES": "1",
        "SPARK_EXECUTOR_MEMORY": "512m",
        "SPARK_EXECUTOR_POD_IP": LOOPBACK,
        "SPARK_EXECUTOR_POD_NAME": "pod",
        "SPARK_JAVA_OPT_0": "-XX:+UseSerialGC",
        "SPARK_JAVA_OPT_1": "-XX:TieredStopAtLevel=1",
        "SPARK_JAVA_OPT_10": "--add-opens=java.base/java.nio=ALL-UNNAMED",
        "SPARK_JAVA_OPT_2": "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    }
    command = [sys.executable, "-m", "wattline_streaming", "executor"]
    with (line.data_dir / "logs" / "pod.log").open("wb") as log:
        return subprocess.Popen(command, env={**os.environ, **told}, stdout=log, stderr=log)


def applications(ports: Ports) -> list[dict[str, Any]]:
    """Return what Spark says of its application; nothing before it has begun."""
    try:
        found: list[dict[str, Any]] = fetched_json(ports.rest)
    except (OSError, ValueError):  # at first its page answers in words
        return []
    return found


def executors(ports: Ports, application_id: str) -> dict[str, dict[str, Any]]:
    """Return what Spark says of each executor, by id, without the driver."""
    found = fetched_json(f"{ports.rest}/{application_id}/executors")
    return {executor["id"]: executor for executor in found if executor["id"] != "driver"}


def produce(line: Line, events: list[Event]) -> None:
    """Produce the events, run by run, to the partitions of their keys."""
    registry = Registry(line.endpoints.schema_registry_url)
    producer = kafka.producer(line.endpoints.kafka_bootstrap_servers)
    ids = {kind: registry.schema_id(kind) for kind in EVENT_TYPES.values()}
    for event in events:
        value = frame(ids[type(event)], encode_body(event))
        producer.produce(kafka.TRAINING_EVENTS, key=event.run_id.encode(), value=value)
    assert producer.flush(30) == 0


def test_every_event_is_stored_and_counted_once(outcome: Outcome) -> None:
    """The audit is clean, no window is open, nothing is missing or rejected, and nothing had to be repeated."""
    assert outcome.audit.clean, outcome.audit.as_text()
    assert outcome.audit.counts[store.TRAINING_METRICS] == outcome.produced
    assert outcome.audit.counts[store.REJECTED_EVENTS] == 0
    assert {run.missing_events for run in outcome.audit.runs} == {0}
    assert len(outcome.audit.runs) == RUNS
    assert "the query stopped" not in outcome.log


def test_the_executors_of_both_workers_and_the_pod_worked(outcome: Outcome) -> None:
    """Each finished tasks and none failed; two of the executors belong to the two workers, the third to none."""
    assert {name: executor["failedTasks"] for name, executor in outcome.executors.items()} == {"0": 0, "1": 0, POD: 0}
    assert min(executor["completedTasks"] for executor in outcome.executors.values()) > 0
    logs = [
        urlsplit(executor["executorLogs"]["stderr"]).port for name, executor in outcome.executors.items() if name != POD
    ]
    assert sorted(port for port in logs if port) == sorted(outcome.worker_web_ports)


def test_what_the_driver_counts_comes_from_all_executors(outcome: Outcome) -> None:
    """Counts that Spark brings back from the executors equal the store's."""
    none: frozenset[tuple[str, str]] = frozenset()
    assert outcome.metrics["wattline_events_booked_total", none] == outcome.produced
    assert outcome.metrics["wattline_messages_read_total", none] == outcome.produced


def test_the_users_file_is_obeyed(outcome: Outcome) -> None:
    """What spark-defaults.conf says holds; our defaults fill the rest; the limits of Avro stand on every executor."""
    properties = outcome.spark_properties
    assert properties["spark.sql.shuffle.partitions"] == "3"
    assert properties["spark.executor.memory"] == "512m"
    assert properties["spark.ui.enabled"] == "true"
    assert properties["spark.sql.session.timeZone"] == "UTC"
    assert len(outcome.commands) == 2
    for command in outcome.commands:
        assert "-XX:TieredStopAtLevel=1" in command
        assert "-Dorg.apache.avro.limits.bytes.maxLength=1048576" in command
    assert "spark-defaults.conf decides: " in outcome.log


def test_sigterm_ends_it_cleanly(outcome: Outcome) -> None:
    """Exit code 0, and the master sees the application finished, not lost."""
    assert outcome.exit_code == 0, outcome.log
    assert [application["state"] for application in outcome.applications] == ["FINISHED"]
