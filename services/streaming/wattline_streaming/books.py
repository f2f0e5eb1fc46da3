"""The ledger's writes to the store: raw events, run summaries, open windows, rejected events."""

from __future__ import annotations

import datetime
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import bson
from pymongo import UpdateOne
from pymongo.database import Database
from pymongo.errors import BulkWriteError

from wattline_common import store
from wattline_common.kafka import TRAINING_EVENTS
from wattline_common.store import Document, RejectedEvent
from wattline_common.store_errors import answering
from wattline_streaming.retention import retentions
from wattline_streaming.summary import Gathered, own_fields

__all__ = ["NOBODY", "Books", "KafkaPosition", "Message", "RawEvent", "RejectedTopic", "Rejection", "Told", "origin"]

_DUPLICATE_KEY = 11000
# A good event has a few thousand bytes. Much larger ones would fill the store, and the rejected topic takes no such.
_MOST_KEPT_BYTES = 2**18
_KEPT_OF_LARGE = 4096
_LONGEST_DETAIL = 2000


class KafkaPosition(NamedTuple):
    """Where in training.events a message stands, and when the broker appended it."""

    partition: int
    offset: int
    append_time: datetime.datetime


class Message(NamedTuple):
    """A message of training.events as it came."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    position: KafkaPosition

    @property
    def bytes(self) -> int:
        """Key, value and headers together."""
        headers = sum(len(name) + len(value or b"") for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers

    def kept(self) -> Message:
        """Return what is kept of it where it is rejected: all, but of a very large one only how it begins."""
        if self.bytes <= _MOST_KEPT_BYTES:
            return self
        key, value = (part and part[:_KEPT_OF_LARGE] for part in (self.key, self.value))
        return Message(key, value, (), self.position)


class RawEvent(NamedTuple):
    """A good event with its identities and its place in Kafka."""

    id: str
    record_name: str
    schema_id: int
    fields: Document
    timestamp_us: int
    window_id: str
    position: KafkaPosition


class Told(NamedTuple):
    """Whose a message is, as far as it could be read."""

    run_id: str | None = None
    user_id: str | None = None


NOBODY = Told()


@dataclass(frozen=True, slots=True)
class Rejection:
    """A message that could not be accepted, and why."""

    message: Message
    reason: str
    detail: str
    told: Told = NOBODY

    @property
    def run_ids(self) -> set[str]:
        """The runs that the message is of: by what could be read, and by its key."""
        key = self.message.key
        by_key = None if key is None else key.decode(errors="replace")
        return {run_id for run_id in (self.told.run_id, by_key) if run_id is not None}


def origin(position: KafkaPosition) -> str:
    """Return the place of a message as headers and people name it: topic:partition:offset."""
    return f"{TRAINING_EVENTS}:{position.partition}:{position.offset}"


class RejectedTopic(Protocol):
    """Passes rejected messages on to other consumers."""

    def send(self, rejections: Iterable[Rejection]) -> None:
        """Return when the broker has all of them; raise `BrokerUnavailableError` otherwise."""


class Books:
    """Writes to the store, each idempotent."""

    def __init__(
        self,
        database: Database[Document],
        rejected_topic: RejectedTopic,
        *,
        cluster_id: str,
        settle_delay: datetime.timedelta,
        quiet: datetime.timedelta,
        now: Callable[[], datetime.datetime],
    ) -> None:
        self._database = database
        self._rejected_topic = rejected_topic
        self._cluster_id = cluster_id
        self._settle_delay = settle_delay
        self._quiet = quiet
        self._now = now

    def retentions(self, run_ids: Collection[str]) -> dict[str, Document]:
        """Return what is known of those of the runs that take no event any more, as their raw events are deleted."""
        with answering():
            return retentions(self._database, run_ids) if run_ids else {}

    def book(self, events: list[RawEvent]) -> set[KafkaPosition]:
        """Store the events and what follows from them; return the positions whose message brought its event first.

        An event that came by another message before is a true duplicate: it changes nothing and is not returned.
        Raises what `answering` raises; calling again with the same events then is safe.
        """
        if not events:
            return set()
        changes = _changes(events)  # before any write: what breaks our own code leaves nothing behind
        with answering():
            self._open_windows(events)  # before the events, so that a crash in between costs one needless look
            fresh = self._insert(events)
            self._summarise(changes if len(fresh) == len(events) else _changes(fresh))
        return {event.position for event in fresh}

    def rehearse(self, event: RawEvent) -> None:
        """Make what `book` would write of an event, and write none of it; raise whatever is raised on the way."""
        told = Gathered()
        told.add(event.record_name, event.fields, event.timestamp_us)
        own = own_fields(event.fields["run_id"], told.sources())
        for document in (_raw_document(event, self._now()), told.raised, told.lowered, own):
            bson.encode(document)

    def rejection_id(self, position: KafkaPosition) -> str:
        """Return the id under which a rejected message is kept: cluster:topic:partition:offset."""
        return f"{self._cluster_id}:{origin(position)}"

    def reject(self, rejections: list[Rejection]) -> None:
        """Keep rejected messages aside, in the store and on the rejected topic (there at least once)."""
        by_id = {self.rejection_id(rejection.message.position): rejection for rejection in rejections}
        if not by_id:
            return
        collection = self._database[store.REJECTED_EVENTS]
        with answering():
            known = {found["_id"] for found in store.with_ids(collection, list(by_id), {"_id": 1})}
            new = {key: rejection for key, rejection in by_id.items() if key not in known}
            self._rejected_topic.send(new.values())
            if new:
                _insert_new(collection, [self._rejected_document(key, value) for key, value in new.items()])

    def _open_windows(self, events: list[RawEvent]) -> None:
        """Note the windows that get events; one already due becomes late, to be folded anew once it is quiet."""
        now, mark = self._now(), uuid.uuid4().hex
        writes = []
        for event in {event.window_id: event for event in events}.values():
            start_us = store.window_start_us(event.timestamp_us)
            end = datetime.datetime.fromtimestamp(start_us / 1e6 + store.WINDOW_LENGTH_S, tz=datetime.UTC)
            due_at = end + self._settle_delay
            late = {"late": True, "due_at": now + self._quiet} if due_at <= now else {"due_at": due_at}
            same = {"run_id": event.fields["run_id"], "window_start_us": start_us, "mark": mark}
            writes.append(UpdateOne({"_id": event.window_id}, {"$set": same | late}, upsert=True))
        self._database[store.DIRTY_WINDOWS].bulk_write(writes, ordered=False)

    def _insert(self, events: list[RawEvent]) -> list[RawEvent]:
        collection = self._database[store.TRAINING_METRICS]
        now = self._now()
        refused = _insert_new(collection, [_raw_document(event, now) for event in events])
        if not refused:
            return events
        stored = {found["_id"]: found["kafka"] for found in store.with_ids(collection, refused, {"kafka": 1})}
        return [event for event in events if event.id not in stored or _same_place(event, stored[event.id])]

    def _summarise(self, changes: Mapping[str, UpdateOne]) -> None:
        """Raise and lower the figures of the events' sources, then write what follows for their runs."""
        if not changes:
            return
        collection = self._database[store.TRAINING_RUN_SUMMARY]
        collection.bulk_write(list(changes.values()), ordered=False)
        found = store.with_ids(collection, list(changes), {"sources": 1})
        own = [UpdateOne({"_id": run["_id"]}, {"$set": own_fields(run["_id"], run["sources"])}) for run in found]
        collection.bulk_write(own, ordered=False)

    def _rejected_document(self, key: str, rejection: Rejection) -> RejectedEvent:
        message = rejection.message.kept()
        document: RejectedEvent = {
            "_id": key,
            "reason": rejection.reason,
            "detail": rejection.detail[:_LONGEST_DETAIL].encode(errors="replace").decode(),  # a name may be half a pair
            "key": message.key,
            "value": message.value,
            "headers": [{"k": name, "v": value} for name, value in message.headers],
            "partition": message.position.partition,
            "offset": message.position.offset,
            "append_time": message.position.append_time,
            "rejected_at": self._now(),
        }
        if message is not rejection.message:
            document["cut_from_bytes"] = rejection.message.bytes
        return document


