"""`python -m wattline_streaming [command]`: the only place of the service that knows concrete classes."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import fcntl
import functools
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pymongo.database import Database

from wattline_common import kafka, store
from wattline_common.errors import ConfigurationError, StopError, UnavailableError, WattlineError
from wattline_common.events import WindowAggregated
from wattline_common.registry import Registry
from wattline_common.store import Document
from wattline_streaming.acceptance import Acceptance
from wattline_streaming.audit import Audit, audit
from wattline_streaming.identity import SchemaBook, require_same_cluster, require_stores_cluster
from wattline_streaming.replay import Replay
from wattline_streaming.settings import ExecutorPod, StreamingSettings, export_for_spark, spark_defaults
from wattline_streaming.vitals import QUERY, Vitals
from wattline_streaming.watch import RegistryWatch

if TYPE_CHECKING:  # audit needs no Spark
    from wattline_streaming.figures import Figures

_LOG = logging.getLogger("wattline_streaming")
_DESCRIPTION = """\
Checks, stores and aggregates the events of training.events.

run (the default) starts the stream: Kafka -> Spark -> MongoDB. It goes on where its checkpoint ends; SIGTERM or Ctrl-C
stop it between batches. It needs Kafka (KAFKA_BOOTSTRAP_SERVERS), a Schema Registry (SCHEMA_REGISTRY_URL), a store
(MONGODB_URI), Java (JAVA_HOME) and Spark's Kafka and Avro jars (WATTLINE_SPARK_JARS). WATTLINE_HTTP_PORT turns on
/livez, /readyz and /metrics; WATTLINE_SPARK_MASTER and a spark-defaults.conf in SPARK_CONF_DIR spread it over machines.

audit compares the three collections with the raw events and exits with 1 on any difference.

replay-rejected re-submits rejected events that would be accepted now.
"""
_REPLAY_DESCRIPTION = """\
Re-submits what was rejected once and would be accepted now: because its schema has been registered since, its time has
come, or a newer Wattline understands it.

Each message in rejected_events is judged by the same code as in the stream. What would be accepted goes back to
training.events with its own key, value and headers and one more header, wattline.replayed, that names its old place;
once Kafka has acknowledged it, it is removed from rejected_events. The rest stays, and is counted by reason.

It needs Kafka, the Schema Registry and the store; the stream may run or not. It may be interrupted (Ctrl-C ends after
the batch under way) and run again at any time: an event that comes twice counts once.
"""
_REPLAY_EPILOG = """\
examples:
  python -m wattline_streaming replay-rejected --dry-run
  python -m wattline_streaming replay-rejected --reason unknown_schema_id --reason foreign_subject

