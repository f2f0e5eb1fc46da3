"""Whatever arrives is decoded or refused with a `ContractError`: no bytes may stop a reader."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.contract.strategies import FULL_NAMES, data, schema_versions
from wattline_common.codec import Decoder, encode_body, frame
from wattline_common.errors import ContractError
from wattline_common.events import EVENT_TYPES
from wattline_common.schemas import VERSIONS

NEWEST = {name: schemas[-1] for name, schemas in schema_versions().items()}
IDS = dict(enumerate(FULL_NAMES))


def _schema_text(schema_id: int) -> str:
    try:
        return VERSIONS[IDS[schema_id]][-1]
    except KeyError:
        raise ContractError("unknown_schema_id", str(schema_id)) from None


DECODER = Decoder(_schema_text)


def _message_of(schema_id: int, datum: dict[str, Any]) -> bytes:
    return frame(schema_id, encode_body(EVENT_TYPES[IDS[schema_id].rpartition(".")[2]].from_avro(datum)))


MESSAGES = st.sampled_from(sorted(IDS)).flatmap(
    lambda schema_id: data(NEWEST[IDS[schema_id]]).map(lambda datum: _message_of(schema_id, datum))
)


def refusal(message: bytes | None) -> str | None:
    """Return why both ways of reading refuse a message, or None; any error but `ContractError` passes through."""
    reasons: list[str | None] = []
    for read in (DECODER.datum, DECODER.event):
        try:
            read(message)
            reasons.append(None)
        except ContractError as error:
            reasons.append(error.reason)
    assert reasons[0] == reasons[1], "datum and event disagree"
    return reasons[0]


@given(message=st.binary(max_size=400))
@example(message=b"")
@example(message=b"\0")
@example(message=b"\0\0\0\0\0")
def test_any_bytes_are_decoded_or_refused(message: bytes) -> None:
    """Noise from a foreign producer raises nothing but ContractError."""
    refusal(message)


@given(schema_id=st.sampled_from(sorted(IDS)), body=st.binary(max_size=400))
def test_any_body_behind_a_known_id_is_decoded_or_refused(schema_id: int, body: bytes) -> None:
    """A right frame around noise raises nothing but ContractError."""
    refusal(frame(schema_id, body))


@given(message=MESSAGES, draw=st.data())
def test_a_message_with_changed_bytes_is_decoded_or_refused(message: bytes, draw: st.DataObject) -> None:
    """Changed lengths, counts, union branches and text raise nothing but ContractError."""
    damaged = bytearray(message)
    for _ in range(draw.draw(st.integers(1, 4))):
        damaged[draw.draw(st.integers(0, len(damaged) - 1))] = draw.draw(st.integers(0, 255))
    refusal(bytes(damaged))


@given(message=MESSAGES, draw=st.data())
def test_a_truncated_message_is_refused(message: bytes, draw: st.DataObject) -> None:
    """No beginning of a message passes for a message."""
    cut = draw.draw(st.integers(0, len(message) - 1))
    assert refusal(message[:cut]) in {"short_frame", "truncated"}


@pytest.mark.parametrize("schema_id", sorted(IDS), ids=IDS.get)
@settings(max_examples=settings().max_examples // 20)  # each tries hundreds of cuts
@given(draw=st.data())
def test_a_message_cut_anywhere_is_refused(schema_id: int, draw: st.DataObject) -> None:
    """The same at each and every byte of a message."""
    message = _message_of(schema_id, draw.draw(data(NEWEST[IDS[schema_id]])))
    reasons = {refusal(message[:cut]) for cut in range(5, len(message))}
    assert reasons == {"truncated"}


@given(message=MESSAGES, more=st.binary(min_size=1, max_size=40))
def test_appended_bytes_are_refused(message: bytes, more: bytes) -> None:
    """A body that does not end where its schema says was written by another schema."""
    assert refusal(message + more) == "trailing_bytes"


@given(schema_id=st.sampled_from(sorted(IDS)), magic=st.integers(1, 255), body=st.binary(max_size=40))
def test_another_magic_byte_is_refused(schema_id: int, magic: int, body: bytes) -> None:
    """Only a zero byte starts a message."""
    assert refusal(bytes([magic]) + frame(schema_id, body)[1:]) == "wrong_magic_byte"


@given(schema_id=st.integers(len(IDS), 2**32 - 1), body=st.binary(max_size=40))
def test_an_unknown_id_is_refused(schema_id: int, body: bytes) -> None:
    """What the source of schemas raises for an unknown id passes through."""
    assert refusal(frame(schema_id, body)) == "unknown_schema_id"


def test_a_message_without_a_value_is_refused() -> None:
    """A tombstone is no event."""
    assert refusal(None) == "no_value"
