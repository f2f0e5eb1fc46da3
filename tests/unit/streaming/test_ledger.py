"""Promises of the ledger's judgement: good events pass once, anything else is rejected with its reason."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.events import START, run_events, sample
from wattline_common.codec import Datum, Decoder, encode_body, frame
from wattline_common.errors import ContractError, RegistryUnavailableError
from wattline_common.events import EVENT_TYPES, Event, HardwareSampled
from wattline_common.schemas import VERSIONS
from wattline_streaming.acceptance import Acceptance, refused_by_jvm
from wattline_streaming.books import Books, KafkaPosition, RawEvent, Rejection
from wattline_streaming.erasures import NOTHING, Erasures, Found
from wattline_streaming.ledger import Ledger
from wattline_streaming.typed import (
    ARROW_SCHEMA,
    BOOKED_SCHEMA,
    FILLED,
    REJECTED_REASON,
    REJECTED_ROWS,
    typed_row,
)

IDS = {kind: number for number, kind in enumerate(EVENT_TYPES.values(), start=1)}
ENVELOPE = pa.schema(
    [
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("headers", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("timestamp", pa.timestamp("us", tz="UTC")),
        *ARROW_SCHEMA,
    ]
)


class ListBooks:
    """Keeps in lists what the real books would write; an id that was booked before is a duplicate."""

    def __init__(self) -> None:
        self.events: dict[str, RawEvent] = {}
        self.rejections: list[Rejection] = []
        self.closed: dict[str, Any] = {}
        self.breaking: set[int] = set()  # numbers of events that break the books

    def book(self, events: list[RawEvent]) -> set[KafkaPosition]:
        """Return the positions that brought their event first."""
        fresh = set()
        for event in events:
            self.rehearse(event)
        for event in events:
            if self.events.setdefault(event.id, event).position == event.position:
                fresh.add(event.position)
        return fresh

    def rehearse(self, event: RawEvent) -> None:
        """Fail on what breaks."""
        if event.fields["seq"] in self.breaking:
            raise ZeroDivisionError(event.id)

    def retentions(self, run_ids: Iterable[str]) -> dict[str, Any]:
        """Return what is known of the runs that are closed."""
        return {run_id: self.closed[run_id] for run_id in run_ids if run_id in self.closed}

    def rejection_id(self, position: KafkaPosition) -> str:
        """Return where a message stood."""
        return f"{position.partition}:{position.offset}"

    def reject(self, rejections: list[Rejection]) -> None:
        """Keep the rejections."""
        self.rejections += rejections


class Remembered:
    """Remembers the same, whoever asks."""

    def __init__(self, found: Found) -> None:
        self._found = found

    def look_up(self, *_: object) -> Found:
        """Return it."""
        return self._found


def schema_text(schema_id: int) -> str:
    """Return the schemas by id as a registry would."""
    for kind, number in IDS.items():
        if number == schema_id:
            return VERSIONS[kind.AVRO_NAME][-1]
    if schema_id == 99:
        return json.dumps({"type": "record", "name": "Other", "namespace": "elsewhere", "fields": []})
    if schema_id == 100:
        raise RegistryUnavailableError("away")
    if schema_id == 101:
        raise ContractError("foreign_subject", "under elsewhere-Other")
    raise ContractError("unknown_schema_id", str(schema_id))


def message(event: Event) -> bytes:
    """Return the event as a producer writes it."""
    return frame(IDS[type(event)], encode_body(event))


def ledger_of(
    books: ListBooks,
    schemas: Callable[[int], str] = schema_text,
    branches: Mapping[int, str] | None = None,
    found: Found = NOTHING,
) -> Ledger:
    """Return a ledger that writes to the lists."""
    tolerance = datetime.timedelta(minutes=5)
    acceptance = Acceptance(schemas, future_tolerance=tolerance, branches=branches)
    return Ledger(acceptance, cast(Books, books), cast(Erasures, Remembered(found)))


def batch_of(values: Sequence[bytes | None], *, decoded: bool = False, first: int = 0) -> pa.RecordBatch:
    """Return the values at offsets from the first on, as `decode` hands them over; typed only when decoded."""
    decoder = Decoder(schema_text)
    headers = '[{"key":"h","value":"dg=="},{"key":"none"}]'
    rows = [
        {"key": b"k", "value": value, "headers": headers, "partition": 0, "offset": offset}
        | {"timestamp": START + datetime.timedelta(minutes=1)}
        | (typed_row(decoder.datum(value).fields) if decoded else {})
        for offset, value in enumerate(values, start=first)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=ENVELOPE)


def run(values: list[bytes | None], *, decoded: bool = False) -> tuple[ListBooks, list[dict[str, Any]]]:
    """Return what a ledger booked and passed on of the values."""
    books = ListBooks()
    batches = ledger_of(books).run(iter([batch_of(values, decoded=decoded)]))
    passed, told = split([row for out in batches for row in out.to_pylist()])
    assert told == Counter(rejection.reason for rejection in books.rejections)
    return books, passed


def split(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Return the rows of events, and what the others tell: how many messages were rejected, by reason."""
    told = Counter({row[REJECTED_REASON]: row[REJECTED_ROWS] for row in rows if row[REJECTED_REASON] is not None})
    return [row for row in rows if row[REJECTED_REASON] is None], told


