"""The topics of the contract, and how our clients talk to Kafka.

`python -m wattline_common.kafka` creates the topics.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import logging
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from wattline_common.errors import BrokerUnavailableError, ConfigurationError, WattlineError
from wattline_common.kafka_security import PLAINTEXT, KafkaSecurity
from wattline_common.settings import Endpoints, replication_factor

__all__ = [
    "REFUSED",
    "TOPICS",
    "TRAINING_AGGREGATES",
    "TRAINING_EVENTS",
    "TRAINING_EVENTS_REJECTED",
    "Topic",
    "appended_at",
    "cluster_id",
    "delete_before",
    "ensure_topics",
    "offsets",
    "producer",
    "refused",
    "require_topics",
]

TRAINING_EVENTS = "training.events"
TRAINING_AGGREGATES = "training.aggregates"
TRAINING_EVENTS_REJECTED = "training.events.rejected"

_TIMEOUT_S = 20.0
_LOOK_S = 5.0
_LOOKED_AT = 100  # messages at once; the first of each partition is wanted
# librdkafka writes each failed connection to standard error, 20 a second; exceptions and callbacks say it once.
_QUIET = {"log_level": 2}
_NOT_ALLOWED = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}
REFUSED = {
    KafkaError._AUTHENTICATION,  # its public names
    KafkaError._SSL,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    *_NOT_ALLOWED,
}
_FOURTEEN_DAYS_MS = str(14 * 24 * 3600 * 1000)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic and the settings that the contract fixes for it."""

    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)


TOPICS = (
    Topic(
        TRAINING_EVENTS,
        6,
        {"message.timestamp.type": "LogAppendTime", "retention.ms": _FOURTEEN_DAYS_MS, "cleanup.policy": "delete"},
    ),
    Topic(TRAINING_AGGREGATES, 6, {"cleanup.policy": "compact,delete", "retention.ms": _FOURTEEN_DAYS_MS}),
    Topic(TRAINING_EVENTS_REJECTED, 1, {"cleanup.policy": "delete", "retention.ms": _FOURTEEN_DAYS_MS}),
)
_ALL = tuple(each.name for each in TOPICS)


def producer(
    bootstrap_servers: str,
    security: KafkaSecurity = PLAINTEXT,
    **overrides: Any,  # noqa: ANN401  # librdkafka's values
) -> Producer:
    """Return an idempotent producer that places keys as Java clients do, so that re-producers agree.

    Its `poll` and `flush` raise `ConfigurationError` when the broker refuses us, which librdkafka itself takes for an
    outage, and `BrokerUnavailableError` for a message that it gives up, unless the caller sets these callbacks.
    """

    def on_error(error: KafkaError) -> None:
        if error.code() in REFUSED:
            raise refused(bootstrap_servers, security, error)

    def on_delivery(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            on_error(error)
            raise BrokerUnavailableError(f"Kafka at {bootstrap_servers} did not take a message: {error.str()}")

    return Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            **security.librdkafka(),
            "error_cb": on_error,
            "on_delivery": on_delivery,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "compression.type": "zstd",
            "linger.ms": 20,
            **_QUIET,
            **overrides,
        }
    )


def cluster_id(bootstrap_servers: str, security: KafkaSecurity = PLAINTEXT) -> str:
    """Return the id of the Kafka cluster; raise `BrokerUnavailableError`, or `ConfigurationError` when not let in."""
    with _administering(bootstrap_servers, security) as admin:
        return str(admin.describe_cluster(request_timeout=_TIMEOUT_S).result(_TIMEOUT_S).cluster_id)


def ensure_topics(
    bootstrap_servers: str, security: KafkaSecurity = PLAINTEXT, *, replication_factor: int = 1
) -> list[str]:
    """Create the topics that are missing and mend the settings that differ; return what was done, a line each.

    When it returns, the broker lists every topic. Raises `BrokerUnavailableError`; `ConfigurationError` when a topic
    has fewer partitions than the contract says, or we are not let in.
    """
    with _administering(bootstrap_servers, security) as admin:
        present = admin.list_topics(timeout=_TIMEOUT_S).topics
        created = _create(admin, [topic for topic in TOPICS if topic.name not in present], replication_factor)
        for topic in TOPICS:
            _check_partitions(admin, topic)
        mended = [_mend(admin, topic) for topic in TOPICS if topic.name not in created]
    return [f"created {name}" for name in created] + [line for lines in mended for line in lines]


