"""One look at a line under load: how far producers and stream are, and what each process takes."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from confluent_kafka import Consumer, TopicPartition

from bench.processes import cpu_seconds, resident_mb
from tests.line import Line
from tests.probes import Probes
from wattline_common import kafka, store
from wattline_common.codec import Decoder
from wattline_common.registry import Registry
from wattline_stack.processes import ProcessTable
from wattline_stack.services import Service

__all__ = ["SERVERS", "Look", "Watcher", "totals"]

SERVERS = ("kafka", "registry", "store")
_WHOLE = frozenset({("part", "triggerExecution")})
_NONE: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True)
class Look:
    """What was seen at a moment, in seconds since the runs were started; counters are since then, too.

    ``producer_late_s`` is the age of the newest event on the topic: by how much the simulator is behind its own clock.
    ``undelivered`` are events that Kafka has not acknowledged, ``lag_s`` is the stream's own word.
    """

    at_s: float
    written: int
    stored: int
    producer_late_s: float
    undelivered: int
    ready: bool
    told: str
    lag_s: float = 0.0
    batches: float = 0.0
    batch_s: float = 0.0
    windows_dirty: float = 0.0
    load_average: float = 0.0
    cpu_s: dict[str, float] = field(default_factory=dict)
    memory_mb: dict[str, float] = field(default_factory=dict)

    @property
    def lag(self) -> int:
        """Return how many events are on the topic and not in the store."""
        return self.written - self.stored


class Watcher:
    """Looks at a line whose stream runs."""

    def __init__(self, line: Line, stream: Service, probes: Probes, fleets: Sequence[tuple[Service, Path]]) -> None:
        self._line = line
        self._fleets = fleets
        self._stream = stream
        self._probes = probes
        at = line.endpoints.kafka_bootstrap_servers
        self._consumer = Consumer({"bootstrap.servers": at, "group.id": "bench", "enable.auto.commit": False})
        registry = Registry(line.endpoints.schema_registry_url)
        self._decoder = Decoder(lambda schema_id: registry.schema_text(schema_id, kafka.TRAINING_EVENTS))
        self._since_s = time.monotonic()
        self._newest_s = time.time()

    def close(self) -> None:
        """Close the connection to Kafka."""
        self._consumer.close()

    def look(self) -> Look:
        """Look once."""
        stored = self._line.database[store.TRAINING_METRICS].estimated_document_count()
        written, late_s = self._topic()
        status, told = self._probes.get("/readyz")
        metrics = self._probes.metrics() if status else {}
        servers, stream = self._servers(), psutil.Process(self._stream.pid)
        return Look(
            at_s=time.monotonic() - self._since_s,
            written=written,
            stored=stored,
            producer_late_s=late_s,
            undelivered=sum(_undelivered(ledger) for _, ledger in self._fleets),
            ready=status == 200,
            told=told.strip(),
            lag_s=metrics.get(("wattline_lag_seconds", _NONE), 0.0),
            batches=metrics.get(("wattline_batches_total", _NONE), 0.0),
            batch_s=metrics.get(("wattline_batch_seconds_total", _WHOLE), 0.0),
            windows_dirty=metrics.get(("wattline_windows_dirty", _NONE), 0.0),
            load_average=psutil.getloadavg()[0],
            cpu_s=dict(cpu_seconds(servers, stream)),
            memory_mb={**_rss_mb(servers), **resident_mb(stream)},
        )

    def dead(self) -> str:
        """Return which process has ended and what it said last; nothing while all run."""
        running = ProcessTable(self._line.data_dir).running()
        for name in SERVERS:
            if name not in running:
                log = self._line.data_dir / name / "server.log"
                return f"{name} has ended: {_last_line(log.read_text(errors='replace') if log.exists() else '')}"
        for service in (self._stream, *(fleet for fleet, _ in self._fleets)):
            if service.exit_code:
                return f"{service.name} has ended with exit code {service.exit_code}: {_last_line(service.tail())}"
        return ""

    def _servers(self) -> dict[str, psutil.Process]:
        running = ProcessTable(self._line.data_dir).running()
        ours = {name: running[name] for name in SERVERS if name in running}
        fleets = {name: process for name, process in running.items() if name.startswith("simulator")}
        return {**ours, **fleets, "bench": psutil.Process()}

    def _topic(self) -> tuple[int, float]:
        """Return how many messages the topic has, and the age of the newest event."""
        partitions = self._consumer.list_topics(kafka.TRAINING_EVENTS, timeout=20).topics[kafka.TRAINING_EVENTS]
        ends = {
            number: self._consumer.get_watermark_offsets(TopicPartition(kafka.TRAINING_EVENTS, number))[1]
            for number in partitions.partitions
        }
        last = [TopicPartition(kafka.TRAINING_EVENTS, number, end - 1) for number, end in ends.items() if end]
        self._consumer.assign(last)
        left, until_s = {place.partition for place in last}, time.monotonic() + 10
        while left and time.monotonic() < until_s:
            message = self._consumer.poll(0.5)
            if message is not None and message.error() is None and message.partition() in left:
                left.discard(message.partition())
                event = self._decoder.event(message.value())
                self._newest_s = max(self._newest_s, event.timestamp.timestamp())
        self._consumer.unassign()  # else it goes on fetching all that comes
        return sum(ends.values()), time.time() - self._newest_s


def totals(ledger: Path) -> dict[str, int]:
    """Return what a simulator says of all its runs so far; nothing before it said anything."""
    if not ledger.exists():
        return {}
    found: dict[str, int] = json.loads(ledger.read_text(encoding="utf-8"))["totals"]
    return found


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "without a word")


def _undelivered(ledger: Path) -> int:
    told = totals(ledger)
    return told["events"] - told["messages_delivered"] if told else 0


def _rss_mb(processes: dict[str, psutil.Process]) -> dict[str, float]:
    sizes = {}
    for name, process in processes.items():
        with contextlib.suppress(psutil.NoSuchProcess):
            sizes[name] = process.memory_info().rss / 2**20
    return sizes
