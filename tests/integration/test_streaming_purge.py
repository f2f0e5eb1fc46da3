"""Messages are taken out of topics on a real broker, whatever else is there, and however often it is cut short."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Set
from dataclasses import dataclass

import pytest
from confluent_kafka import Message
from confluent_kafka.admin import AdminClient, NewTopic

from tests.line import topic_messages
from wattline_common import kafka
from wattline_stack import Endpoints
from wattline_streaming.purge import Purge

TIMEOUT_S = 30.0
Entry = tuple[bytes | None, bytes | None]


def named(message: Message) -> bool:
    """Return whether a message is Ada's."""
    key, value = message.key(), message.value()
    return b"ada" in (value or b"") or (key or b"").startswith(b"ada")


class KilledError(Exception):
    """What a test stops it with."""


@dataclass
class Topic:
    """A topic of one partition."""

    name: str
    servers: str
    at: Endpoints
    admin: AdminClient
    none: bytes | None  # no key, where the topic takes messages without one

    def write(self, *entries: Entry) -> None:
        """Write messages, each at a time of its own."""
        producer = kafka.producer(self.servers)
        for number, (key, value) in enumerate(entries):
            producer.produce(self.name, key=key, value=value, headers=[("n", str(number))], timestamp=1_000 + number)
        assert producer.flush(TIMEOUT_S) == 0

    def read(self) -> list[Message]:
        """Return what is there."""
        return topic_messages(self.at, self.name)

    def entries(self) -> list[Entry]:
        """Return keys and values of what is there."""
        return [(message.key(), message.value()) for message in self.read()]

    def newest(self) -> dict[bytes | None, bytes | None]:
        """Return by key what a reader ends with."""
        return dict(self.entries())

    def purge(self) -> Purge:
        """Return what takes messages out."""
        return Purge(self.servers, kafka.producer(self.servers))


@pytest.fixture(params=["delete", "compact,delete"])
def topic(request: pytest.FixtureRequest, stack: Endpoints) -> Iterator[Topic]:
    """Give a topic, as our two are kept."""
    servers = stack.kafka_bootstrap_servers
    admin = AdminClient({"bootstrap.servers": servers})
    name = f"purge-{uuid.uuid4().hex[:8]}"
    config = {"cleanup.policy": request.param, "retention.ms": "-1"}  # their time is that of 1970
    admin.create_topics([NewTopic(name, 1, replication_factor=1, config=config)])[name].result(TIMEOUT_S)
    yield Topic(name, servers, stack, admin, b"n" if "compact" in request.param else None)
    admin.delete_topics([name])[name].result(TIMEOUT_S)


def test_what_others_have_stays_with_its_headers_and_times(topic: Topic) -> None:
    """In its order; a second time nothing is to be done."""
    others: list[Entry] = [(b"a", b"1"), (topic.none, b"2"), (b"a", b"3")]
    topic.write(others[0], (b"k", b"of ada"), others[1], (b"ada", None), (b"ada-2", b"x"), others[2])
    before = {(m.key(), m.value()): (m.headers(), m.timestamp()) for m in topic.read()}
    purge = topic.purge()
    assert purge.count(topic.name, named, keyed=False) == 3
    assert purge.run(topic.name, 0, named) == 3
    assert sorted(topic.entries(), key=repr) == sorted(others, key=repr)
    assert [before[m.key(), m.value()] for m in topic.read()] == [(m.headers(), m.timestamp()) for m in topic.read()]
    assert purge.count(topic.name, named, keyed=False) == purge.run(topic.name, 0, named) == 0


def test_by_key_the_newest_stays_and_hers_are_deleted_or_replaced(topic: Topic) -> None:
    """Of another's key its newest, once; what is right now for a key of hers is published by whoever knows it."""
    topic.write((b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"ada|1", b"x"), (b"d", None), (b"c", b"ada"), (b"b", b"2"))
    asked: list[Set[str]] = []

    def replace(keys: Set[str]) -> Set[str]:
        asked.append(keys)
        topic.write((b"c", b"bob"))
        return {"c"}

    purge = topic.purge()
    assert purge.run(topic.name, 0, named, replace) == 2
    assert asked == [{"ada|1", "c"}]
    assert topic.newest() == {b"a": b"2", b"b": b"2", b"c": b"bob", b"d": None, b"ada|1": None}
    assert all(b"ada" not in (value or b"") and value != b"x" for _, value in topic.entries())
    assert purge.run(topic.name, 0, named, replace) == 0, "a deletion by key is nothing to take out"


def test_what_is_cut_short_goes_on_and_nothing_newer_is_overtaken(topic: Topic) -> None:
    """KilledError after the copies and before the deletion; what is written in between is newer than any copy."""
    topic.write((b"a", b"1"), (b"b", b"1"), (b"ada|1", b"x"))

    def killed(_: Set[str]) -> Set[str]:
        raise KilledError

    with pytest.raises(KilledError):
        topic.purge().run(topic.name, 0, named, killed)
    assert (b"ada|1", b"x") in topic.entries(), "nothing is deleted before all is copied"
    topic.write((b"a", b"2"))
    assert topic.purge().run(topic.name, 0, named, lambda _: set()) == 1
    assert topic.newest() == {b"a": b"2", b"b": b"1", b"ada|1": None}


def test_an_empty_topic_and_one_without_her_are_left_alone(topic: Topic) -> None:
    """Not a message is written or deleted."""
    purge = topic.purge()
    assert purge.run(topic.name, 0, named) == 0
    topic.write((b"a", b"1"), (b"a", b"2"))
    assert purge.run(topic.name, 0, named, lambda _: set()) == 0
    assert topic.entries() == [(b"a", b"1"), (b"a", b"2")]
    assert kafka.offsets(topic.servers, topic.name) == {0: (0, 2)}
