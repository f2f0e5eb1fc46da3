"""The contract's hard days on a running line: producers of any version, damaged messages, a registry that is lost."""

from __future__ import annotations

import functools
import json
import random
import shutil
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError
from confluent_kafka import Message as KafkaMessage
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from tests.avro_pieces import pieces
from tests.damage import Damaged, Ids, damaged_messages
from tests.line import Line, wait_for
from wattline_common import kafka, store
from wattline_common.events import Event
from wattline_common.registry import Registry
from wattline_common.schemas import VERSIONS
from wattline_common.store import Document
from wattline_streaming.audit import Audit, audit

__all__ = ["NEW_FIELD", "UNKNOWN_ID", "ContractLine", "Place", "next_version"]

NEW_FIELD = "of_tomorrow"
UNKNOWN_ID = 1_000_000
_FOREIGN_SUBJECT = "elsewhere-value"
_OTHER = '{"type":"record","name":"Other","namespace":"elsewhere","fields":[{"name":"a","type":"string"}]}'

Place = tuple[int, int]
"""Partition and offset of training.events."""

KeyValueHeaders = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes | None]]]


def next_version(full_name: str, field: str = NEW_FIELD) -> str:
    """Return the version after the newest that is released: it has one more optional field."""
    schema = json.loads(VERSIONS[full_name][-1])
    schema["fields"].append({"name": field, "type": ["null", "double"], "doc": "Of tomorrow.", "default": None})
    return json.dumps(schema)


class ContractLine:
    """A line, and producers on it that frame messages by whatever schema id they are told."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.expected = 0  # events that must come to be in the store
        self.ids: dict[tuple[str, int], int] = {}  # full name and version -> id
        self._texts: dict[int, str] = {}
        self.extra: dict[tuple[str, str], int] = {}  # subject and schema -> id, of those beside the released ones
        self._producer = kafka.producer(line.endpoints.kafka_bootstrap_servers)
        for name, version, number in Registry(line.endpoints.schema_registry_url).register():
            full_name = name.partition("-")[2]
            self.ids[full_name, version] = number
            self._texts[number] = VERSIONS[full_name][version - 1]

    @property
    def health(self) -> Document:
        """Return what the stream says of itself."""
        return self.line.database[store.PIPELINE_HEALTH].find_one({"_id": store.STREAMING}) or {}

    def rejected(self) -> dict[Place, Document]:
        """Return the rejected events by place."""
        found = self.line.database[store.REJECTED_EVENTS].find()
        return {(document["partition"], document["offset"]): document for document in found}

    def newest(self, full_name: str) -> int:
        """Return the id of the newest released version of a record."""
        return self.ids[full_name, len(VERSIONS[full_name])]

    def register(self, name: str, text: str) -> int:
        """Register a schema under a subject by the registry's own interface, as anyone may; return its id."""
        client = SchemaRegistryClient({"url": self.line.endpoints.schema_registry_url, "timeout": 10})
        number = client.register_schema(name, Schema(text, "AVRO"))
        self.extra[name, text] = number
        self._texts[number] = text
        return number

    def register_foreign(self, text: str = _OTHER) -> int:
        """Register a schema under a subject that is none of ours."""
        return self.register(_FOREIGN_SUBJECT, text)

    def message(self, event: Event, ids: Mapping[str, int] | None = None, **more: Any) -> KeyValueHeaders:
        """Return an event as its producer writes it: by the ids' schema of its record, else by the newest."""
        number = (ids or {}).get(event.AVRO_NAME, self.newest(event.AVRO_NAME))
        body = b"".join(piece.data for piece in pieces(json.loads(self._texts[number]), event.to_avro() | more))
        return event.run_id.encode(), struct.pack(">BI", 0, number) + body, [("producer", b"test")]

    def send(self, messages: Iterable[KeyValueHeaders]) -> list[Place]:
        """Send messages as they are; return where each came to lie."""
        places: dict[int, Place] = {}

        def delivered(number: int, error: KafkaError | None, sent: KafkaMessage) -> None:
            assert error is None, error
            places[number] = (sent.partition() or 0, sent.offset() or 0)

        for number, (key, value, headers) in enumerate(messages):
            told = functools.partial(delivered, number)
            self._producer.produce(kafka.TRAINING_EVENTS, key=key, value=value, headers=list(headers), on_delivery=told)
        assert self._producer.flush(30) == 0
        return [places[number] for number in sorted(places)]

    def produce(self, events: Iterable[Event], ids: Mapping[str, int] | None = None, **more: Any) -> list[Place]:
        """Produce events that must be accepted."""
        places = self.send([self.message(event, ids, **more) for event in events])
        self.expected += len(places)
        return places

    def produce_between(self, good: Sequence[Event], count: int, seed: int) -> dict[Place, Damaged]:
        """Produce good events and so many damaged messages between them; return these by place."""
        ours = {name: self.newest(name) for name in VERSIONS}
        damaged = damaged_messages(count, seed, Ids(ours, self.register_foreign(), UNKNOWN_ID))
        order = [*damaged, *[None] * len(good)]
        random.Random(seed).shuffle(order)
        events = iter(good)
        places = self.send([(d.key, d.value, d.headers) if d else self.message(next(events)) for d in order])
        self.expected += len(good)
        return {place: one for place, one in zip(places, order, strict=True) if one is not None}

    def wait_for_events(self) -> None:
        """Wait until the store has every event that it must have."""
        wait_for(lambda: self.line.stored() >= self.expected, lambda: f"{self.expected} events: {self.line.stored()}")

    def wait_for_rejections(self, places: Iterable[Place]) -> None:
        """Wait until the messages of the places are rejected."""
        wanted = set(places)
        wait_for(
            lambda: wanted <= self.rejected().keys(),
            lambda: f"{len(wanted - self.rejected().keys())} of {len(wanted)} messages to be rejected",
        )

    def wait_until_settled(self, **of: str) -> Audit:
        """Wait until the store has every event and no window is open (``of`` a run); return the audit."""
        self.wait_for_events()
        windows = self.line.database[store.DIRTY_WINDOWS]
        wait_for(lambda: windows.count_documents(of) == 0, lambda: audit(self.line.database).as_text())
        return audit(self.line.database)

    def wait_for_counts(self) -> Document:
        """Wait until the stream has told of every event that it booked; return its count."""
        wait_for(
            lambda: bool(self.health.get("ledger", {}).get("rows_booked", 0) >= self.expected),
            lambda: f"{self.expected} booked rows to be told: {self.health}",
        )
        counts: Document = self.health["ledger"]
        return counts

    def wipe_registry(self) -> None:
        """Kill the registry, take its data away, start it again."""
        self.line.stack.kill("registry")
        data = self.line.data_dir / "registry" / "data"
        assert list(data.iterdir()), "the registry keeps its data elsewhere"
        shutil.rmtree(data)
        self.line.stack.restart("registry")

    def register_again(self) -> None:
        """Register what was registered beside the released schemas, in the same order, so that each gets its id."""
        for (name, text), number in list(self.extra.items()):
            assert self.register(name, text) == number