@pytest.mark.parametrize("decoded", [True, False])
def test_good_events_pass_with_their_typed_columns(decoded: bool) -> None:
    """Every good event is booked and passed on, typed alike whether the JVM decoded it or only the ledger could."""
    events = run_events("run", samples=3)
    books, passed = run([message(event) for event in events], decoded=decoded)
    assert len(books.events) == len(passed) == len(events)
    expected = [typed_row(event.to_avro()) | {FILLED: not decoded} for event in events]
    assert [dict(row) for row in passed] == [{name: row.get(name) for name in BOOKED_SCHEMA.names} for row in expected]


def test_rows_of_old_and_new_schemas_in_one_batch_keep_their_order() -> None:
    """Only the row that nobody typed is filled, and every row stays beside its event."""
    events = [sample(seq=seq, energy_kwh=float(seq)) for seq in range(1, 5)]
    typed, untyped = ([message(event) for event in events[:2]], [message(event) for event in events[2:]])
    rows = [*batch_of(typed, decoded=True).to_pylist(), *batch_of(untyped, first=2).to_pylist()]
    batch = pa.RecordBatch.from_pylist([rows[2], rows[0], rows[3], rows[1]], schema=ENVELOPE)
    (out,) = ledger_of(ListBooks()).run(iter([batch]))
    assert [(row["energy_kwh"], row[FILLED]) for row in out.to_pylist()] == [
        (3.0, True),
        (1.0, False),
        (4.0, True),
        (2.0, False),
    ]


def test_a_true_duplicate_is_not_passed_on() -> None:
    """The same event at another offset is booked once and passed on once, within one batch too."""
    once = message(sample())
    books, passed = run([once, once, message(sample(seq=2))])
    assert (len(books.events), len(passed), books.rejections) == (2, 2, [])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no_value"),
        (b"\x00\x00", "short_frame"),
        (b"\x01" + message(sample())[1:], "wrong_magic_byte"),
        (frame(77, b""), "unknown_schema_id"),
        (frame(99, b""), "foreign_schema"),
        (frame(101, b""), "foreign_subject"),
        (message(sample())[:-9], "truncated"),
        (message(sample()) + b"x", "trailing_bytes"),
        (message(sample(run_id="a.b")), "invalid_id"),
        (message(sample(source_id="a|b")), "invalid_id"),
        (message(sample(run_id="")), "invalid_id"),
        (message(sample(cpu_utilization_pct=float("nan"))), "not_finite"),
        (message(sample(interval_s=-1.0)), "out_of_range"),
        (message(sample(emissions_kg=1.0)), "inconsistent"),
        (message(sample(energy_low_kwh=1.0)), "inconsistent"),
        (message(sample(measured_energy_kwh=1.0)), "inconsistent"),
        (message(sample(timestamp=START + datetime.timedelta(minutes=7))), "timestamp_in_future"),
        (message(sample(timestamp=datetime.datetime(1969, 12, 31, tzinfo=datetime.UTC))), "out_of_range"),
        (message(sample()) + bytes(2**20), "too_long"),
    ],
)
def test_a_bad_message_is_rejected_with_its_reason(value: bytes | None, reason: str) -> None:
    """What cannot be accepted is kept as it came, with reason and place, and the good ones beside it pass."""
    books, passed = run([message(sample(seq=1)), value, message(sample(seq=2))])
    assert [rejection.reason for rejection in books.rejections] == [reason]
    kept = books.rejections[0].message
    assert (kept.key, kept.value, kept.headers) == (b"k", value, [("h", b"v"), ("none", None)])
    assert (kept.position.partition, kept.position.offset) == (0, 1)
    assert len(books.events) == len(passed) == 2


