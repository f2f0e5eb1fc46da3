"""What runs inside Spark's Python workers: one ledger a process, built at first use from plain settings."""

from __future__ import annotations

import datetime
import functools
import sys
import zipimport
from collections.abc import Iterable, Iterator

import pyarrow as pa
from confluent_kafka import KafkaException, Producer

from wattline_common import kafka, store
from wattline_common.errors import BrokerUnavailableError
from wattline_common.registry import Registry
from wattline_common.settings import Endpoints
from wattline_streaming.acceptance import Acceptance
from wattline_streaming.books import Books, Rejection, origin
from wattline_streaming.erasures import Erasures
from wattline_streaming.identity import SchemaBook
from wattline_streaming.ledger import Ledger
from wattline_streaming.settings import StreamingSettings

__all__ = ["book"]

_FLUSH_S = 30.0


def book(
    settings: StreamingSettings,
    cluster_id: str,
    branches: tuple[tuple[int, str], ...],
    batches: Iterator[pa.RecordBatch],
) -> Iterator[pa.RecordBatch]:
    """Book the batches of one task and yield the typed columns of their first-seen good events.

    ``branches`` are id and schema of each branch of `decode` in this query.
    """
    _forget_archives()
    return _ledger(settings, cluster_id, branches).run(batches)


def _forget_archives() -> None:
    """Let Python forget the archives in which it has found modules; it opens one again when it needs another.

    For each that it knows, and for each package within, it would read the whole directory anew before every task.
    """
    for place, finder in list(sys.path_importer_cache.items()):
        if isinstance(finder, zipimport.zipimporter):
            del sys.path_importer_cache[place]


@functools.lru_cache(maxsize=1)
def _ledger(settings: StreamingSettings, cluster_id: str, branches: tuple[tuple[int, str], ...]) -> Ledger:
    endpoints = settings.endpoints
    database = store.connect(endpoints.mongodb_uri)
    books = Books(
        database,
        _RejectedTopic(endpoints),
        cluster_id=cluster_id,
        settle_delay=datetime.timedelta(seconds=settings.settle_delay_s),
        quiet=datetime.timedelta(seconds=settings.settle_interval_s),
        now=lambda: datetime.datetime.now(datetime.UTC),
    )
    schemas = SchemaBook(database, Registry(endpoints.schema_registry_url).schema_text)
    tolerance = datetime.timedelta(seconds=settings.future_tolerance_s)
    acceptance = Acceptance(schemas, future_tolerance=tolerance, branches=dict(branches))
    return Ledger(acceptance, books, Erasures(database, settings.erasure_key))


class _RejectedTopic:
    """Sends rejected messages, as they came, with reason and origin as headers."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints

    @functools.cached_property
    def _producer(self) -> Producer:  # most workers never reject anything
        return kafka.producer(self._endpoints.kafka_bootstrap_servers, self._endpoints.kafka_security)

    def send(self, rejections: Iterable[Rejection]) -> None:
        for rejection in rejections:
            message = rejection.message.kept()
            place = origin(message.position)
            ours = [("wattline.reason", rejection.reason.encode()), ("wattline.origin", place.encode())]
            if message is not rejection.message:
                ours.append(("wattline.cut-from-bytes", str(rejection.message.bytes).encode()))
            try:
                self._producer.produce(
                    kafka.TRAINING_EVENTS_REJECTED,
                    key=message.key,
                    value=message.value,
                    headers=[*message.headers, *ours],
                )
            except (KafkaException, BufferError) as error:
                raise BrokerUnavailableError(f"cannot write to {kafka.TRAINING_EVENTS_REJECTED}: {error}") from error
        left = self._producer.flush(_FLUSH_S) if "_producer" in self.__dict__ else 0
        if left:
            raise BrokerUnavailableError(f"{left} messages are not on {kafka.TRAINING_EVENTS_REJECTED}")
