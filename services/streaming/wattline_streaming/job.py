"""What Spark does, in which order: source, decode, ledger, fold, sink; and how the query is kept running."""

from __future__ import annotations

import datetime
import functools
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from pymongo.collection import Collection
from pymongo.errors import PyMongoError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.listener import StreamingQueryProgress
from pyspark.sql.streaming.query import StreamingQuery

from wattline_common.errors import StopError, UnavailableError, WattlineError
from wattline_common.kafka import TRAINING_EVENTS
from wattline_common.store import STREAMING, Document, StreamingHealth
from wattline_streaming import executor
from wattline_streaming.decode import decode
from wattline_streaming.filled import FilledRows, observed
from wattline_streaming.settings import StreamingSettings
from wattline_streaming.settle import Settler, WindowSink
from wattline_streaming.typed import BOOKED_DDL
from wattline_streaming.windows import fold

__all__ = ["Job", "spark_session"]

_LOG = logging.getLogger(__name__)
# To be raised whenever the columns of the windows' state change, which Spark cannot carry over: the new generation
# reads the topic again from its start, and as every write is idempotent nothing is counted twice.
_GENERATION = 1
_MOST_FAILURES = 5  # of one batch, for another reason than a server that is away
_LONGEST_WAIT_S = 30.0
_DRAIN_S = 20.0
# Spark 4.1's Kafka source fails, after the batch is committed, to report progress of a batch that a restart repeats.
_SPARK_57438 = 'because the return value of "scala.Option.get()" is null'
# A damaged length must not make the JVM reserve gigabytes, which would end it; no message is longer than this.
_MOST_OF_A_MESSAGE = 2**20
_AVRO_LIMITS = " ".join(
    f"-Dorg.apache.avro.limits.{part}.maxLength={_MOST_OF_A_MESSAGE}" for part in ("string", "bytes", "collectionItems")
)
_PLAN = "=== Streaming Query ==="  # from here on an exception's text is pages of plan


def spark_session(settings: StreamingSettings) -> SparkSession:
    """Return a session that is small, quiet, on loopback and in UTC."""
    options = {
        "spark.jars": settings.spark_jars,
        "spark.driver.memory": settings.driver_memory,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraJavaOptions": f"{_AVRO_LIMITS} {settings.driver_java_options}",
        "spark.executor.extraJavaOptions": _AVRO_LIMITS,
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(settings.shuffle_partitions),
        "spark.sql.streaming.stateStore.providerClass": (
            "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
        ),
        "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
        # The default manager starts two processes for each file it touches on a local disk, a hundred a batch.
        "spark.sql.streaming.checkpointFileManagerClass": (
            "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
        ),
        "spark.sql.streaming.noDataProgressEventInterval": str(
            24 * 3600 * 1000
        ),  # the last progress is the last batch's
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "10000",
    }
    builder = SparkSession.builder.master(settings.spark_master).appName("wattline-streaming")
    for key, value in options.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session


