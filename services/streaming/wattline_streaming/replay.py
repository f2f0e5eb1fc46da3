"""Re-submits what was rejected once and would be accepted now: back to its topic, as it came, and out of the books.

Event identity makes it harmless to be interrupted, and to be run twice: what was re-submitted already is a duplicate.
"""

from __future__ import annotations

import datetime
import functools
import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as KafkaMessage
from pymongo.database import Database

from wattline_common import store
from wattline_common.errors import BrokerUnavailableError
from wattline_common.kafka import TRAINING_EVENTS
from wattline_common.store import Document
from wattline_common.store_errors import answering
from wattline_streaming.acceptance import Acceptance, refused_by_jvm
from wattline_streaming.books import KafkaPosition, Message, RawEvent, Rejection, origin
from wattline_streaming.retention import AFTER_RETENTION, after_retention, is_too_late, retentions

__all__ = ["REPLAYED_HEADER", "Replay", "Report"]

REPLAYED_HEADER = "wattline.replayed"
_BATCH = 200  # messages of up to a megabyte each
_FLUSH_S = 30.0
_CUT = "only its beginning was kept; the message itself is in Kafka at its place, as long as the topic keeps it"
_JVM_ONLY = "only the stream can tell whether Spark reads it now; --reason undecodable re-submits it"


@dataclass
class Report:
    """What became of the rejected events that were looked at."""

    replayed: Counter[str] = field(default_factory=Counter)  # by the reason they had been rejected for
    refused: Counter[str] = field(default_factory=Counter)  # by the reason they still are
    examples: dict[str, str] = field(default_factory=dict)  # of each such reason: place and detail

    def refuse(self, rejection: Rejection) -> None:
        """Count a message that is still refused."""
        self.refused[rejection.reason] += 1
        self.examples.setdefault(rejection.reason, f"{origin(rejection.message.position)}: {rejection.detail}")

    def as_text(self, *, dry_run: bool = False) -> str:
        """Return the counts as lines for a person."""
        done = "would be replayed" if dry_run else "replayed"
        lines = [f"{done}: {self.replayed.total()}"]
        lines += [f"  {reason:<24}{count:>9}" for reason, count in sorted(self.replayed.items())]
        lines.append(f"still refused: {self.refused.total()}")
        for reason, count in sorted(self.refused.items()):
            lines.append(f"  {reason:<24}{count:>9}  as {self.examples[reason]}")
        return "\n".join(lines)


class Replay:
    """Goes through rejected_events once, in batches; what is rejected meanwhile waits for the next time."""

    def __init__(
        self,
        database: Database[Document],
        producer: Producer,
        acceptance: Acceptance,
        *,
        now: Callable[[], datetime.datetime],
    ) -> None:
        self._database = database
        self._rejected = database[store.REJECTED_EVENTS]
        self._producer = producer
        self._acceptance = acceptance
        self._now = now
        self.report = Report()

    def run(self, reasons: Collection[str], *, dry_run: bool) -> Iterator[Report]:
        """Yield the report after every batch; no reason stands for every reason, a dry run changes nothing.

        Raises `BrokerUnavailableError`, `RegistryUnavailableError` and what `answering` raises; calling again goes on.
        """
        with answering():
            for batch in self._batches(reasons):
                accepted = self._judge(batch, reasons)
                done = accepted if dry_run else self._submit(accepted)
                self.report.replayed.update(document["reason"] for document in done)
                yield self.report

    def _batches(self, reasons: Collection[str]) -> Iterator[list[Document]]:
        wanted: Document = {"rejected_at": {"$lt": self._now()}}  # not what this very replay brings back
        if reasons:
            wanted["reason"] = {"$in": sorted(reasons)}
        with self._rejected.find(wanted, batch_size=_BATCH) as found:
            while batch := list(itertools.islice(found, _BATCH)):
                yield batch

    def _judge(self, batch: Sequence[Document], reasons: Collection[str]) -> list[Document]:
        """Return the documents whose messages would be accepted if the broker appended them now."""
        accepted = []
        verdicts = self._verdicts([_message(document, self._now()) for document in batch])
        for document, verdict in zip(batch, verdicts, strict=True):
            if isinstance(verdict, Rejection):
                self.report.refuse(verdict)
            elif "cut_from_bytes" in document:
                self.report.refuse(_rejection(document, _CUT))
            elif refused_by_jvm(document["detail"]) and document["reason"] not in reasons:
                self.report.refuse(_rejection(document, _JVM_ONLY))
            else:
                accepted.append(document)
        return accepted

    def _verdicts(self, messages: list[Message]) -> list[RawEvent | Rejection]:
        """Judge as the stream would; of a run whose raw events are deleted it takes nothing that it had not."""
        verdicts = list(self._acceptance.judge(messages))
        events = [verdict for verdict in verdicts if isinstance(verdict, RawEvent)]
        closed = retentions(self._database, {event.fields["run_id"] for event in events})
        return [
            Rejection(message, AFTER_RETENTION, after_retention(closed[event.fields["run_id"]]))
            if isinstance(event, RawEvent) and is_too_late(closed, event.fields)
            else event
            for message, event in zip(messages, verdicts, strict=True)
        ]

    def _submit(self, documents: Sequence[Document]) -> list[Document]:
        """Return those that the broker has acknowledged, removed from rejected_events; one that it refuses stays."""
        acknowledged: list[Document] = []
        for document in documents:
            message = _message(document, self._now())
            kept = [header for header in message.headers if header[0] != REPLAYED_HEADER]
            try:
                self._producer.produce(
                    TRAINING_EVENTS,
                    key=message.key,
                    value=message.value,
                    headers=[*kept, (REPLAYED_HEADER, origin(message.position).encode())],
                    on_delivery=functools.partial(self._delivered, document, acknowledged),
                )
            except (KafkaException, BufferError) as error:
                raise BrokerUnavailableError(f"cannot write to {TRAINING_EVENTS}: {error}") from error
        left = self._producer.flush(_FLUSH_S)
        self._rejected.delete_many({"_id": {"$in": [document["_id"] for document in acknowledged]}})
        if left:
            raise BrokerUnavailableError(f"{left} messages are not on {TRAINING_EVENTS} after {_FLUSH_S:.0f} s")
        return acknowledged

    def _delivered(
        self, document: Document, acknowledged: list[Document], error: KafkaError | None, _: KafkaMessage
    ) -> None:
        if error is None:
            acknowledged.append(document)
        else:
            self.report.refuse(_rejection(document, f"Kafka does not take it: {error}"))


def _message(document: Document, append_time: datetime.datetime) -> Message:
    """Return the message as it came, as if the broker appended it at ``append_time``."""
    headers = [(header["k"], header["v"]) for header in document["headers"]]
    position = KafkaPosition(document["partition"], document["offset"], append_time)
    return Message(document["key"], document["value"], headers, position)


def _rejection(document: Document, detail: str) -> Rejection:
    return Rejection(_message(document, document["append_time"]), document["reason"], detail)
