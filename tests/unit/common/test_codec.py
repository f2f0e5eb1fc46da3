"""The codec's refusals, each by its reason code, and how it asks for schemas."""

from __future__ import annotations

import copy
import datetime
import json
from typing import Any

import pytest

from wattline_common.codec import Datum, Decoder, encode_body, frame, newest_schema, unframe
from wattline_common.errors import ContractError, RegistryUnavailableError
from wattline_common.events import EPOCH, RunFinished, RunStatus, StepCompleted
from wattline_common.schemas import VERSIONS

TIMESTAMP = datetime.datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=datetime.UTC)
FINISHED = RunFinished(
    run_id="r", source_id="s", seq=3, timestamp=TIMESTAMP, source_energy_kwh=0.25, status=RunStatus.FAILED
)
TEXT = VERSIONS[RunFinished.AVRO_NAME][-1]
STATUS_OFFSET = -(8 + 1 + 1 + 8 + 8 + 1 + 1 + 1)  # from the end: what follows status in a body without final figures


def _decoder(text: str = TEXT) -> Decoder:
    return Decoder(lambda _: text)


def _step(**values: Any) -> StepCompleted:
    fields = {"run_id": "r", "source_id": "s", "seq": 0, "timestamp": TIMESTAMP, "cumulative_energy_kwh": 0.5}
    return StepCompleted(**{**fields, **values})


def test_a_message_is_five_bytes_and_the_body() -> None:
    """The Confluent wire format: zero, the id big-endian, the body."""
    assert frame(258, b"body") == b"\x00\x00\x00\x01\x02body"
    assert unframe(b"\x00\x00\x00\x01\x02body") == (258, b"body")
    assert unframe(b"\x00\xff\xff\xff\xff") == (2**32 - 1, b"")


def test_event_and_datum_are_two_views_of_one_message() -> None:
    """`event` gives the newest dataclass, `datum` the writer's fields with record name and schema id."""
    message = frame(12, encode_body(FINISHED))
    assert _decoder().event(message) == FINISHED
    assert _decoder().datum(message) == Datum("RunFinished", 12, FINISHED.to_avro())


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (None, "no_value"),
        (b"", "short_frame"),
        (b"\x00\x00\x00\x01", "short_frame"),
        (b"\x01\x00\x00\x00\x01body", "wrong_magic_byte"),
        (b'{"run_id": 1}', "wrong_magic_byte"),
        (frame(1, encode_body(FINISHED)[:-1]), "truncated"),
        (frame(1, b""), "truncated"),
        (frame(1, b"\x02r\x02s\x06\x80"), "truncated"),  # inside a number
        (frame(1, encode_body(FINISHED) + b"\x00"), "trailing_bytes"),
        (frame(1, b"\x04\xff\xff" + encode_body(FINISHED)[2:]), "undecodable"),  # no UTF-8
        (frame(1, b"\x02r\x02s\x06" + b"\xff" * 9 + b"\x01"), "undecodable"),  # a time before the year 1
    ],
)
def test_each_refusal_has_its_reason(message: bytes | None, reason: str) -> None:
    """The reason codes are stable: rejected events are grouped by them. Both ways of reading agree."""
    for read in (_decoder().event, _decoder().datum):
        with pytest.raises(ContractError) as caught:
            read(message)
        assert caught.value.reason == reason
        assert str(caught.value) == f"{reason}: {caught.value.detail}"


def test_an_unknown_enum_index_is_undecodable() -> None:
    """A symbol that the writer's schema does not have is damage."""
    body = bytearray(encode_body(FINISHED))
    assert body[STATUS_OFFSET] == 2  # FAILED, the second symbol, zigzag
    body[STATUS_OFFSET] = 8
    with pytest.raises(ContractError, match=r"^undecodable: wattline\.events\.RunFinished"):
        _decoder().datum(frame(1, bytes(body)))


def test_the_wrong_magic_byte_is_named_as_it_is() -> None:
    """255 is 255, not -1."""
    with pytest.raises(ContractError, match="the first byte is 255"):
        unframe(b"\xff\x00\x00\x00\x01")


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "null",
        "5",
        "{}",
        "[]",
        '"string"',
        '["null", "string"]',
        '{"type": "record"}',
        '{"type": "record", "name": "RunFinished", "fields": []}',  # without our namespace
        '{"type": "record", "name": "Other", "namespace": "wattline.events", "fields": []}',
        '{"type": "enum", "name": "RunFinished", "namespace": "wattline.events", "symbols": ["A"]}',
        '{"type": "fixed", "name": "RunFinished", "namespace": "wattline.events", "size": 1}',
        '{"type": "record", "name": "wattline.events.RunFinished", "fields": [{"name": "a", "type": "nope"}]}',
    ],
)
def test_a_schema_that_is_none_of_ours_is_foreign(text: str) -> None:
    """Whatever a registry holds under an id, only our records are read."""
    for read in (_decoder(text).event, _decoder(text).datum):
        with pytest.raises(ContractError) as caught:
            read(frame(9, encode_body(FINISHED)))
        assert caught.value.reason == "foreign_schema"
        assert "9" in caught.value.detail


