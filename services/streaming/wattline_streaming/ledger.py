"""Exactly-once effect: every good event is stored once, counted once, and every bad one is kept aside, once.

Runs on the executors, one call a Spark task, as `mapInArrow`. Whatever it writes is idempotent, so a batch that is
repeated after a crash ends in the same collections.
"""

from __future__ import annotations

import base64
import json
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from wattline_common.errors import StopError, UnavailableError
from wattline_streaming.acceptance import INTERNAL_ERROR, Acceptance
from wattline_streaming.books import Books, KafkaPosition, Message, RawEvent, Rejection, Told
from wattline_streaming.erasures import ERASED, NOTHING, Erasures, Found
from wattline_streaming.retention import AFTER_RETENTION, after_retention, is_too_late
from wattline_streaming.typed import ARROW_SCHEMA, BOOKED_SCHEMA, FILLED, REJECTED_REASON, REJECTED_ROWS, typed_row

__all__ = ["Ledger"]


@dataclass(frozen=True, slots=True)
class Ledger:
    """Books what Kafka delivered; `run` is what Spark calls."""

    acceptance: Acceptance
    books: Books
    erasures: Erasures

    def run(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the typed columns of the first-seen good events of each batch, after booking all of it.

        A further column says of each row whether it had to be filled here, as `decode` does not know its schema id yet.
        Rows without an event tell how many messages were rejected, and for which reason.
        """
        for batch in batches:
            yield from self._book(batch)

    def _book(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        messages = list(_messages(batch))
        good, rejections = self._judge(batch, messages)
        told = {index: _told_by(event) for index, event in good.items()}
        reasons = Counter[str]()
        reasons[ERASED] = self._take_erased(good)
        rejections += self._take_closed(good, messages, told)
        reasons.update(self._reject(rejections))
        renamed = {index for index, event in good.items() if _told_by(event) != told[index]}
        try:
            passed = self._pass_on(batch, good, renamed)
        except (UnavailableError, StopError):
            raise
        except Exception:
            broken = list(self._take_broken(good, messages, told))
            if not broken:
                raise  # it is no event's fault
            reasons.update(self._reject(broken))
            passed = self._pass_on(batch, good, renamed)
        yield passed
        if +reasons:
            yield _counted(+reasons)

    def _judge(self, batch: pa.RecordBatch, messages: list[Message]) -> tuple[dict[int, RawEvent], list[Rejection]]:
        good: dict[int, RawEvent] = {}
        rejections: list[Rejection] = []
        unread = frozenset(i for i, read in enumerate(batch.column("run_id").is_valid().to_pylist()) if not read)
        for index, verdict in enumerate(self.acceptance.judge(messages, unread=unread)):
            if isinstance(verdict, RawEvent):
                good[index] = verdict
            else:
                rejections.append(verdict)
        return good, rejections

    def _pass_on(self, batch: pa.RecordBatch, good: dict[int, RawEvent], renamed: Set[int]) -> pa.RecordBatch:
        read = batch.column("run_id").is_valid().to_pylist()
        filled = {index for index in good if not read[index]}
        anew = {index: typed_row(good[index].fields) for index in filled | (renamed & good.keys())}
        fresh = self.books.book(list(good.values()))
        return _typed(batch, [index for index, event in good.items() if event.position in fresh], anew, filled)

    def _take_erased(self, good: dict[int, RawEvent]) -> int:
        """Take out what is of erased runs and users, give others their pseudonyms; return how many were taken out."""
        before = len(good)
        all_told = set(map(_told_by, good.values()))
        found = self.erasures.look_up({told.run_id for told in all_told}, {told.user_id for told in all_told})
        for index, event in list(good.items()) if found else ():
            told = _told_by(event)
            if found.is_erased(*told):
                del good[index]
            elif (pseudonym := found.pseudonym(told.user_id)) is not None:
                good[index] = event._replace(fields={**event.fields, "user_id": pseudonym})
        return before - len(good)

    def _reject(self, rejections: list[Rejection]) -> Counter[str]:
        """Keep rejected messages aside, none of who is erased or has a pseudonym; return how many, by reason."""
        found = NOTHING
        if rejections:
            run_ids = {run_id for rejection in rejections for run_id in rejection.run_ids}
            places = {self.books.rejection_id(rejection.message.position) for rejection in rejections}
            found = self.erasures.look_up(run_ids, {rejection.told.user_id for rejection in rejections}, places)
        kept = [rejection for rejection in rejections if not self._is_named(rejection, found)] if found else rejections
        self.books.reject(kept)
        reasons = Counter(rejection.reason for rejection in kept)
        reasons[ERASED] = len(rejections) - len(kept)
        return reasons

    def _is_named(self, rejection: Rejection, found: Found) -> bool:
        """Return whether a rejected message is of who is remembered: its bytes hold the name."""
        user_id = rejection.told.user_id
        return (
            self.books.rejection_id(rejection.message.position) in found.places
            or found.pseudonym(user_id) is not None
            or any(found.is_erased(run_id, user_id) for run_id in rejection.run_ids or (None,))
        )

    def _take_broken(
        self, good: dict[int, RawEvent], messages: list[Message], told: Mapping[int, Told]
    ) -> Iterator[Rejection]:
        """Take out the events on which our own code fails: one of them must not stop all others."""
        for index, event in list(good.items()):
            try:
                self.books.rehearse(event)
                typed_row(event.fields)
            except Exception:  # noqa: BLE001  # whatever it is, its trace is told
                del good[index]
                yield Rejection(messages[index], INTERNAL_ERROR, traceback.format_exc(limit=8), told[index])

    def _take_closed(
        self, good: dict[int, RawEvent], messages: list[Message], told: Mapping[int, Told]
    ) -> Iterator[Rejection]:
        """Take out what belongs to runs whose raw events are deleted: it was counted before, or comes too late."""
        closed = self.books.retentions({event.fields["run_id"] for event in good.values()})
        for index, event in list(good.items()) if closed else ():
            run_id = event.fields["run_id"]
            if run_id in closed:
                del good[index]
            if is_too_late(closed, event.fields):
                yield Rejection(messages[index], AFTER_RETENTION, after_retention(closed[run_id]), told[index])


def _told_by(event: RawEvent) -> Told:
    return Told(event.fields["run_id"], event.fields.get("user_id"))


def _messages(batch: pa.RecordBatch) -> Iterator[Message]:
    columns = [batch.column(name).to_pylist() for name in ("key", "value", "headers", "partition", "offset")]
    # Messages come many to an append time, and a date costs more than all else here: made once each.
    times = batch.column("timestamp").dictionary_encode()
    dates = times.dictionary.to_pylist()
    for key, value, headers, partition, offset, date in zip(*columns, times.indices.to_pylist(), strict=True):
        yield Message(key, value, _headers(headers), KafkaPosition(partition, offset, dates[date]))


def _headers(text: str | None) -> list[tuple[str, bytes | None]]:
    """Return the headers as Spark's `to_json` gives them: values in Base64, none where there is no value."""
    found = json.loads(text) if text else ()
    return [(header["key"], base64.b64decode(header["value"]) if "value" in header else None) for header in found]


def _typed(
    batch: pa.RecordBatch, fresh: list[int], anew: Mapping[int, dict[str, Any]], filled: Set[int]
) -> pa.RecordBatch:
    """Return the typed columns of the fresh rows, those in ``anew`` as they stand there.

    ``filled`` are those of them whose schema id was registered while running.
    """
    typed = batch.select(ARROW_SCHEMA.names)
    if len(fresh) < batch.num_rows:
        typed = typed.take(pa.array(fresh, pa.int64()))
    is_filled = pa.array([index in filled for index in fresh], pa.bool_())
    if not anew:
        none = {name: pa.nulls(len(fresh), BOOKED_SCHEMA.field(name).type) for name in (REJECTED_REASON, REJECTED_ROWS)}
        return pa.RecordBatch.from_arrays([*typed.columns, is_filled, *none.values()], schema=BOOKED_SCHEMA)
    rows: list[dict[str, Any]] = typed.to_pylist()
    for place, index in enumerate(fresh):
        rows[place] = {**anew.get(index, rows[place]), FILLED: index in filled}
    return pa.RecordBatch.from_pylist(rows, schema=BOOKED_SCHEMA)


def _counted(reasons: Counter[str]) -> pa.RecordBatch:
    """Return a row for each reason: how many messages were rejected for it."""
    rows = [{REJECTED_REASON: reason, REJECTED_ROWS: count} for reason, count in reasons.items()]
    return pa.RecordBatch.from_pylist(rows, schema=BOOKED_SCHEMA)