def require_topics(
    bootstrap_servers: str,
    security: KafkaSecurity = PLAINTEXT,
    *,
    topics: Collection[str] = _ALL,
    timeout_s: float = _TIMEOUT_S,
) -> None:
    """Raise `ConfigurationError` unless we are let in and find the topics; `BrokerUnavailableError` without Kafka.

    Who only produces asks for the topic it produces to: the others may be none of its user's to see.
    """
    with _administering(bootstrap_servers, security) as admin:
        present = admin.list_topics(timeout=timeout_s).topics
    missing = [topic for topic in topics if topic not in present]
    if missing:
        raise ConfigurationError(
            f"Kafka at KAFKA_BOOTSTRAP_SERVERS={bootstrap_servers} lacks {', '.join(missing)}; "
            "run: python -m wattline_common.kafka"
            + (", or let the user of KAFKA_SASL_USERNAME see them" if security.has_sasl else "")
        )


def offsets(bootstrap_servers: str, topic: str, security: KafkaSecurity = PLAINTEXT) -> dict[int, tuple[int, int]]:
    """Return partition -> offset of its first message and of the next to come; raises as `cluster_id` does."""
    with _administering(bootstrap_servers, security) as admin:
        partitions = admin.list_topics(topic, timeout=_TIMEOUT_S).topics[topic].partitions
        first = _listed(admin, topic, partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]  # untyped there
        after = _listed(admin, topic, partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]  # likewise
    return {number: (first[number], after[number]) for number in partitions}


def delete_before(bootstrap_servers: str, topic: str, security: KafkaSecurity, places: Mapping[int, int]) -> None:
    """Delete the messages of each partition before an offset; raises as `cluster_id` does."""
    before = [TopicPartition(topic, partition, offset) for partition, offset in places.items()]
    with _administering(bootstrap_servers, security) as admin:
        for deleted in admin.delete_records(before, request_timeout=_TIMEOUT_S).values():
            deleted.result(_TIMEOUT_S)