@pytest.mark.parametrize(
    "values",
    [
        {"run_id": None},
        {"run_id": b"bytes"},
        {"run_id": "\ud800"},
        {"seq": 1.5},
        {"seq": None},
        {"seq": 2**63},
        {"steps_covered": 2**31},
        {"steps_covered": -(2**31) - 1},
        {"epoch": 2**31},
        {"epoch": 1.5},
        {"timestamp": 5},
        {"timestamp": datetime.datetime(2026, 3, 1)},  # noqa: DTZ001  # that it names no zone is the point
        {"simulated": "no"},
        {"loss": "0.4"},
        {"metrics": {"top5": None}},
        {"metrics": {5: 0.9}},
        {"metrics": None},
        {"cumulative_energy_kwh": None},
        {"cumulative_energy_kwh": 10**400},
    ],
    ids=str,
)
def test_what_does_not_fit_its_field_is_not_encodable(values: dict[str, Any]) -> None:
    """Nothing is truncated, overflowed or guessed on its way into a message."""
    with pytest.raises(ContractError) as caught:
        encode_body(_step(**values))
    assert caught.value.reason == "not_encodable"
    assert StepCompleted.AVRO_NAME in caught.value.detail


def test_a_symbol_of_no_enum_is_not_encodable() -> None:
    """An enum's field takes the enum's members only."""
    with pytest.raises(ContractError, match="not_encodable"):
        encode_body(RunFinished(**{**_header(), "status": "PAUSED"}))


def _header() -> dict[str, Any]:
    return {"run_id": "r", "source_id": "s", "seq": 0, "timestamp": TIMESTAMP, "source_energy_kwh": 0.0}


def test_numbers_at_their_bounds_are_encoded() -> None:
    """The bounds themselves fit; an int is fine for a double; another zone's time is the same moment."""
    zone = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
    event = _step(seq=2**63 - 1, steps_covered=2**31 - 1, epoch=-(2**31), loss=1, timestamp=TIMESTAMP.astimezone(zone))
    found = _decoder(VERSIONS[StepCompleted.AVRO_NAME][-1]).event(frame(1, encode_body(event)))
    assert found == event
    assert found.timestamp.tzinfo is datetime.UTC


def test_an_older_writer_is_read_with_defaults() -> None:
    """An event of a version that lacked fields reads as today's dataclass, their defaults filled in."""
    old = json.loads(TEXT)
    old["fields"] = [entry for entry in old["fields"] if "default" not in entry]
    body = b"\x02r\x02s\x06" + b"\x00" + b"\x00" * 8
    event = _decoder(json.dumps(old)).event(frame(1, body))
    assert event == RunFinished(run_id="r", source_id="s", seq=3, timestamp=EPOCH, source_energy_kwh=0.0)
    assert set(_decoder(json.dumps(old)).datum(frame(1, body)).fields) == {entry["name"] for entry in old["fields"]}


def test_an_older_writer_without_a_time_is_read_with_epoch() -> None:
    """The default of a time is a time."""
    (text,) = VERSIONS["wattline.events.WindowAggregated"][-1:]
    old = json.loads(text)
    old["fields"] = [entry for entry in old["fields"] if "default" not in entry]
    event = _decoder(json.dumps(old)).event(frame(1, b"\x02r\x02s\x00\x00" + b"\x00" * 64))
    assert event.to_avro()["window_start"] == EPOCH


def test_a_newer_writer_is_read_without_its_additions() -> None:
    """Fields and symbols that we do not know yet do no harm."""
    new = json.loads(TEXT)
    new["fields"].append({"name": "carbon_offset_kg", "type": "double", "default": 0.0})
    event = _decoder(json.dumps(new)).event(frame(1, encode_body(FINISHED) + b"\x00" * 8))
    assert event == FINISHED


def test_a_schema_is_asked_for_once_an_id() -> None:
    """The registry is asked once for each id, however many messages come."""
    asked: list[int] = []

    def schema_text(schema_id: int) -> str:
        asked.append(schema_id)
        return TEXT

    decoder = Decoder(schema_text)
    for schema_id in (1, 2, 1, 2, 1):
        decoder.event(frame(schema_id, encode_body(FINISHED)))
        decoder.datum(frame(schema_id, encode_body(FINISHED)))
    assert asked == [1, 2]


def test_what_the_source_of_schemas_raises_passes_through_and_is_not_kept() -> None:
    """A registry that is away is no bad input, and the next message asks again."""
    answers: list[Any] = [RegistryUnavailableError("away"), TEXT]

    def schema_text(_: int) -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    decoder = Decoder(schema_text)
    with pytest.raises(RegistryUnavailableError):
        decoder.event(frame(1, encode_body(FINISHED)))
    assert decoder.event(frame(1, encode_body(FINISHED))) == FINISHED


def test_reading_leaves_the_newest_schema_as_it_was() -> None:
    """The reader's schema with a default EPOCH is a copy: writers keep the plain one."""
    before = copy.deepcopy(newest_schema("wattline.events.WindowAggregated"))
    test_an_older_writer_without_a_time_is_read_with_epoch()
    assert newest_schema("wattline.events.WindowAggregated") == before