exit code: 0 nothing of it is refused any longer; 1 some still is; 2 a setting or a server is wrong;
128 + signal when interrupted.
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
    commands.add_parser("executor", help="be a Spark executor (Spark on Kubernetes starts this in its pods)")
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
    replaying = commands.add_parser(
        "replay-rejected",
        help="re-submit rejected events that would be accepted now",
        description=_REPLAY_DESCRIPTION,
        epilog=_REPLAY_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    replaying.add_argument(
        "--reason", action="append", default=[], help="only what was rejected for this reason; may be given again"
    )
    replaying.add_argument("--dry-run", action="store_true", help="judge and count only, change nothing")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for chatty in ("py4j", "httpx2"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        if arguments.command == "executor":
            return _executor()
        settings = StreamingSettings.from_environment()
        if arguments.command == "audit":
            return _audit(settings, arguments.form or Audit.as_text)
        if arguments.command == "replay-rejected":
            return _replay(settings, frozenset(arguments.reason), dry_run=arguments.dry_run)
        return _run(settings)
    except WattlineError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 2


def _executor() -> NoReturn:
    import pyspark

    from wattline_streaming.pod import executor_command

    spark_home = Path(pyspark.__file__).parent
    command = executor_command(ExecutorPod.from_environment(), spark_home)
    os.execv(command[0], command)  # noqa: S606  # no shell on purpose: this process becomes the executor


def _run(settings: StreamingSettings) -> int:
    from wattline_streaming.endpoint import serving  # audit needs no Spark
    from wattline_streaming.figures import Figures
    from wattline_streaming.job import Job
    from wattline_streaming.retention import Retainer
    from wattline_streaming.session import spark_session
    from wattline_streaming.settle import Settler
    from wattline_streaming.sink import WindowWriter
    from wattline_streaming.upkeep import Upkeep

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    defaults = spark_defaults()
    export_for_spark(settings, defaults)
    vitals, figures = Vitals(settings.http_stall_s), Figures()
    with (
        _only_driver(settings.checkpoint_dir),
        serving(settings.http_address, settings.http_port, vitals, figures),
    ):
        registry = Registry(settings.endpoints.schema_registry_url)
        database = store.connect(settings.endpoints.mongodb_uri)
        if not settings.spark_jars and "spark.jars" not in defaults:
            raise ConfigurationError(
                "WATTLINE_SPARK_JARS is not set: name the Kafka and Avro jars of Spark; "
                "`python -m wattline_stack env` prints it"
            )
        cluster_id = _prepare(settings, registry, database, stop, vitals)
        if stop.is_set():
            return 0
        schemas = SchemaBook(database, registry.schema_text)

        def writers() -> dict[int, str]:
            return {number: schemas.note(number, text) for number, text in registry.ids(kafka.TRAINING_EVENTS).items()}

        producer = kafka.producer(settings.endpoints.kafka_bootstrap_servers, settings.endpoints.kafka_security)
        sink = WindowWriter(database, producer, registry.schema_id(WindowAggregated)).write
        spark = spark_session(settings, defaults)
        signal.signal(signal.SIGINT, lambda *_: stop.set())  # Spark has put its own in its place
        watch = _watch(settings, database, vitals)
        threading.Thread(target=watch.run, args=(stop,), name="registry-watch", daemon=True).start()
        job = Job(
            settings,
            spark=spark,
            cluster_id=cluster_id,
            writers=writers,
            sink=sink,
            upkeep=Upkeep(
                Settler(database, spark, sink),
                Retainer(database, age=settings.raw_retention),
                figures,
                vitals,
            ),
            health=database[store.PIPELINE_HEALTH],
            figures=figures,
            vitals=vitals,
        )
        if settings.http_port:
            _look_at_backlog(settings, job.checkpoint, database, figures, vitals, stop)
        _LOG.info("streaming %s into %s", kafka.TRAINING_EVENTS, store.DATABASE)
        job.run(stop)
        spark.stop()
    if watch.stopped_by is not None:
        raise watch.stopped_by
    _LOG.info("stopped between batches")
    return 0


def _look_at_backlog(
    settings: StreamingSettings,
    checkpoint: Path,
    database: Database[Document],
    figures: Figures,
    vitals: Vitals,
    stop: threading.Event,
) -> None:
    from wattline_streaming.backlog import Backlog

    at = settings.endpoints
    offsets = functools.partial(kafka.offsets, at.kafka_bootstrap_servers, kafka.TRAINING_EVENTS, at.kafka_security)
    backlog = Backlog(offsets, checkpoint, database[store.DIRTY_WINDOWS], figures, vitals)
    looking = (stop, settings.registry_watch_interval_s)
    threading.Thread(target=backlog.run, args=looking, name="backlog", daemon=True).start()


def _watch(settings: StreamingSettings, database: Database[Document], vitals: Vitals) -> RegistryWatch:
    def check() -> None:
        registry = Registry(settings.endpoints.schema_registry_url)  # a new one: it remembers nothing
        registry.require_subjects()
        SchemaBook(database, registry.schema_text).verify()

    return RegistryWatch(check, database[store.PIPELINE_HEALTH], settings.registry_watch_interval_s, vitals)


def _prepare(
    settings: StreamingSettings,
    registry: Registry,
    database: Database[Document],
    stop: threading.Event,
    vitals: Vitals,
) -> str:
    """Wait for the servers, check that they are the ones of before; return the Kafka cluster's id."""
    servers, security = settings.endpoints.kafka_bootstrap_servers, settings.endpoints.kafka_security
    while True:
        vitals.beat(QUERY)
        try:
            kafka.require_topics(servers, security)
            cluster_id = kafka.cluster_id(servers, security)
            require_same_cluster(settings.checkpoint_dir, database, cluster_id)
            store.ensure(database)
            registry.require_subjects()
        except UnavailableError as error:
            _LOG.warning("waiting: %s", error)
            vitals.note(QUERY, f"waiting: {error}")
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


def _replay(settings: StreamingSettings, reasons: frozenset[str], *, dry_run: bool) -> int:
    servers, security = settings.endpoints.kafka_bootstrap_servers, settings.endpoints.kafka_security
    database = store.connect(settings.endpoints.mongodb_uri)
    require_stores_cluster(database, kafka.cluster_id(servers, security))
    acceptance = Acceptance(
        SchemaBook(database, Registry(settings.endpoints.schema_registry_url).schema_text),
        future_tolerance=datetime.timedelta(seconds=settings.future_tolerance_s),
    )
    producer = kafka.producer(servers, security)
    replay = Replay(database, producer, acceptance, now=lambda: datetime.datetime.now(datetime.UTC))
    interrupted: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda caught, _: interrupted.append(caught))
    try:
        for report in replay.run(reasons, dry_run=dry_run):
            _LOG.info("%d looked at", report.replayed.total() + report.refused.total())
            if interrupted:
                break
    finally:
        sys.stdout.write(replay.report.as_text(dry_run=dry_run) + "\n")
    if interrupted:
        return 128 + interrupted[0]
    return 1 if replay.report.refused else 0


def _as_json(found: Audit) -> str:
    return json.dumps(found.as_json())


if __name__ == "__main__":
    raise SystemExit(main())
