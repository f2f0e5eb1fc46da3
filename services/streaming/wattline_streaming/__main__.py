"""`python -m wattline_streaming [run|audit]`: the only place of the service that knows concrete classes."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from pymongo.database import Database

from wattline_common import kafka, store
from wattline_common.errors import ConfigurationError, StopError, UnavailableError, WattlineError
from wattline_common.events import WindowAggregated
from wattline_common.registry import Registry
from wattline_common.store import Document
from wattline_streaming.audit import Audit, audit
from wattline_streaming.identity import SchemaBook, require_same_cluster
from wattline_streaming.settings import StreamingSettings, export_for_spark

_LOG = logging.getLogger("wattline_streaming")
_DESCRIPTION = """\
Checks, stores and aggregates the events of training.events.

run (the default) starts the stream: Kafka -> Spark -> MongoDB. It goes on where its checkpoint ends; SIGTERM or Ctrl-C
stop it between batches. It needs Kafka (KAFKA_BOOTSTRAP_SERVERS), a Schema Registry (SCHEMA_REGISTRY_URL), a store
(MONGODB_URI), Java (JAVA_HOME) and Spark's Kafka and Avro jars (WATTLINE_SPARK_JARS).

audit compares the three collections with the raw events and exits with 1 on any difference.
"""


def main() -> int:
    """Run a command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m wattline_streaming",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("run", help="start the stream")
    checking = commands.add_parser("audit", help="compare the collections with the raw events")
    form = checking.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_const", const=_as_json, dest="form", help="print one JSON line")
    form.add_argument(
        "--counts",
        action="store_const",
        const=Audit.as_counts,
        dest="form",
        help="print the collections' counts and, per run, what was expected; a missing event fails it, too",
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for chatty in ("py4j", "httpx2"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        settings = StreamingSettings.from_environment()
        return _audit(settings, arguments.form or Audit.as_text) if arguments.command == "audit" else _run(settings)
    except WattlineError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 2


def _run(settings: StreamingSettings) -> int:
    from wattline_streaming.job import Job, spark_session  # audit needs no Spark
    from wattline_streaming.settle import Settler
    from wattline_streaming.sink import WindowWriter

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    export_for_spark()
    with _only_driver(settings.checkpoint_dir):
        registry = Registry(settings.endpoints.schema_registry_url)
        database = store.connect(settings.endpoints.mongodb_uri)
        cluster_id = _prepare(settings, registry, database, stop)
        if stop.is_set():
            return 0
        schemas = SchemaBook(database, registry.schema_text)

        def writers() -> dict[int, str]:
            return {number: schemas.note(number, text) for number, text in registry.ids(kafka.TRAINING_EVENTS).items()}

        producer = kafka.producer(settings.endpoints.kafka_bootstrap_servers)
        sink = WindowWriter(database, producer, registry.schema_id(WindowAggregated)).write
        spark = spark_session(settings)
        signal.signal(signal.SIGINT, lambda *_: stop.set())  # Spark has put its own in its place
        job = Job(
            settings,
            spark=spark,
            cluster_id=cluster_id,
            writers=writers,
            sink=sink,
            settler=Settler(database, spark, sink),
            health=database[store.PIPELINE_HEALTH],
        )
        _LOG.info("streaming %s into %s", kafka.TRAINING_EVENTS, store.DATABASE)
        job.run(stop)
        spark.stop()
    _LOG.info("stopped between batches")
    return 0


def _prepare(
    settings: StreamingSettings, registry: Registry, database: Database[Document], stop: threading.Event
) -> str:
    """Wait for the servers, check that they are the ones of before; return the Kafka cluster's id."""
    if not settings.spark_jars:
        raise ConfigurationError(
            "WATTLINE_SPARK_JARS is not set: name the Kafka and Avro jars of Spark; "
            "`python -m wattline_stack env` prints it"
        )
    servers = settings.endpoints.kafka_bootstrap_servers
    while True:
        try:
            kafka.require_topics(servers)
            cluster_id = kafka.cluster_id(servers)
            require_same_cluster(settings.checkpoint_dir, database, cluster_id)
            store.ensure(database)
            registry.require_subjects()
        except UnavailableError as error:
            _LOG.warning("waiting: %s", error)
            if stop.wait(2.0):
                return ""
        else:
            return cluster_id


@contextlib.contextmanager
def _only_driver(checkpoint_dir: Path) -> Iterator[None]:
    """Hold the checkpoint folder; raise `StopError` when another driver does."""
    checkpoint_dir.mkdir(parents=True, exist_ok=True)
    with Path(checkpoint_dir, "driver.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StopError(
                f"another streaming service works on WATTLINE_CHECKPOINT_DIR={checkpoint_dir}: "
                "stop it, or name another folder and another store"
            ) from error
        yield


def _audit(settings: StreamingSettings, form: Callable[[Audit], str]) -> int:
    found = audit(store.connect(settings.endpoints.mongodb_uri))
    sys.stdout.write(form(found) + "\n")
    complete = form is not Audit.as_counts or not any(run.missing_events for run in found.runs)
    return 0 if found.clean and complete else 1


def _as_json(found: Audit) -> str:
    return json.dumps(found.as_json())


if __name__ == "__main__":
    raise SystemExit(main())
