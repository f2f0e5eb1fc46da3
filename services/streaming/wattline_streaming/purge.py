"""Takes messages out of a topic, which Kafka cannot do one by one: others are copied to its end, then its head goes.

The caller keeps everybody from writing keyed messages meanwhile, as a copy would then stand behind something newer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from wattline_common import kafka
from wattline_common.errors import BrokerUnavailableError
from wattline_common.kafka_security import PLAINTEXT, KafkaSecurity

__all__ = ["Named", "Purge", "Replace", "headers_of"]

_TOGETHER = 500
_SILENCE_S = 30.0  # after which a broker that sends nothing, not even the end, is away
_FLUSH_S = 60.0

Headers = list[tuple[str, str | bytes | None]]
Named = Callable[[Message], bool]
Replace = Callable[[Set[str]], Set[str]]
"""Publishes anew what is right for some keys, and returns those that there was something for."""


@dataclass(slots=True)
class _Seen:
    """A partition, read once."""

    named: int = 0
    last: int = -1  # offset of the last message that names somebody, deletions by key aside
    keys: set[bytes] = field(default_factory=set)  # of those messages
    newest: dict[bytes, int] = field(default_factory=dict)  # key -> offset


class Purge:
    """Reads and rewrites topics."""

    def __init__(self, bootstrap_servers: str, producer: Producer, security: KafkaSecurity = PLAINTEXT) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._security = security
        self._producer = producer

    def partitions(self, topic: str) -> list[int]:
        """Return the numbers of a topic's partitions."""
        return sorted(kafka.offsets(self._bootstrap_servers, topic, self._security))

    def count(self, topic: str, named: Named, *, keyed: bool) -> int:
        """Return how many messages name somebody."""
        return sum(self._look(topic, number, named, keyed=keyed).named for number in self.partitions(topic))

    def run(self, topic: str, partition: int, named: Named, replace: Replace | None = None) -> int:
        """Take out the messages that name somebody; return how many these were.

        With ``replace`` the topic is one of newest values by key: keys that it does not replace are deleted by key.

        Raises `BrokerUnavailableError`, and `ConfigurationError` where the broker does not allow it; calling again is
        safe, and goes on.
        """
        seen = self._look(topic, partition, named, keyed=replace is not None)
        if seen.last < 0:
            return 0
        self._copy(topic, partition, named, seen, keyed=replace is not None)
        if replace is not None:
            replaced = replace({key.decode() for key in seen.keys})
            for key in sorted(seen.keys):
                if key.decode() not in replaced:
                    self._produce(topic, partition, key, None)
        self._flush(topic)
        kafka.delete_before(self._bootstrap_servers, topic, self._security, {partition: seen.last + 1})
        return seen.named

    def _look(self, topic: str, partition: int, named: Named, *, keyed: bool) -> _Seen:
        seen = _Seen()
        for message in self._messages(topic, partition):
            offset, key = _offset(message), message.key()
            if keyed and key is not None:
                seen.newest[key] = offset
            is_deletion = keyed and message.value() is None
            if not is_deletion and named(message):
                seen.named, seen.last = seen.named + 1, offset
                if key is not None:
                    seen.keys.add(key)
        return seen

    def _copy(self, topic: str, partition: int, named: Named, seen: _Seen, *, keyed: bool) -> None:
        """Write what others have before the last one named to the end, with its own time; of a key only its newest."""
        for message in self._messages(topic, partition):
            offset, key = _offset(message), message.key()
            if offset > seen.last:
                return
            is_stale = keyed and key is not None and (seen.newest[key] != offset or key in seen.keys)
            if not is_stale and not named(message):
                self._produce(topic, partition, key, message.value(), headers_of(message), message.timestamp()[1])

    def _produce(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None = None,
        timestamp_ms: int = 0,  # which is now
    ) -> None:
        def write() -> None:
            self._producer.produce(
                topic, partition=partition, key=key, value=value, headers=headers, timestamp=timestamp_ms
            )

        try:
            try:
                write()
            except BufferError:  # more is waiting than the producer holds
                self._flush(topic)
                write()
            self._producer.poll(0)
        except KafkaException as error:
            raise BrokerUnavailableError(f"cannot write to {topic}: {error}") from error

    def _flush(self, topic: str) -> None:
        left = self._producer.flush(_FLUSH_S)
        if left:
            raise BrokerUnavailableError(f"{left} messages are not on {topic} after {_FLUSH_S:.0f} s")

    def _messages(self, topic: str, partition: int) -> Iterator[Message]:
        """Yield a partition's messages up to its end as it is now."""
        _, end = kafka.offsets(self._bootstrap_servers, topic, self._security)[partition]
        consumer = Consumer(
            {
                "bootstrap.servers": self._bootstrap_servers,
                **self._security.librdkafka(),
                "group.id": "wattline-erasure",  # asked for by the client only: nobody joins a group
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "log_level": 2,  # as in `kafka.producer`
            }
        )
        try:
            consumer.assign([TopicPartition(topic, partition, 0)])
            silent_since_s = time.monotonic()
            while time.monotonic() - silent_since_s < _SILENCE_S:
                for message in consumer.consume(_TOGETHER, 0.5):
                    silent_since_s = time.monotonic()
                    if _is_end(message, end):
                        return
                    if message.error() is None:
                        yield message
        except KafkaException as error:
            raise BrokerUnavailableError(f"cannot read {topic} at KAFKA_BOOTSTRAP_SERVERS: {error}") from error
        finally:
            consumer.close()
        raise BrokerUnavailableError(f"{topic}: nothing has come from KAFKA_BOOTSTRAP_SERVERS for {_SILENCE_S:.0f} s")


def headers_of(message: Message) -> Headers:
    """Return a message's headers in their order."""
    headers = message.headers() or []
    return list(headers.items()) if isinstance(headers, dict) else headers


def _offset(message: Message) -> int:
    offset = message.offset()
    return -1 if offset is None else offset  # one that was read always has one


def _is_end(message: Message, end: int) -> bool:
    """Return whether a partition has no more; raise `KafkaException` for any other error."""
    error = message.error()
    if error is None:
        return _offset(message) >= end
    if error.code() == KafkaError._PARTITION_EOF:  # its public name
        return True
    if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
        return False  # the client looks for the group that it is not in; the stream's user has no right on any
    raise KafkaException(error)
