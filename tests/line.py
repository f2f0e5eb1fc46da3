"""A whole line of real servers and real processes for end-to-end tests, on fresh data of its own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from pymongo.database import Database

from wattline_common import kafka, store
from wattline_common.registry import Registry
from wattline_stack import Endpoints, Stack, StackSettings
from wattline_stack.demo import FAST_START_JAVA_OPTIONS
from wattline_stack.services import Service, Services

__all__ = ["DEADLINE_S", "Line", "running_line", "topic_messages", "wait_for"]

DEADLINE_S = 300.0


@dataclass(frozen=True)
class Line:
    """Servers that run, topics and schemas that are there, and the means to start services on them."""

    stack: Stack
    endpoints: Endpoints
    services: Services
    database: Database[dict[str, Any]]
    data_dir: Path

    def start_stream(self) -> Service:
        """Start the stream."""
        return self.services.start("streaming", ["wattline_streaming"])

    def kill(self, service: Service) -> int | None:
        """End a service by SIGKILL; return its exit code."""
        service.signal(signal.SIGKILL)
        assert service.wait(10)
        self.services.end(service, 10)
        return service.exit_code

    def stored(self) -> int:
        """Return how many raw events are in the store."""
        return self.database[store.TRAINING_METRICS].count_documents({})


@contextmanager
def running_line(data_dir: Path, store_heap_mb: int | None = None, /, **settings: str) -> Iterator[Line]:
    """Start the servers, make topics and schemas; in the end stop all that was started, whatever happens.

    ``settings`` are those of the services; the servers have their defaults, but for the store's heap if it is given.
    """
    stack_settings = StackSettings.from_environment({**os.environ, "WATTLINE_DATA_DIR": str(data_dir)})
    stack = Stack(replace(stack_settings, store_heap_mb=store_heap_mb or stack_settings.store_heap_mb))
    endpoints = stack.start()
    environment = {
        "WATTLINE_CHECKPOINT_DIR": str(data_dir / "checkpoint"),
        "WATTLINE_SPARK_DRIVER_JAVA_OPTIONS": FAST_START_JAVA_OPTIONS,
        "WATTLINE_SETTLE_DELAY_S": "2",
        "WATTLINE_SETTLE_INTERVAL_S": "2",
    }
    services = Services(data_dir, {**endpoints.environment(), **environment, **settings})
    try:
        kafka.ensure_topics(endpoints.kafka_bootstrap_servers)
        list(Registry(endpoints.schema_registry_url).register())
        yield Line(stack, endpoints, services, store.connect(endpoints.mongodb_uri), data_dir)
    finally:
        for service in list(services.started):
            services.end(service, 30)
        stack.stop()


def topic_messages(endpoints: Endpoints, topic: str) -> list[Any]:
    """Return every message of a topic that is not deleted."""
    consumer = Consumer(
        {"bootstrap.servers": endpoints.kafka_bootstrap_servers, "group.id": "line", "enable.auto.commit": False}
    )
    partitions = consumer.list_topics(topic, timeout=20).topics[topic].partitions
    bounds = {number: consumer.get_watermark_offsets(TopicPartition(topic, number)) for number in partitions}
    consumer.assign([TopicPartition(topic, number, first) for number, (first, _) in bounds.items()])
    found: list[Any] = []
    end_s = time.monotonic() + 60
    while len(found) < sum(end - first for first, end in bounds.values()):
        assert time.monotonic() < end_s, f"{topic} did not give all of its messages"
        found += [message for message in consumer.consume(500, 0.5) if message.error() is None]
    consumer.close()
    return found


def wait_for(ready: Callable[[], bool], what: Callable[[], str], deadline_s: float = DEADLINE_S) -> float:
    """Poll until it is so and return the seconds it took; fail with what is not so."""
    started_s = time.monotonic()
    while not ready():
        if time.monotonic() - started_s > deadline_s:
            pytest.fail(f"not within {deadline_s:.0f} s: {what()}")
        time.sleep(0.2)
    return time.monotonic() - started_s
