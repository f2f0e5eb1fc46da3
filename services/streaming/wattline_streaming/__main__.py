"""`python -m wattline_streaming [command]`: the only place of the service that knows concrete classes."""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from confluent_kafka import Producer
from pymongo.database import Database

from wattline_common import kafka, store
from wattline_common.errors import ConfigurationError, UnavailableError, WattlineError
from wattline_common.events import WindowAggregated
from wattline_common.readable import parse_readable
from wattline_common.registry import Registry
from wattline_common.store import Document
from wattline_streaming.acceptance import Acceptance
from wattline_streaming.alone import alone, only_driver
from wattline_streaming.arguments import parser
from wattline_streaming.audit import audit, record
from wattline_streaming.erasures import RUN, USER, Erasures, censored
from wattline_streaming.identity import SchemaBook, require_same_surroundings, require_stores_cluster
from wattline_streaming.purge import Purge
from wattline_streaming.repair import repair
from wattline_streaming.replay import Replay
from wattline_streaming.settings import ExecutorPod, StreamingSettings, export_for_spark, spark_defaults
from wattline_streaming.vitals import QUERY, Vitals
from wattline_streaming.watch import RegistryWatch

if TYPE_CHECKING:  # audit needs no Spark
    from wattline_streaming.backlog import Backlog
    from wattline_streaming.erase import Eraser
    from wattline_streaming.figures import Figures

_LOG = logging.getLogger("wattline_streaming")
_REPORTS = 3  # of a stream that may fail to come before it is taken for stopped


def main() -> int:
    """Run a command; return its exit code."""
    arguments = parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for chatty in ("py4j", "httpx2"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        if arguments.command == "executor":
            return _executor()
        settings = StreamingSettings.from_environment()
        if arguments.command == "audit":
            return _audit(settings, arguments.form, repairing=arguments.repair)
        if arguments.command == "replay-rejected":
            return _replay(settings, frozenset(arguments.reason), dry_run=arguments.dry_run)
        if arguments.command in {"erase", "pseudonymise"}:
            return _erase(settings, arguments)
        if arguments.command == "erasures":
            return _erasures(settings)
        return _run(settings)
    except WattlineError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run it again to go on\n")
        return 128 + signal.SIGINT


def _executor() -> NoReturn:
    import pyspark

    from wattline_streaming.pod import executor_command

    spark_home = Path(pyspark.__file__).parent
    command = executor_command(ExecutorPod.from_environment(), spark_home)
    os.execv(command[0], command)  # noqa: S606  # no shell on purpose: this process becomes the executor


def _run(settings: StreamingSettings) -> int:
    from wattline_streaming.endpoint import serving  # audit needs no Spark
    from wattline_streaming.erase import Eraser
    from wattline_streaming.figures import Figures
    from wattline_streaming.job import Job
    from wattline_streaming.report import Report
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
        only_driver(settings.checkpoint_dir),
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
            found = registry.ids(kafka.TRAINING_EVENTS)
            return {number: schemas.note(number, text) for number, text in found.items() if _is_readable(number, text)}

        producer = kafka.producer(settings.endpoints.kafka_bootstrap_servers, settings.endpoints.kafka_security)
        writer = WindowWriter(database, producer, registry.schema_id(WindowAggregated)).write
        erasures = Erasures(database, settings.erasure_key)
        erasures.look_up((), ())  # another key than before is told now
        sink = censored(writer, erasures)
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
                Eraser(database, erasures, _purge(settings, producer), sink),
                figures,
                vitals,
            ),
            health=database[store.PIPELINE_HEALTH],
            figures=figures,
            vitals=vitals,
        )
        report = Report(database[store.PIPELINE_HEALTH], figures, vitals)
        backlog = _backlog(settings, job.checkpoint, database, figures, vitals)
        looking = (stop, settings.registry_watch_interval_s, report.step)
        threading.Thread(target=backlog.run, args=looking, name="backlog", daemon=True).start()
        _LOG.info("streaming %s into %s", kafka.TRAINING_EVENTS, store.DATABASE)
        try:
            job.run(stop)
        finally:
            report.step()  # the error that ends it, too
        spark.stop()
    if watch.stopped_by is not None:
        raise watch.stopped_by
    _LOG.info("stopped between batches")
    return 0


def _is_readable(number: int, text: str) -> bool:
    """Return whether a schema is one to read by; one that is not must not stop the others."""
    try:
        parse_readable(text)
    except ValueError as error:
        _LOG.warning("schema id %d is none to read by, so its messages are rejected: %s", number, error)
        return False
    return True


