"""The ledger's writes to the store: raw events, run summaries, open windows, rejected events."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pymongo import UpdateOne
from pymongo.database import Database
from pymongo.errors import BulkWriteError, PyMongoError

from wattline_common import store
from wattline_common.errors import StoreUnavailableError
from wattline_common.kafka import TRAINING_EVENTS
from wattline_common.store import Document, RejectedEvent
from wattline_streaming.summary import nested, own_fields, source_updates

__all__ = ["Books", "KafkaPosition", "Message", "RawEvent", "RejectedTopic", "Rejection", "origin"]

_DUPLICATE_KEY = 11000


@dataclass(frozen=True, slots=True)
class KafkaPosition:
    """Where in training.events a message stands, and when the broker appended it."""

    partition: int
    offset: int
    append_time: datetime.datetime


@dataclass(frozen=True, slots=True)
class Message:
    """A message of training.events as it came."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    position: KafkaPosition


@dataclass(frozen=True, slots=True)
class RawEvent:
    """A good event with its identities and its place in Kafka."""

    id: str
    record_name: str
    schema_id: int
    fields: Document
    timestamp_us: int
    window_id: str
    position: KafkaPosition


@dataclass(frozen=True, slots=True)
class Rejection:
    """A message that could not be accepted, and why."""

    message: Message
    reason: str
    detail: str


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

    def book(self, events: list[RawEvent]) -> set[KafkaPosition]:
        """Store the events and what follows from them; return the positions whose message brought its event first.

        An event that came by another message before is a true duplicate: it changes nothing and is not returned.
        Raises `StoreUnavailableError`; calling again with the same events then is safe.
        """
        if not events:
            return set()
        try:
            self._open_windows(events)  # before the events, so that a crash in between costs one needless look
            fresh = self._insert(events)
            self._summarise(fresh)
        except PyMongoError as error:
            raise _unavailable(error) from error
        return {event.position for event in fresh}

    def reject(self, rejections: list[Rejection]) -> None:
        """Keep rejected messages aside, in the store and on the rejected topic (there at least once)."""
        by_id = {self._rejection_id(rejection.message.position): rejection for rejection in rejections}
        if not by_id:
            return
        collection = self._database[store.REJECTED_EVENTS]
        try:
            known = {found["_id"] for found in collection.find({"_id": {"$in": list(by_id)}}, {"_id": 1})}
            new = {key: rejection for key, rejection in by_id.items() if key not in known}
            self._rejected_topic.send(new.values())
            if new:
                _insert_new(collection, [self._rejected_document(key, value) for key, value in new.items()])
        except PyMongoError as error:
            raise _unavailable(error) from error

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
        stored = {found["_id"]: found["kafka"] for found in collection.find({"_id": {"$in": refused}}, {"kafka": 1})}
        return [event for event in events if event.id not in stored or _same_place(event, stored[event.id])]

    def _summarise(self, events: list[RawEvent]) -> None:
        """Raise and lower the figures of the events' sources, then write what follows for their runs."""
        changes: dict[str, tuple[Document, Document]] = {}
        for event in events:
            raised, lowered = changes.setdefault(event.fields["run_id"], ({}, {}))
            more_raised, more_lowered = source_updates(event.record_name, event.fields, event.timestamp_us)
            _merge(raised, more_raised, _higher)
            _merge(lowered, more_lowered, min)
        if not changes:
            return
        collection = self._database[store.TRAINING_RUN_SUMMARY]
        collection.bulk_write([_gather(run_id, *change) for run_id, change in changes.items()], ordered=False)
        found = collection.find({"_id": {"$in": list(changes)}}, {"sources": 1})
        own = [UpdateOne({"_id": run["_id"]}, {"$set": own_fields(run["_id"], run["sources"])}) for run in found]
        collection.bulk_write(own, ordered=False)

    def _rejection_id(self, position: KafkaPosition) -> str:
        return f"{self._cluster_id}:{origin(position)}"

    def _rejected_document(self, key: str, rejection: Rejection) -> RejectedEvent:
        message = rejection.message
        return {
            "_id": key,
            "reason": rejection.reason,
            "detail": rejection.detail,
            "key": message.key,
            "value": message.value,
            "headers": [{"k": name, "v": value} for name, value in message.headers],
            "partition": message.position.partition,
            "offset": message.position.offset,
            "append_time": message.position.append_time,
            "rejected_at": self._now(),
        }


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


def _gather(run_id: str, raised: Document, lowered: Document) -> UpdateOne:
    """Return the write that gathers what sources said; a new run is whole at once, as readers may see it at once."""
    at_first = own_fields(run_id, nested(raised | lowered))
    return UpdateOne({"_id": run_id}, {"$max": raised, "$min": lowered, "$setOnInsert": at_first}, upsert=True)


def _raw_document(event: RawEvent, now: datetime.datetime) -> Document:
    """Return the event's fields, flat; maps become {k, v} pairs, as users' keys may hold what field names must not."""
    maps = {name: store.as_pairs(value) for name, value in event.fields.items() if value.__class__ is dict}
    place = event.position
    return {
        "_id": event.id,
        "event_type": event.record_name,
        **event.fields,
        **maps,
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


def _merge(into: Document, more: Document, better: Callable[[Any, Any], Any]) -> None:
    for path, value in more.items():
        known = into.get(path)
        if known is None:
            into[path] = value
        elif value != known:  # most say again what is known: a run's context, a method
            into[path] = better(known, value)


def _higher(one: Any, other: Any) -> Any:  # noqa: ANN401  # numbers, or flat documents
    """Return the higher value as `$max` sees it: documents compare field by field, and null is lowest."""
    if not isinstance(one, dict):
        return other if other > one else one
    if one.get("seq") != other.get("seq"):  # where there is one it stands first, and so decides
        return other if other["seq"] > one["seq"] else one
    return max(one, other, key=_rank)


def _rank(document: Document) -> list[tuple[bool, Any]]:
    return [(value is not None, value) for value in document.values() if not isinstance(value, list)]


def _unavailable(error: PyMongoError) -> StoreUnavailableError:
    return StoreUnavailableError(f"no good answer from the store at MONGODB_URI: {error}")
