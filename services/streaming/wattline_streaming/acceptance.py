"""What is accepted, and why not: one judgement, for the stream and for a replay of what it once refused."""

from __future__ import annotations

import datetime
import functools
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping

from wattline_common.codec import Datum, Decoder, unframe
from wattline_common.errors import ContractError, StopError, UnavailableError
from wattline_common.store import event_id, window_id, window_start_us
from wattline_common.validate import validate
from wattline_streaming.books import NOBODY, Message, RawEvent, Rejection, Told

__all__ = ["INTERNAL_ERROR", "Acceptance", "refused_by_jvm"]

INTERNAL_ERROR = "internal_error"
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)
# Reasons that lie in the schema id alone: whatever else carries it is refused, too.
_OF_THE_ID = frozenset({"unknown_schema_id", "foreign_subject", "foreign_schema"})
_window_id = functools.lru_cache(maxsize=20_000)(window_id)  # events come many to a window
# Whatever Kafka was made to take: a message is held whole, many times over, and must fit a document of the store.
_MOST_BYTES = 2**20
_REFUSED_BY_JVM = "the JVM's Avro decoder refuses it, so no window could count it"


class Acceptance:
    """Judges messages.

    ``branches`` are the schemas that `decode` reads in the JVM, by id; for any other id ``schema_text`` is asked.
    """

    def __init__(
        self,
        schema_text: Callable[[int], str],
        *,
        future_tolerance: datetime.timedelta,
        branches: Mapping[int, str] | None = None,
    ) -> None:
        self._branches = dict(branches or {})
        # A branch's schema was checked when the query started, so its events need no registry from then on.
        self._decoder = Decoder(lambda schema_id: self._branches.get(schema_id) or schema_text(schema_id))
        self._future_tolerance = future_tolerance

    def judge(
        self, messages: Iterable[Message], *, unread: frozenset[int] = frozenset()
    ) -> Iterator[RawEvent | Rejection]:
        """Yield each message's event, or why it is refused; ``unread`` are the indexes of those `decode` gave null.

        An id that is refused is asked for once a call: its producer registers before it produces, so asking after
        the messages were read is exact. What is no message's fault (`UnavailableError`, `StopError`) passes through.
        """
        refused: dict[int, ContractError] = {}
        for index, message in enumerate(messages):
            told = NOBODY
            try:
                datum = self._datum(message, refused)
                told = Told(datum.fields.get("run_id"), datum.fields.get("user_id"))
                yield self._accept(datum, message, unread=index in unread)
            except ContractError as error:
                yield Rejection(message, error.reason, error.detail, told)
            except (UnavailableError, StopError):
                raise
            except Exception:  # noqa: BLE001  # a message that breaks our own code must not stop all others
                yield Rejection(message, INTERNAL_ERROR, traceback.format_exc(limit=8), told)

    def _accept(self, datum: Datum, message: Message, *, unread: bool) -> RawEvent:
        if unread and datum.schema_id in self._branches:
            raise ContractError("undecodable", _REFUSED_BY_JVM)
        validate(datum.record_name, datum.fields)
        if datum.fields["timestamp"] < _EPOCH:  # pages and windows cannot name every time that Avro can
            raise ContractError("out_of_range", f"timestamp is {datum.fields['timestamp']}, before {_EPOCH}")
        ahead = datum.fields["timestamp"] - message.position.append_time
        if ahead > self._future_tolerance:
            raise ContractError("timestamp_in_future", f"event time is {ahead} ahead of the broker's append time")
        return _raw_event(datum, message)

    def _datum(self, message: Message, refused: dict[int, ContractError]) -> Datum:
        if message.value is not None and len(message.value) > _MOST_BYTES:
            raise ContractError("too_long", f"the message has {len(message.value)} bytes, more than {_MOST_BYTES}")
        schema_id, _ = unframe(message.value)
        if schema_id in refused:
            raise ContractError(refused[schema_id].reason, refused[schema_id].detail)
        try:
            return self._decoder.datum(message.value)
        except ContractError as error:
            if error.reason in _OF_THE_ID:
                refused[schema_id] = error
            raise


def refused_by_jvm(detail: str) -> bool:
    """Return whether a rejection's detail says that only the JVM could not read the message."""
    return detail == _REFUSED_BY_JVM


def _raw_event(datum: Datum, message: Message) -> RawEvent:
    fields = datum.fields
    timestamp_us = (fields["timestamp"] - _EPOCH) // _MICROSECOND
    run_id = fields["run_id"]
    return RawEvent(
        id=event_id(run_id, fields["source_id"], fields["seq"]),
        record_name=datum.record_name,
        schema_id=datum.schema_id,
        fields=fields,
        timestamp_us=timestamp_us,
        window_id=_window_id(run_id, window_start_us(timestamp_us)),
        position=message.position,
    )