def _backlog(
    settings: StreamingSettings, checkpoint: Path, database: Database[Document], figures: Figures, vitals: Vitals
) -> Backlog:
    from wattline_streaming.backlog import Backlog

    at = settings.endpoints
    to_kafka = (at.kafka_bootstrap_servers, kafka.TRAINING_EVENTS, at.kafka_security)
    return Backlog(
        functools.partial(kafka.offsets, *to_kafka),
        functools.partial(kafka.appended_at, *to_kafka),
        checkpoint,
        database,
        figures,
        vitals,
    )


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
            require_same_surroundings(settings.checkpoint_dir, database, cluster_id)
            store.ensure(database)
            registry.require_subjects()
        except UnavailableError as error:
            _LOG.warning("waiting: %s", error)
            vitals.note(QUERY, f"waiting: {error}")
            if stop.wait(2.0):
                return ""
        else:
            return cluster_id


def _audit(settings: StreamingSettings, form: str | None, *, repairing: bool) -> int:
    database = store.connect(settings.endpoints.mongodb_uri)
    mended = repair(database, now=_now) if repairing else None
    found = mended.after if mended else audit(database, _now())
    record(database, found, at=_now(), repaired=len(mended.mended) if mended else 0)
    if form == "json":
        sys.stdout.write(json.dumps((mended or found).as_json()) + "\n")
    else:
        words = [mended.as_text()] if mended else []
        sys.stdout.write("\n".join([*words, found.as_counts() if form else found.as_text()]) + "\n")
    complete = form != "counts" or not any(run.missing_events for run in found.runs)
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
    replay = Replay(database, producer, acceptance, now=_now)
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


def _erase(settings: StreamingSettings, arguments: argparse.Namespace) -> int:
    from wattline_streaming.erase_command import Errand, Request, done_text, survey

    kind = RUN if getattr(arguments, "run", None) is not None else USER
    name = arguments.run if kind == RUN else arguments.user
    request = Request(arguments.command, kind, sys.stdin.readline().rstrip("\n") if name == "-" else name)
    if not request.name:
        raise ConfigurationError(f"the name of the {kind} is empty: give it as --{kind} NAME, or --{kind} - and a line")
    servers, security = settings.endpoints.kafka_bootstrap_servers, settings.endpoints.kafka_security
    database = store.connect(settings.endpoints.mongodb_uri)
    require_stores_cluster(database, kafka.cluster_id(servers, security))
    erasures = Erasures(database, settings.erasure_key)
    producer = kafka.producer(servers, security)
    sys.stdout.write(survey(database, erasures, _purge(settings, producer), request).as_text(request) + "\n")
    if arguments.dry_run:
        return 0
    if not arguments.yes and not _confirmed(request.action, is_typed=name != "-"):
        return 1
    errand = Errand(
        database,
        erasures,
        lambda: _eraser(settings, database, erasures, producer),
        lambda: alone(settings.checkpoint_dir),
        silence=datetime.timedelta(seconds=_REPORTS * settings.registry_watch_interval_s),
        now=_now,
    )
    done = errand.run(request, patience_s=arguments.wait, tell=lambda words: _LOG.info("%s", words))
    told = done_text(done) if done else "not done yet: the stream goes on with it; run it again to see"
    sys.stdout.write(f"{told}\n")
    return 0 if done else 1


def _eraser(
    settings: StreamingSettings, database: Database[Document], erasures: Erasures, producer: Producer
) -> Eraser:
    from wattline_streaming.erase import Eraser
    from wattline_streaming.sink import WindowWriter

    registry = Registry(settings.endpoints.schema_registry_url)
    sink = WindowWriter(database, producer, registry.schema_id(WindowAggregated)).write
    return Eraser(database, erasures, _purge(settings, producer), censored(sink, erasures))


def _purge(settings: StreamingSettings, producer: Producer) -> Purge:
    return Purge(settings.endpoints.kafka_bootstrap_servers, producer, settings.endpoints.kafka_security)


def _confirmed(action: str, *, is_typed: bool) -> bool:
    """Ask a person; one who is not there has not confirmed."""
    if not is_typed or not sys.stdin.isatty():
        sys.stderr.write(f"nothing was changed: {action} is for good, and there is nobody to ask; say --yes\n")
        return False
    sys.stderr.write(f"This is for good. Type {action} to go on: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip() == action:
        return True
    sys.stderr.write("nothing was changed\n")
    return False


def _erasures(settings: StreamingSettings) -> int:
    from wattline_streaming.erase_command import as_table

    database = store.connect(settings.endpoints.mongodb_uri)
    sys.stdout.write(as_table(Erasures(database, settings.erasure_key).all()) + "\n")
    return 0


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


if __name__ == "__main__":
    raise SystemExit(main())