def appended_at(
    bootstrap_servers: str, topic: str, security: KafkaSecurity, places: Mapping[int, int]
) -> datetime.datetime | None:
    """Return when the oldest of the messages at these offsets (by partition) was appended; none if none comes soon."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            **security.librdkafka(),
            "group.id": "wattline-lag",  # asked for by the client only: nobody joins a group
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "queued.min.messages": 1,  # it needs few of them
            "fetch.message.max.bytes": 65_536,
            **_QUIET,
        }
    )
    try:
        consumer.assign([TopicPartition(topic, partition, offset) for partition, offset in places.items()])
        oldest: dict[int, int] = {}
        until_s = time.monotonic() + _LOOK_S
        while len(oldest) < len(places) and time.monotonic() < until_s:
            for message in consumer.consume(_LOOKED_AT, 0.2):
                partition = message.partition()
                if message.error() is None and partition is not None:
                    oldest.setdefault(partition, message.timestamp()[1])
        return datetime.datetime.fromtimestamp(min(oldest.values()) / 1000, datetime.timezone.utc) if oldest else None
    except KafkaException as error:
        raise BrokerUnavailableError(
            f"cannot read {topic} at KAFKA_BOOTSTRAP_SERVERS={bootstrap_servers}: {error}"
        ) from error
    finally:
        consumer.close()


def _listed(admin: AdminClient, topic: str, partitions: Iterable[int], spec: OffsetSpec) -> dict[int, int]:
    asked = {TopicPartition(topic, number): spec for number in partitions}
    answers = admin.list_offsets(asked, request_timeout=_TIMEOUT_S)
    return {place.partition: answer.result(_TIMEOUT_S).offset for place, answer in answers.items()}


@contextlib.contextmanager
def _administering(bootstrap_servers: str, security: KafkaSecurity) -> Iterator[AdminClient]:
    """Give an administrator; translate what it raises: a broker that is away, or that does not let us in."""
    refusals: list[KafkaError] = []

    def on_error(error: KafkaError) -> None:
        if error.code() in REFUSED:
            refusals.append(error)

    settings: dict[str, Any] = {"bootstrap.servers": bootstrap_servers, "error_cb": on_error}
    admin = AdminClient({**settings, **security.librdkafka(), **_QUIET})
    try:
        yield admin
    except (KafkaException, TimeoutError) as error:
        admin.poll(0)
        refusals += [each for each in error.args if isinstance(each, KafkaError) and each.code() in REFUSED]
        if refusals:
            raise refused(bootstrap_servers, security, refusals[0]) from error
        raise BrokerUnavailableError(
            f"Kafka does not answer at KAFKA_BOOTSTRAP_SERVERS={bootstrap_servers}: {error}; start it, or set the "
            f"address (KAFKA_SECURITY_PROTOCOL={security.protocol} must be what it speaks there)"
        ) from error


def refused(bootstrap_servers: str, security: KafkaSecurity, error: KafkaError) -> ConfigurationError:
    """Return what to tell when a broker answers but does not let us in or do this, or is not the one we trust."""
    if error.code() in _NOT_ALLOWED:
        return ConfigurationError(
            f"Kafka at KAFKA_BOOTSTRAP_SERVERS={bootstrap_servers} does not allow this to the user of "
            f"KAFKA_SASL_USERNAME: {error.str()}; give it the rights, or set another user"
        )
    return ConfigurationError(
        f"Kafka at KAFKA_BOOTSTRAP_SERVERS={bootstrap_servers} and we do not come together by "
        f"KAFKA_SECURITY_PROTOCOL={security.protocol}: {error.str()}; check KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD, "
        "KAFKA_SASL_MECHANISM and KAFKA_SSL_CA_LOCATION"
    )


def _create(admin: AdminClient, topics: list[Topic], replication_factor: int) -> list[str]:
    new = [NewTopic(t.name, t.partitions, replication_factor=replication_factor, config=t.config) for t in topics]
    futures = admin.create_topics(new) if new else {}
    return [name for name, future in futures.items() if _created(future, name, replication_factor)]


def _created(future: Future[None], name: str, replication_factor: int) -> bool:
    """Wait for a topic; say whether it is we who created it: services that start together all try."""
    try:
        future.result(_TIMEOUT_S)
    except KafkaException as error:
        code = error.args[0].code()
        if code == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        if code == KafkaError.INVALID_REPLICATION_FACTOR:
            raise ConfigurationError(
                f"topic {name} cannot have {replication_factor} replicas: {error}; set "
                "KAFKA_REPLICATION_FACTOR or --replication-factor to no more than there are brokers"
            ) from error
        raise
    return True


def _check_partitions(admin: AdminClient, topic: Topic) -> None:
    """Wait until the broker lists a topic, which it does a moment after its creation; refuse too few partitions."""
    deadline_s = time.monotonic() + _TIMEOUT_S
    while (found := admin.list_topics(topic.name, timeout=_TIMEOUT_S).topics[topic.name]).error is not None:
        if time.monotonic() > deadline_s:
            raise KafkaException(found.error)
        time.sleep(0.1)
    partitions = len(found.partitions)
    if partitions < topic.partitions:
        raise ConfigurationError(
            f"topic {topic.name} has {partitions} partitions, fewer than {topic.partitions}: "
            f"add some with kafka-topics --alter --partitions {topic.partitions} before any event is written"
        )


def _mend(admin: AdminClient, topic: Topic) -> list[str]:
    resource = ConfigResource(ResourceType.TOPIC, topic.name)
    current = admin.describe_configs([resource])[resource].result(_TIMEOUT_S)
    wrong = {key: value for key, value in topic.config.items() if _differs(current[key].value, value)}
    if not wrong:
        return []
    entries = [ConfigEntry(k, v, incremental_operation=AlterConfigOpType.SET) for k, v in wrong.items()]
    change = ConfigResource(ResourceType.TOPIC, topic.name, incremental_configs=entries)
    admin.incremental_alter_configs([change])[change].result(_TIMEOUT_S)
    return [f"set {key}={value} on {topic.name}" for key, value in wrong.items()]


def _differs(found: str, wanted: str) -> bool:
    return sorted(found.split(",")) != sorted(wanted.split(","))


def main() -> int:
    """Create the topics; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m wattline_common.kafka", description=ensure_topics.__doc__)
    parser.add_argument("--replication-factor", type=int, help="of new topics (default KAFKA_REPLICATION_FACTOR, 1)")
    asked = parser.parse_args().replication_factor
    try:
        at = Endpoints.from_environment()
        factor = asked or replication_factor()
        done = ensure_topics(at.kafka_bootstrap_servers, at.kafka_security, replication_factor=factor)
    except WattlineError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("".join(f"{line}\n" for line in done) or "all topics are there\n")
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    raise SystemExit(main())