def test_rejections_are_told_by_reason_in_rows_of_their_own() -> None:
    """One row a reason, with the count and nothing of an event."""
    values = [None, message(sample()), b"", None, b"\x00"]
    out = [row for batch in ledger_of(ListBooks()).run(iter([batch_of(values)])) for row in batch.to_pylist()]
    passed, told = split(out)
    assert (len(passed), told) == (1, Counter(no_value=2, short_frame=2))
    assert len(out) == 3
    assert all(set(row.values()) == {None, row[REJECTED_REASON], row[REJECTED_ROWS]} for row in out[1:])


def test_a_registry_that_is_away_rejects_nothing() -> None:
    """The batch fails and is repeated later: a fault of ours is no fault of the message."""
    with pytest.raises(RegistryUnavailableError):
        run([frame(100, b"")])


@pytest.mark.parametrize("schema_id", [77, 99, 101])
def test_a_refused_id_is_asked_for_once_a_batch(schema_id: int) -> None:
    """A flood of messages of an unknown or foreign id costs one question a batch; the next batch asks anew."""
    asked: list[int] = []

    def schemas(number: int) -> str:
        asked.append(number)
        return schema_text(number)

    books = ListBooks()
    ledger = ledger_of(books, schemas)
    for first in (0, 50):
        list(ledger.run(iter([batch_of([frame(schema_id, b"body")] * 50, first=first)])))
        assert asked == [schema_id] * (first // 50 + 1)
    assert len(books.rejections) == 100
    assert len({(rejection.reason, rejection.detail) for rejection in books.rejections}) == 1


def test_an_id_that_is_registered_after_a_refusal_is_accepted_in_the_next_batch() -> None:
    """What was unknown a batch ago is known as soon as the registry knows it."""
    known: dict[int, str] = {}

    def schemas(number: int) -> str:
        if number not in known:
            raise ContractError("unknown_schema_id", str(number))
        return known[number]

    books = ListBooks()
    ledger = ledger_of(books, schemas)
    list(ledger.run(iter([batch_of([message(sample(seq=1))])])))
    known.update({number: VERSIONS[kind.AVRO_NAME][-1] for kind, number in IDS.items()})
    list(ledger.run(iter([batch_of([message(sample(seq=2))], first=1)])))
    assert [rejection.reason for rejection in books.rejections] == ["unknown_schema_id"]
    assert [event.fields["seq"] for event in books.events.values()] == [2]


def test_what_the_jvm_refuses_is_rejected_though_python_reads_it() -> None:
    """A row of a from_avro branch without columns is no new schema: it is undecodable, and never filled."""
    branches = {IDS[HardwareSampled]: VERSIONS[HardwareSampled.AVRO_NAME][-1]}
    books = ListBooks()
    events = [sample(seq=1), *run_events("new", samples=0)]
    batches = ledger_of(books, branches=branches).run(iter([batch_of([message(event) for event in events])]))
    passed, told = split([row for out in batches for row in out.to_pylist()])
    assert [(rejection.reason, refused_by_jvm(rejection.detail)) for rejection in books.rejections] == [
        ("undecodable", True)
    ]
    assert [(row["run_id"], row[FILLED]) for row in passed] == [("new", True)] * 2
    assert told == {"undecodable": 1}


def test_events_of_the_branches_need_no_registry() -> None:
    """The schemas that the query started with are not asked for, so its events pass while the registry is away."""

    def away(number: int) -> str:
        raise RegistryUnavailableError(str(number))

    branches = {IDS[HardwareSampled]: VERSIONS[HardwareSampled.AVRO_NAME][-1]}
    books = ListBooks()
    list(ledger_of(books, away, branches).run(iter([batch_of([message(sample())], decoded=True)])))
    assert len(books.events) == 1


def test_a_row_that_breaks_our_code_is_set_aside_with_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of our own on one row is kept as internal_error, and the rows beside it pass."""

    def break_on_two(record_name: str, fields: dict[str, Any]) -> None:
        if fields["seq"] == 2:
            raise ZeroDivisionError("ours")

    monkeypatch.setattr("wattline_streaming.acceptance.validate", break_on_two)
    books, passed = run([message(sample(seq=seq)) for seq in (1, 2, 3)])
    assert [rejection.reason for rejection in books.rejections] == ["internal_error"]
    assert "ZeroDivisionError" in books.rejections[0].detail
    assert len(passed) == 2


def test_a_message_that_breaks_the_decoder_is_rejected_with_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own fault, whatever it is, costs this one message; all others pass."""
    events = run_events("run", samples=3)
    datum = Decoder.datum

    def breaking(self: Decoder, value: bytes | None) -> Datum:
        if value == message(events[2]):
            raise ZeroDivisionError("a fault of ours")
        return datum(self, value)

    values: list[bytes | None] = [message(event) for event in events]
    monkeypatch.setattr(Decoder, "datum", breaking)
    books, passed = run(values)
    (rejection,) = books.rejections
    assert (rejection.reason, rejection.message.value) == ("internal_error", values[2])
    assert "ZeroDivisionError: a fault of ours" in rejection.detail
    assert "Traceback" in rejection.detail
    assert len(passed) == len(events) - 1


def test_an_event_that_breaks_the_books_is_rejected_and_all_others_are_booked() -> None:
    """Found by trying each, once the batch has failed."""
    events = run_events("run", samples=3)
    books = ListBooks()
    books.breaking = {2, 5}
    out = ledger_of(books).run(iter([batch_of([message(event) for event in events])]))
    passed, told = split([row for batch in out for row in batch.to_pylist()])
    assert told == {"internal_error": 2}
    assert [rejection.message.position.offset for rejection in books.rejections] == [2, 5]
    assert all("ZeroDivisionError" in rejection.detail for rejection in books.rejections)
    assert len(passed) == len(books.events) == len(events) - 2


def test_a_failure_that_is_no_events_fault_stops_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is rejected for it: the batch is repeated."""
    books = ListBooks()

    def fail(_: list[RawEvent]) -> set[KafkaPosition]:
        raise ZeroDivisionError

    monkeypatch.setattr(books, "book", fail)
    with pytest.raises(ZeroDivisionError):
        list(ledger_of(books).run(iter([batch_of([message(event) for event in run_events("run", samples=1)])])))
    assert books.rejections == []


def test_of_a_closed_run_only_what_was_counted_is_dropped_in_silence() -> None:
    """Anything else of it is rejected; other runs pass."""
    events = [*run_events("closed", samples=2), *run_events("open", samples=2)]
    books = ListBooks()
    books.closed = {"closed": {"began_at": START, "sources": {"source": {"seq_max": 4, "missing": [[1, 2]]}}}}
    out = ledger_of(books).run(iter([batch_of([message(event) for event in events])]))
    passed, told = split([row for batch in out for row in batch.to_pylist()])
    assert told == {"after_retention": 3}
    assert [rejection.message.position.offset for rejection in books.rejections] == [1, 2, 5]
    assert {row["run_id"] for row in passed} == {"open"}
    assert {event.fields["run_id"] for event in books.events.values()} == {"open"}


@pytest.mark.parametrize("decoded", [True, False])
def test_of_who_is_erased_nothing_is_booked_passed_on_or_kept(decoded: bool) -> None:
    """Neither good nor bad messages, by user, by run, by key, or by place; they are counted, and others' are kept."""
    values: list[bytes | None] = [
        message(sample(run_id="erased", user_id="bob")),
        message(sample(user_id="ada")),
        message(sample(user_id="bob")),
        message(sample(user_id="ada", seq=2, interval_s=-1.0)),
        message(sample(user_id="bob", seq=2, interval_s=-1.0)),
        message(sample(user_id="ada", seq=3))[:-9],
        message(sample(user_id="bob", seq=3))[:-9],
    ]
    books = ListBooks()
    found = Found(runs=frozenset({"erased"}), users=frozenset({"ada"}), places=frozenset({"0:5"}))
    batch = pa.RecordBatch.from_pylist(
        [*batch_of(values[:3], decoded=decoded).to_pylist(), *batch_of(values[3:], first=3).to_pylist()], ENVELOPE
    )
    out = ledger_of(books, found=found).run(iter([batch]))
    passed, told = split([row for each in out for row in each.to_pylist()])
    assert told == {"erased": 4, "out_of_range": 1, "truncated": 1}
    assert [rejection.message.position.offset for rejection in books.rejections] == [4, 6]
    assert [event.fields["user_id"] for event in books.events.values()] == ["bob"]
    assert [row["user_id"] for row in passed] == ["bob"]


def test_a_rejected_message_is_of_the_run_that_its_key_names() -> None:
    """Also when its value cannot be read."""
    books = ListBooks()
    batch = batch_of([b"garbage", None])
    assert batch.column("key").to_pylist() == [b"k", b"k"]
    out = ledger_of(books, found=Found(runs=frozenset({"k"}))).run(iter([batch]))
    assert split([row for each in out for row in each.to_pylist()]) == ([], Counter(erased=2))
    assert books.rejections == []


@pytest.mark.parametrize("decoded", [True, False])
def test_who_has_a_pseudonym_has_it_in_the_books_and_in_the_typed_columns(decoded: bool) -> None:
    """Every other figure is as it was, and the row is not told as filled for it."""
    events = [sample(user_id="ada"), sample(user_id="bob", seq=2)]
    books = ListBooks()
    batch = batch_of([message(event) for event in events], decoded=decoded)
    (out,) = ledger_of(books, found=Found(pseudonyms={"ada": "user-1"})).run(iter([batch]))
    named = [dataclasses.replace(events[0], user_id="user-1"), events[1]]
    rows = [typed_row(event.to_avro()) | {FILLED: not decoded} for event in named]
    assert out.to_pylist() == [{name: row.get(name) for name in BOOKED_SCHEMA.names} for row in rows]
    assert [event.fields for event in books.events.values()] == [event.to_avro() for event in named]


def test_rejected_messages_of_who_has_a_pseudonym_are_not_kept() -> None:
    """Their bytes have the name: whether a value is wrong, the run is closed, or our own code fails."""
    books = ListBooks()
    books.closed = {"closed": {"began_at": START, "sources": {}}}
    books.breaking = {7}
    values: list[bytes | None] = [
        message(sample(user_id="ada", seq=2, interval_s=-1.0)),
        message(sample(user_id="ada", run_id="closed")),
        message(sample(user_id="ada", seq=7)),
        message(sample(user_id="ada", seq=8)),
    ]
    out = ledger_of(books, found=Found(pseudonyms={"ada": "user-1"})).run(iter([batch_of(values)]))
    passed, told = split([row for each in out for row in each.to_pylist()])
    assert told == {"erased": 3}
    assert books.rejections == []
    assert [event.fields["user_id"] for event in books.events.values()] == ["user-1"]
    assert len(passed) == 1


NAMES = st.sampled_from(["a", "b", "c"])


@given(
    st.lists(st.tuples(NAMES, NAMES, st.booleans()), max_size=12),
    st.sets(NAMES),
    st.sets(NAMES),
    st.sets(NAMES),
)
def test_every_message_is_booked_kept_aside_or_counted_as_erased(
    sent: list[tuple[str, str, bool]], runs: set[str], users: set[str], renamed: set[str]
) -> None:
    """Each by one rule, whatever the mixture; nothing that is kept has the name of who is not to be named."""
    pseudonyms = {user: f"user-{user}" for user in renamed - users}
    found = Found(runs=frozenset(runs), users=frozenset(users), pseudonyms=pseudonyms)
    events = [
        sample(run_id=run_id, user_id=user_id, seq=seq, interval_s=1.0 if good else -1.0)
        for seq, (run_id, user_id, good) in enumerate(sent)
    ]
    books = ListBooks()
    out = ledger_of(books, found=found).run(iter([batch_of([message(event) for event in events])]))
    passed, told = split([row for each in out for row in each.to_pylist()])
    gone = [run_id in runs or user_id in users or (not good and user_id in renamed) for run_id, user_id, good in sent]
    assert told["erased"] == sum(gone)
    assert told["out_of_range"] == len(books.rejections)
    assert len(passed) + told.total() == len(sent)
    kept = [(seq, good) for (seq, (_, _, good)), is_gone in zip(enumerate(sent), gone, strict=True) if not is_gone]
    assert [event.fields["seq"] for event in books.events.values()] == [seq for seq, good in kept if good]
    assert [one.message.position.offset for one in books.rejections] == [seq for seq, good in kept if not good]
    assert [event.fields["user_id"] for event in books.events.values()] == [
        pseudonyms.get(sent[seq][1], sent[seq][1]) for seq, good in kept if good
    ]
