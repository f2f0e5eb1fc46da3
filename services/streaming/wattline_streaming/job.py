"""What Spark does, in which order: source, decode, ledger, fold, sink; and how the query is kept running."""

from __future__ import annotations

import datetime
import functools
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pymongo.collection import Collection
from pymongo.errors import PyMongoError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.listener import StreamingQueryProgress
from pyspark.sql.streaming.query import StreamingQuery

from wattline_common.errors import StopError, WattlineError
from wattline_common.kafka import TRAINING_EVENTS
from wattline_common.store import STREAMING, Document, StreamingHealth
from wattline_streaming import executor, failures
from wattline_streaming.backlog import START_ANEW, batch_under_way, is_committed, planned_batch
from wattline_streaming.counts import LedgerCounts, observed
from wattline_streaming.decode import decode
from wattline_streaming.figures import Figures
from wattline_streaming.settings import StreamingSettings
from wattline_streaming.settle import Settled, WindowSink
from wattline_streaming.typed import BOOKED_DDL
from wattline_streaming.upkeep import Upkeep
from wattline_streaming.vitals import QUERY, SETTLING, Vitals
from wattline_streaming.windows import fold

__all__ = ["Job"]

_LOG = logging.getLogger(__name__)
# To be raised whenever the columns of the windows' state change, which Spark cannot carry over: the new generation
# reads the topic again from its start, and as every write is idempotent nothing is counted twice.
_GENERATION = 2
_MOST_FAILURES = 5  # of one batch, for another reason than a server that is away
_LONGEST_WAIT_S = 30.0
_DRAIN_S = 20.0
_DRAIN_POLL_S = 0.001
_BETWEEN_TRIGGERS = "Waiting"  # so begins Spark's word for a query that has done what there was to do
_POLL_S = 0.2


