"""Kafka in KRaft mode: one process that is broker and controller."""

from __future__ import annotations

import base64
import os
import subprocess
import uuid
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from wattline_common.errors import ResourceError
from wattline_stack.jvm.bundle import Bundle
from wattline_stack.ports import HOST
from wattline_stack.servers.base import FAST_START, Server

__all__ = ["KafkaServer", "new_cluster_id"]

METADATA_TIMEOUT_S = 1.0
OVERHEAD_MB = 150
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers={host}:{controller}
listeners=PLAINTEXT://{host}:{broker},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{broker},CONTROLLER://{host}:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=2
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=2
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=4
background.threads=2
num.recovery.threads.per.data.dir=2
log.segment.bytes=67108864
log.cleaner.dedupe.buffer.size=16777216
# Else a restart after kill -9 waits nine seconds for its own former session.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""
LOGGING = """\
status=error
appender.file.type=RollingFile
appender.file.name=file
appender.file.fileName={log}
appender.file.filePattern={log}.%i
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d %p %m (%c)%n
appender.file.policies.type=Policies
appender.file.policies.size.type=SizeBasedTriggeringPolicy
appender.file.policies.size.size=10MB
appender.file.strategy.type=DefaultRolloverStrategy
appender.file.strategy.max=2
rootLogger.level=info
rootLogger.appenderRef.file.ref=file
"""


class KafkaServer(Server):
    """The event bus."""

    name = "kafka"
    title = "Kafka"
    port_names = ("kafka", "kafka_controller")

    @property
    def endpoint(self) -> str:
        """Bootstrap servers."""
        return f"{HOST}:{self.ports['kafka']}"

    @property
    def memory_mb(self) -> int:
        """Heap, metaspace, code and buffers."""
        return self.settings.kafka_heap_mb + OVERHEAD_MB

    @property
    def output(self) -> Path:
        """Where the JVM itself speaks; log4j writes and rolls the log."""
        return self.folder / "output.log"

    def prepare(self, bundle: Bundle) -> None:
        """Write the configuration, and format the storage when it is new."""
        super().prepare(bundle)
        places = {"host": HOST, "broker": self.ports["kafka"], "controller": self.ports["kafka_controller"]}
        self._properties.write_text(PROPERTIES.format(data=self._data, **places), encoding="utf-8")
        self._logging.write_text(LOGGING.format(log=self.log), encoding="utf-8")
        if not (self._data / "meta.properties").exists():
            self._format(bundle)

    def command(self, bundle: Bundle) -> list[str]:
        """Return the command line."""
        return [
            *self._java(bundle, self.settings.kafka_heap_mb, FAST_START, f"-Dlog4j2.configurationFile={self._logging}"),
            *("-cp", _classpath(bundle), "kafka.Kafka", str(self._properties)),
        ]

    def is_ready(self) -> bool:
        """Say whether the broker answers for itself: fenced ones are not in the metadata."""
        if not self._accepts(self.ports["kafka"]):
            return False
        admin = AdminClient({"bootstrap.servers": self.endpoint, "log_level": 0, "broker.address.family": "v4"})
        try:
            return bool(admin.list_topics(timeout=METADATA_TIMEOUT_S).brokers)
        except KafkaException:
            return False

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _logging(self) -> Path:
        return self.folder / "log4j2.properties"

    def _format(self, bundle: Bundle) -> None:
        command = [
            *self._java(bundle, 128, FAST_START, f"-Dlog4j2.configurationFile={self._logging}"),
            *("-cp", _classpath(bundle), "kafka.tools.StorageTool", "format", "--standalone", "--ignore-formatted"),
            *("--cluster-id", new_cluster_id(), "--config", str(self._properties)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ResourceError(f"Kafka's storage in {self._data} could not be formatted: {done.stdout}{done.stderr}")


def new_cluster_id() -> str:
    """Return a random id in Kafka's form; one with a leading dash would be taken for an option."""
    while (found := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return found


def _classpath(bundle: Bundle) -> str:
    return os.pathsep.join(str(jar) for jar in bundle.jars("kafka"))
