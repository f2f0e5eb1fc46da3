"""A registry's schemas come from outside: none of them may exhaust whoever reads by it."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline_common.codec import Decoder, frame
from wattline_common.errors import ContractError
from wattline_common.readable import LONGEST_SCHEMA, parse_readable
from wattline_common.schemas import VERSIONS

NAME = "wattline.events.RunStarted"
EMPTY: dict[str, Any] = {"type": "record", "name": "Empty", "fields": []}
FIXED: dict[str, Any] = {"type": "fixed", "name": "Fixed"}


def _schema(kind: object) -> str:
    return json.dumps({"type": "record", "name": NAME, "fields": [{"name": "a", "type": kind}]})


def _nested(depth: int) -> Any:
    kind: Any = "int"
    for _ in range(depth):
        kind = {"type": "array", "items": kind}
    return kind


def _doubling(levels: int, leaf: object) -> Any:
    """Return a record whose values double with each level, in a text that grows by a line."""
    kind: Any = leaf
    for level in range(levels):
        inner = {"name": "a", "type": kind}
        kind = {"type": "record", "name": f"L{level}", "fields": [inner, {"name": "b", "type": _named(kind)}]}
    return kind


def _named(kind: Any) -> Any:
    return kind["name"] if isinstance(kind, dict) else kind


@pytest.mark.parametrize("full_name", sorted(VERSIONS))
def test_our_own_schemas_are_read(full_name: str) -> None:
    """Every released version."""
    for text in VERSIONS[full_name]:
        assert parse_readable(text)["name"] == full_name


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param(_schema(["null", NAME]), "holds itself", id="recursive"),
        pytest.param(
            _schema({"type": "record", "name": "X", "fields": [{"name": "x", "type": "X"}]}),
            "holds itself",
            id="endless",
        ),
        pytest.param(_schema({"type": "map", "values": NAME}), "holds itself", id="by a map"),
        pytest.param(_schema({"type": "array", "items": "null"}), "take no bytes", id="a list of nothings"),
        pytest.param(_schema({"type": "array", "items": EMPTY}), "take no bytes", id="a list of empty records"),
        pytest.param(
            _schema({"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}),
            "take no bytes",
            id="fixed 0",
        ),
        pytest.param(_schema(FIXED | {"size": -1}), "less than no bytes", id="fixed -1"),
        pytest.param(_schema(_nested(60)), "nested more than", id="deep"),
        pytest.param(_schema(_doubling(30, "null")), "more than 20000 values", id="doubling"),
        pytest.param("[" * 100_000, ".", id="endless JSON"),
        pytest.param('{"a":' * 100_000 + "1" + "}" * 100_000, ".", id="deep JSON"),
        pytest.param('"' + "x" * LONGEST_SCHEMA + '"', "characters", id="a megabyte"),
        pytest.param("9" * 5000, ".", id="a huge number"),
        pytest.param("NaN", ".", id="NaN"),
        pytest.param('{"type": ["record"], "name": "x", "fields": 5}', ".", id="types that are none"),
        pytest.param('{"type": "record", "name": ["x"], "fields": []}', ".", id="a name that is none"),
    ],
)
def test_what_could_exhaust_a_reader_is_refused(text: str, why: str) -> None:
    """Before a byte is read by it, whatever the bytes are; the reason names the schema, not the message."""
    with pytest.raises(ValueError, match=why):
        parse_readable(text)
    for body in (b"", b"\x02" * 100_000, b"\xfe\xff\xff\xff\x0f\x00"):
        with pytest.raises(ContractError, match="foreign_schema"):
            Decoder(lambda _: text).datum(frame(1, body))


_PIECES = st.recursive(
    st.sampled_from(["null", "int", "string", "bytes", "double", NAME, "Nobody", 5, None, EMPTY]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.builds(lambda items: {"type": "array", "items": items}, inner),
        st.builds(lambda values: {"type": "map", "values": values}, inner),
        st.builds(lambda kind: {"type": kind}, inner),
        st.builds(
            lambda name, kinds: {
                "type": "record",
                "name": name,
                "fields": [{"name": f"f{number}", "type": kind} for number, kind in enumerate(kinds)],
            },
            st.sampled_from(["A", "B", NAME]),
            st.lists(inner, max_size=3),
        ),
    ),
    max_leaves=12,
)


@given(kind=_PIECES, body=st.binary(max_size=60))
def test_any_schema_and_any_body_are_read_or_refused(kind: object, body: bytes) -> None:
    """Whatever stands in the registry under one of our records raises nothing but ContractError."""
    decoder = Decoder(lambda _: _schema(kind))
    for read in (decoder.datum, decoder.event):
        with contextlib.suppress(ContractError):
            read(frame(1, body))
