"""Promises of the vitals on the real Spark: a query whose thread hangs is found, though the driver polls on."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pymongo.database import Database
from pyspark.sql import SparkSession

from tests.erasing import eraser_of
from tests.events import run_events
from tests.line import wait_for
from wattline_common import kafka, store
from wattline_common.codec import encode_body, frame
from wattline_common.registry import Registry
from wattline_common.settings import Endpoints as Addresses
from wattline_common.store import Document
from wattline_stack import Endpoints
from wattline_streaming.figures import Figures
from wattline_streaming.job import Job
from wattline_streaming.retention import Retainer
from wattline_streaming.settings import StreamingSettings
from wattline_streaming.settle import Settler
from wattline_streaming.upkeep import Upkeep
from wattline_streaming.vitals import QUERY, Vitals

STALL_S = 4.0


class HangingSink:
    """Takes windows only while it is told to."""

    def __init__(self) -> None:
        self.called = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, _rows: list[Document], _settlements: Mapping[str, int]) -> None:
        """Hang until it may go on."""
        self.called.set()
        assert self.go_on.wait(120)


def produce(addresses: Addresses, registry: Registry) -> None:
    """Produce a run, so that there is a batch to hang in."""
    producer = kafka.producer(addresses.kafka_bootstrap_servers)
    for event in run_events("hanging", samples=2):
        value = frame(registry.schema_id(type(event)), encode_body(event))
        producer.produce(kafka.TRAINING_EVENTS, key=b"hanging", value=value)
    assert producer.flush(30) == 0


def test_a_hanging_batch_is_told_after_its_time_and_forgotten_once_it_goes_on(
    stack: Endpoints, spark: SparkSession, database: Database[dict[str, Any]], tmp_path: Path
) -> None:
    """The query's thread stays in the sink: silent. It returns: alive and ready again, and it ends on demand."""
    addresses = Addresses(stack.kafka_bootstrap_servers, stack.schema_registry_url, stack.mongodb_uri)
    registry = Registry(addresses.schema_registry_url)
    kafka.ensure_topics(addresses.kafka_bootstrap_servers)
    list(registry.register())
    produce(addresses, registry)
    sink, stop, vitals, figures = HangingSink(), threading.Event(), Vitals(STALL_S), Figures()
    job = Job(
        StreamingSettings(endpoints=addresses, checkpoint_dir=tmp_path, settle_interval_s=0.5),
        spark=spark,
        cluster_id=kafka.cluster_id(addresses.kafka_bootstrap_servers),
        writers=lambda: registry.ids(kafka.TRAINING_EVENTS),
        sink=sink,
        upkeep=Upkeep(
            Settler(database, spark, sink),
            Retainer(database, age=None),
            eraser_of(database, addresses, sink),
            figures,
            vitals,
        ),
        health=database[store.PIPELINE_HEALTH],
        figures=figures,
        vitals=vitals,
    )
    running = threading.Thread(target=job.run, args=(stop,))
    running.start()
    try:
        assert sink.called.wait(120), "no batch has come"
        hangs_since_s = time.monotonic()
        wait_for(lambda: QUERY in vitals.stalled(), lambda: "the silence to be told", 60)
        assert set(vitals.stalled()) == {QUERY}
        assert time.monotonic() - hangs_since_s < STALL_S + 5
        sink.go_on.set()
        wait_for(lambda: not vitals.stalled() and not any(vitals.problems().values()), lambda: str(vitals), 60)
    finally:
        sink.go_on.set()
        stop.set()
        running.join(60)
    assert not running.is_alive()