class Job:
    """The one streaming query with its settling."""

    def __init__(
        self,
        settings: StreamingSettings,
        *,
        spark: SparkSession,
        cluster_id: str,
        writers: Callable[[], Mapping[int, str]],
        sink: WindowSink,
        settler: Settler,
        health: Collection[Document],
    ) -> None:
        self._settings = settings
        self._spark = spark
        self._cluster_id = cluster_id
        self._writers = writers
        self._sink = sink
        self._settler = settler
        self._health = health
        self._filled = FilledRows(health)
        self._busy = threading.Lock()  # the ledger and the settler never run at the same time
        self._failures = 0
        self._query: StreamingQuery | None = None
        self._checkpoint = Path(settings.checkpoint_dir, f"generation-{_GENERATION}")

    def run(self, stop: threading.Event) -> None:
        """Run until ``stop`` is set, then end between batches. Raises `StopError` when going on makes no sense."""
        settling = threading.Thread(target=self._settle_when_idle, args=(stop,), name="settler", daemon=True)
        settling.start()
        while not stop.is_set():
            try:
                self._query = query = self._start()
                while query.isActive and not stop.wait(0.2):
                    pass
                if stop.is_set():
                    self._drain(query)
                self._filled.note(query.lastProgress)
                if stop.is_set():
                    break
                problem = str(query.exception()).partition(_PLAN)[0]
            except WattlineError as error:
                problem = f"{type(error).__name__}: {error}"
            self._back_off(problem, stop)
        settling.join(_DRAIN_S)

    def _start(self) -> StreamingQuery:
        writers = self._writers()
        branches = tuple(sorted(writers.items()))  # the ledger tells by them what the JVM ought to have read
        book = functools.partial(executor.book, self._settings, self._cluster_id, branches)
        booked = observed(decode(self._source(), writers).mapInArrow(book, BOOKED_DDL))
        folded = fold(booked, watermark_s=self._settings.watermark_s)
        return (
            folded.writeStream.outputMode("update")
            .foreachBatch(self._write_batch)
            .option("checkpointLocation", str(self._checkpoint))
            .trigger(processingTime=f"{self._settings.trigger_interval_ms} milliseconds")
            .start()
        )

    def _source(self) -> DataFrame:
        options = {
            "kafka.bootstrap.servers": self._settings.endpoints.kafka_bootstrap_servers,
            "subscribe": TRAINING_EVENTS,
            "startingOffsets": "earliest",
            "includeHeaders": "true",
            "maxOffsetsPerTrigger": str(self._settings.max_offsets_per_trigger),
        }
        return self._spark.readStream.format("kafka").options(**options).load()

    def _write_batch(self, windows: DataFrame, batch_id: int) -> None:
        with self._busy:
            started = _now()
            rows = windows.toArrow().to_pylist()  # the batch's one action: it runs the ledger, too
            self._sink(rows, {})
            settled = self._settle()
            self._failures = 0
            before = self._last_progress()
            self._filled.note(before)
            facts: StreamingHealth = {
                "batch_id": batch_id,
                "previous_batch": _durations_ms(before),
                "batch_at": _now(),
                "batch_s": (_now() - started).total_seconds(),
                "windows_written": len(rows),
                "windows_folded_anew": settled,
            }
            self._tell(facts)

    def _settle_when_idle(self, stop: threading.Event) -> None:
        while not stop.wait(self._settings.settle_interval_s):
            if self._busy.acquire(blocking=False):
                try:
                    self._settle()
                    self._filled.note(self._last_progress())
                except Exception:  # noqa: BLE001  # Spark may be going down; settling must not end with it
                    _LOG.exception("the progress of the last batch is not known")
                finally:
                    self._busy.release()

    def _settle(self) -> int:
        """Settle what is due; a failure costs a delay only, as the marks are still there for the next step."""
        try:
            return self._settler.step(_now())
        except UnavailableError as error:
            _LOG.warning("settling waits: %s", error)
        except Exception:  # noqa: BLE001  # likewise, and the log has the trace
            _LOG.exception("settling failed; the next step tries again")
        return 0

    def _last_progress(self) -> StreamingQueryProgress | None:
        return self._query.lastProgress if self._query is not None else None

    def _tell(self, facts: StreamingHealth) -> None:
        """Write how the stream does; that is no reason to repeat a batch."""
        try:
            self._health.update_one({"_id": STREAMING}, {"$set": facts}, upsert=True)
        except PyMongoError as error:
            _LOG.warning("the stream's health is not in the store: %s", error)

    def _drain(self, query: StreamingQuery) -> None:
        """Stop the query after the batch under way, so that a restart has nothing to repeat."""
        deadline = _now() + datetime.timedelta(seconds=_DRAIN_S)
        while query.isActive and query.status["isTriggerActive"] and _now() < deadline:
            threading.Event().wait(0.05)
        with self._busy:
            query.stop()

    def _back_off(self, problem: str, stop: threading.Event) -> None:
        """Wait, longer each time; raise `StopError` for what waiting cannot mend."""
        if _names(problem, StopError):
            raise StopError(problem)
        if _SPARK_57438 in problem:
            _LOG.info("the batch that was under way at the last stop is done; going on")
            return
        self._failures += 1
        if not _names(problem, UnavailableError) and self._failures >= _MOST_FAILURES:
            raise StopError(
                f"the same batch failed {self._failures} times; its offsets stand in "
                f"{self._checkpoint}/offsets. Mend the cause and start again: {problem}"
            )
        wait_s = min(2.0 ** (self._failures - 1), _LONGEST_WAIT_S)
        _LOG.warning("the query stopped (%d in a row), next try in %.0f s: %s", self._failures, wait_s, problem)
        stop.wait(wait_s)


def _durations_ms(progress: StreamingQueryProgress | None) -> Document | None:
    """Return what Spark says of a batch: rows, and milliseconds by part."""
    return progress and {"input_rows": progress.numInputRows, "duration_ms": dict(progress.durationMs)}


def _names(problem: str, kind: type[WattlineError]) -> bool:
    """Return whether a problem's text, which may come from another process, names an error of a kind."""
    return any(cls.__name__ in problem for cls in (kind, *kind.__subclasses__()))


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
