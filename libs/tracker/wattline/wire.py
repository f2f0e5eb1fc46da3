"""The way to Kafka: confluent-kafka's idempotent producer, and the registry for schema ids.

Its imports take about a second, so the publisher loads it on its own thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from confluent_kafka import KafkaError, Message

from wattline.courier import Undelivered
from wattline.spool_records import Record
from wattline_common.codec import frame
from wattline_common.errors import ContractError
from wattline_common.events import HardwareSampled, RunFinished, RunStarted, StepCompleted
from wattline_common.kafka import REFUSED, TRAINING_EVENTS, producer, refused, require_topics
from wattline_common.registry import Registry
from wattline_common.schemas import VERSIONS
from wattline_common.settings import Endpoints

__all__ = ["KafkaWire"]

_LOG = logging.getLogger(__name__)
_KINDS = {kind.AVRO_NAME: kind for kind in (RunStarted, StepCompleted, HardwareSampled, RunFinished)}
_DOWN = {KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE}  # its public names
_NEVER_TAKEN = {
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.INVALID_MSG,
    KafkaError.INVALID_RECORD,
}


class _DebugLog:
    """librdkafka's log, which repeats itself each second while a broker is away: kept for those who debug."""

    def log(self, _level: int, message: str, *args: object) -> None:
        """Log a line at DEBUG."""
        _LOG.debug(message, *args)


class KafkaWire:
    """Sends to the topic of training events, keyed by run_id."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self._registry = Registry(endpoints.schema_registry_url, retries=0)  # the publisher tries again by itself
        self._ids: dict[tuple[str, int], int] = {}
        self._reachable = True
        self._raised: Exception | None = None
        self._refusal: KafkaError | None = None
        self._producer = producer(
            endpoints.kafka_bootstrap_servers,
            endpoints.kafka_security,
            **{
                "client.id": "wattline",
                "error_cb": self._on_error,
                "logger": _DebugLog(),
                "message.timeout.ms": 0,  # the publisher alone decides when an event is given up
                "reconnect.backoff.max.ms": 5000,
            },
        )

    def require_servers(self) -> None:
        """Raise `UnavailableError` or `ConfigurationError` unless Kafka, its topics and all schemas are there.

        For producers that may fail at their start, as a training may not; the registry is not needed after it.
        """
        at = self._endpoints
        require_topics(at.kafka_bootstrap_servers, at.kafka_security, topics=(TRAINING_EVENTS,))
        for kind in _KINDS.values():
            self._ids[kind.AVRO_NAME, len(VERSIONS[kind.AVRO_NAME])] = self._registry.schema_id(kind)

    def message(self, record: Record) -> bytes:
        """Return the framed body; the registry is asked once for each schema.

        Raises `ContractError` for a record of a later release: it can never be sent from here, and is kept aside.
        """
        schema = record.name, record.version
        if schema not in self._ids:
            if record.name not in _KINDS or record.version > len(VERSIONS[record.name]):
                raise ContractError(
                    "unknown_version",
                    f"the spool holds {record.name} version {record.version}, which this Wattline does not know; "
                    "install the version that wrote it, or a newer one",
                )
            self._ids[schema] = self._registry.schema_id(_KINDS[record.name], record.version)
        return frame(self._ids[schema], record.body)

    def send(self, key: str, message: bytes, done: Callable[[Undelivered | None], None]) -> None:
        """Hand a message to librdkafka."""

        def on_delivery(error: KafkaError | None, _: Message) -> None:
            try:
                done(None if error is None else _verdict(error))
            except Exception as raised:  # noqa: BLE001  # may not pass through librdkafka; `poll` raises it
                self._raised = raised
            else:
                self._reachable = self._reachable or error is None

        self._producer.produce(TRAINING_EVENTS, value=message, key=key, on_delivery=on_delivery)

    def poll(self, timeout_s: float) -> bool:
        """Serve the callbacks; raise what one of them raised, `ConfigurationError` when Kafka does not let us in."""
        self._producer.poll(timeout_s)
        raised, self._raised = self._raised, None
        if raised is not None:
            raise raised
        refusal, self._refusal = self._refusal, None
        if refusal is not None:
            raise refused(self._endpoints.kafka_bootstrap_servers, self._endpoints.kafka_security, refusal)
        return self._reachable

    def close(self) -> None:
        """Purge what was not delivered, so that the producer's end does not wait for it."""
        self._producer.purge()
        self._producer.poll(0)

    def _on_error(self, error: KafkaError) -> None:
        if error.code() in _DOWN:
            self._reachable = False
        elif error.code() in REFUSED:
            self._reachable = False
            self._refusal = error


def _verdict(error: KafkaError) -> Undelivered:
    return Undelivered(error.str(), again=error.code() not in _NEVER_TAKEN)