class Job:
    """The one streaming query with the upkeep of what it writes."""

    def __init__(
        self,
        settings: StreamingSettings,
        *,
        spark: SparkSession,
        cluster_id: str,
        writers: Callable[[], Mapping[int, str]],
        sink: WindowSink,
        upkeep: Upkeep,
        health: Collection[Document],
        figures: Figures,
        vitals: Vitals,
    ) -> None:
        self._settings = settings
        self._spark = spark
        self._cluster_id = cluster_id
        self._writers = writers
        self._sink = sink
        self._upkeep = upkeep
        self._health = health
        self._counts = LedgerCounts(health)
        self._figures = figures
        self._vitals = vitals
        self._busy = threading.Lock()  # the ledger and the upkeep never run at the same time
        self._failures = 0  # in a row, for any reason
        self._failed: tuple[int | None, int] = (None, 0)  # a batch, and how often it failed with all servers there
        self._query: StreamingQuery | None = None
        self.checkpoint = Path(settings.checkpoint_dir, f"generation-{_GENERATION}")

    def run(self, stop: threading.Event) -> None:
        """Run until ``stop`` is set, then end between batches. Raises `StopError` when going on makes no sense."""
        settling = threading.Thread(target=self._keep_up_when_idle, args=(stop,), name="settler", daemon=True)
        settling.start()
        while not stop.is_set():
            try:
                self._query = query = self._start()
                while query.isActive and not stop.wait(_POLL_S):
                    self._look(query)
                if stop.is_set():
                    self._vitals.note(QUERY, "stopping", is_error=False)
                    self._drain(query)
                self._note(query.lastProgress)
                if stop.is_set():
                    break
                problem = failures.text(query.exception())
            except WattlineError as error:
                problem = f"{type(error).__name__}: {error}"
            self._back_off(problem, stop)
        settling.join(_DRAIN_S)

    def _look(self, query: StreamingQuery) -> None:
        """Take a query that rests between two triggers for one that goes on; one that never rests shows it by batches.

        The poll itself is no sign of life: it goes on while the query's thread hangs.
        """
        if _rests(query.status):
            self._alive()

    def _alive(self) -> None:
        self._vitals.beat(QUERY)
        self._vitals.note(QUERY, None)

    def _start(self) -> StreamingQuery:
        writers = self._writers()
        branches = tuple(sorted(writers.items()))  # the ledger tells by them what the JVM ought to have read
        book = functools.partial(executor.book, self._settings, self._cluster_id, branches)
        messages, context = decode(self._source(), writers), self._spark.sparkContext
        if (context.master or "").startswith("local"):
            # A task a core: each has costs of its own, and asks the store by itself. A cluster's cores come later.
            messages = messages.coalesce(context.defaultParallelism)
        booked = observed(messages.mapInArrow(book, BOOKED_DDL))
        folded = fold(booked, watermark_s=self._settings.watermark_s)
        return (
            folded.writeStream.outputMode("update")
            .foreachBatch(self._write_batch)
            .option("checkpointLocation", str(self.checkpoint))
            .trigger(processingTime=f"{self._settings.trigger_interval_ms} milliseconds")
            .start()
        )

    def _source(self) -> DataFrame:
        endpoints = self._settings.endpoints
        options = {
            "kafka.bootstrap.servers": endpoints.kafka_bootstrap_servers,
            **{f"kafka.{name}": value for name, value in endpoints.kafka_security.java().items()},
            "subscribe": TRAINING_EVENTS,
            "startingOffsets": "earliest",
            "includeHeaders": "true",
            "fetchOffset.numRetries": "1",  # one of Kafka's long timeouts, then we back off and tell
            "maxOffsetsPerTrigger": str(self._settings.max_offsets_per_trigger),
        }
        return self._spark.readStream.format("kafka").options(**options).load()

    def _write_batch(self, windows: DataFrame, batch_id: int) -> None:
        self._vitals.beat(QUERY)
        with self._busy:
            started = _now()
            rows = windows.toArrow().to_pylist()  # the batch's one action: it runs the ledger, too
            self._sink(rows, {})
            before = self._last_progress()
            behind = self._is_behind(before, took_s=(_now() - started).total_seconds())
            settled = Settled() if self._upkeep.can_wait(busy=behind) else self._upkeep.settle()
            self._upkeep.erase()
            self._failures, self._failed = 0, (None, 0)
            self._note(before)
            facts: StreamingHealth = {
                "batch_id": batch_id,
                "previous_batch": _durations_ms(before),
                "batch_at": _now(),
                "batch_s": (_now() - started).total_seconds(),
                "windows_written": len(rows),
                "windows_folded_anew": settled.folded_anew,
            }
            self._tell(facts)
            self._figures.windows_written += len(rows)
            self._figures.last_batch_at = facts["batch_at"]
        self._alive()

    def _keep_up_when_idle(self, stop: threading.Event) -> None:
        while not stop.wait(self._settings.settle_interval_s):
            self._vitals.beat(SETTLING, pause_s=self._settings.settle_interval_s)
            if not self._upkeep.can_wait(busy=self._in_a_batch()) and self._busy.acquire(blocking=False):
                try:
                    self._upkeep.settle()
                    while self._upkeep.erase() and not stop.is_set() and not self._in_a_batch():
                        self._vitals.beat(SETTLING, pause_s=self._settings.settle_interval_s)
                    self._note(self._last_progress())
                    if self._query is not None and _has_caught_up(self._query):
                        self._upkeep.delete_old()
                except Exception:  # noqa: BLE001  # Spark may be going down; settling must not end with it
                    _LOG.exception("the progress of the last batch is not known")
                finally:
                    self._busy.release()

    def _in_a_batch(self) -> bool:
        query = self._query
        return query is not None and query.isActive and bool(query.status["isTriggerActive"])

    def _is_behind(self, before: StreamingQueryProgress | None, *, took_s: float) -> bool:
        """Return whether there is a backlog: this batch took so long that more waits, or the one before was large."""
        was_large = before is not None and before.numInputRows > self._settings.max_offsets_per_trigger / 2
        return was_large or took_s > self._settings.settle_interval_s

    def _note(self, progress: StreamingQueryProgress | None) -> None:
        """Add up what Spark tells of a batch, which it does once the batch is over."""
        self._figures.note(progress)
        self._counts.note(progress)
        self._figures.ledger = self._counts.sums

    def _last_progress(self) -> StreamingQueryProgress | None:
        return self._query.lastProgress if self._query is not None else None

    def _tell(self, facts: StreamingHealth) -> None:
        """Write how the stream does; that is no reason to repeat a batch."""
        try:
            self._health.update_one({"_id": STREAMING}, {"$set": facts}, upsert=True)
        except PyMongoError as error:
            _LOG.warning("the stream's health is not in the store: %s", error)

    def _drain(self, query: StreamingQuery) -> None:
        """Stop the query after the batch under way, so that a restart has nothing to repeat.

        One that is behind is never seen at rest: between two batches it takes some milliseconds to ask Kafka for more.
        """
        deadline, batch = _now() + datetime.timedelta(seconds=_DRAIN_S), planned_batch(self.checkpoint)
        while query.isActive and batch is not None and not is_committed(self.checkpoint, batch) and _now() < deadline:
            threading.Event().wait(_DRAIN_POLL_S)
        query.stop()

    def _back_off(self, problem: str, stop: threading.Event) -> None:
        """Wait, longer each time; raise `StopError` for what waiting cannot mend."""
        if failures.names(problem, StopError):
            raise StopError(problem)
        if failures.is_spark_57438(problem):
            _LOG.info("the batch that was under way at the last stop is done; going on")
            return
        self._failures += 1
        self._figures.query_failures += 1
        self._vitals.beat(QUERY)
        self._vitals.note(QUERY, failures.cause(problem))
        if not failures.is_outage(problem) and self._failed_again() >= _MOST_FAILURES:
            raise StopError(
                f"the same batch failed {self._failed[1]} times: {batch_under_way(self.checkpoint)}. Nothing of it is "
                "skipped: mend the cause and start again, it is repeated then. If the checkpoint itself is damaged, "
                f"{START_ANEW}. {problem}"
            )
        wait_s = min(2.0 ** (self._failures - 1), _LONGEST_WAIT_S)
        _LOG.warning("the query stopped (%d in a row), next try in %.0f s: %s", self._failures, wait_s, problem)
        stop.wait(wait_s)

    def _failed_again(self) -> int:
        """Count a failure of the batch under way that is no outage; return how many it has had."""
        batch, (before, times) = planned_batch(self.checkpoint), self._failed
        self._failed = (batch, times + 1 if batch == before else 1)
        return self._failed[1]


def _rests(status: Mapping[str, Any]) -> bool:
    """Return whether the query has done what there was to do, and waits for its next trigger."""
    return not status["isTriggerActive"] and status["message"].startswith(_BETWEEN_TRIGGERS)


def _has_caught_up(query: StreamingQuery) -> bool:
    """Return whether Kafka had nothing more when the query last looked; the query works on, so this may be old news."""
    status, progress = query.status, query.lastProgress
    if not query.isActive:
        return False
    if _rests(status) and not status["isDataAvailable"]:
        return True
    behind = [source.metrics.get("maxOffsetsBehindLatest") for source in progress.sources] if progress else [None]
    return all(behind_latest == "0" for behind_latest in behind)


def _durations_ms(progress: StreamingQueryProgress | None) -> Document | None:
    """Return what Spark says of a batch: rows, and milliseconds by part."""
    return progress and {"input_rows": progress.numInputRows, "duration_ms": dict(progress.durationMs)}


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