def _insert_new(collection: Any, documents: Sequence[Mapping[str, Any]]) -> list[str]:  # noqa: ANN401  # a pymongo Collection
    """Insert documents; return the ids of those that were there before or stood twice in the list."""
    try:
        collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        refused = error.details["writeErrors"]
        if any(one["code"] != _DUPLICATE_KEY for one in refused):
            raise
        return [documents[one["index"]]["_id"] for one in refused]
    return []


def _changes(events: Iterable[RawEvent]) -> dict[str, UpdateOne]:
    """Return by run the write that gathers what its sources said; a new run is whole, as it may be read at once."""
    gathered: dict[str, Gathered] = defaultdict(Gathered)
    for event in events:
        gathered[event.fields["run_id"]].add(event.record_name, event.fields, event.timestamp_us)
    changes = {}
    for run_id, told in gathered.items():
        change = {"$max": told.raised, "$min": told.lowered, "$setOnInsert": own_fields(run_id, told.sources())}
        changes[run_id] = UpdateOne({"_id": run_id}, change, upsert=True)
    return changes


def _raw_document(event: RawEvent, now: datetime.datetime) -> Document:
    """Return the event's fields, flat; maps become {k, v} pairs, as users' keys may hold what field names must not."""
    maps = {name: store.as_pairs(value) for name, value in event.fields.items() if value.__class__ is dict}
    place = event.position
    return {
        **event.fields,  # first: a field of tomorrow may have one of the names that follow
        **maps,
        "_id": event.id,
        "event_type": event.record_name,
        "timestamp_us": event.timestamp_us,
        "kafka": {
            "partition": place.partition,
            "offset": place.offset,
            "append_time": place.append_time,
            "schema_id": event.schema_id,
        },
        "ingested_at": now,
    }


def _same_place(event: RawEvent, kafka: Document) -> bool:
    return (kafka["partition"], kafka["offset"]) == (event.position.partition, event.position.offset)
