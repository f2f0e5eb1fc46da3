"""A name is found in any message that has it as a whole text, readable or not, and in no other."""

from __future__ import annotations

import io
import json

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.events import sample
from wattline_common.codec import encode_body, frame
from wattline_streaming.mentions import Mentions

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300)


@given(NAMES, NAMES)
def test_a_field_is_found_and_so_is_what_follows_its_length(name: str, other: str) -> None:
    """Whatever the name is made of, and however long: Avro's own writer is the judge."""
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, "string", other)
    fastavro.schemaless_writer(buffer, "string", name)
    assert Mentions(names=[name]).by_name(buffer.getvalue())


@pytest.mark.parametrize(
    ("text", "is_named"),
    [
        ("ada", True),
        ('{"user_id": "ada", "loss": 1}', True),
        ("user=ada;", True),
        ("ada lovelace", True),
        ("adamant", False),
        ("canada", False),
        ("ada_2", False),
        ("ada-laptop", False),
        ("adaé", False),
        ("", False),
    ],
)
def test_in_other_texts_it_is_a_word(text: str, is_named: bool) -> None:
    """A text that merely contains a short name is another one's."""
    assert Mentions(names=["ada"]).by_name(text.encode()) is is_named
    assert Mentions(names=["ada"]).by_name(json.dumps(text, ensure_ascii=False).encode()) is is_named


def test_an_event_is_found_by_user_run_and_key() -> None:
    """Also when its end is cut off."""
    value = frame(1, encode_body(sample(run_id="run-1", user_id="ada")))[:-20]
    assert Mentions(names=["ada"]).in_message(None, value)
    assert Mentions(runs=["run-1"]).in_message(None, value)
    assert Mentions(runs=["run-1"]).in_message(b"run-1", None)
    assert Mentions(runs=["run-1"]).in_key(b"run-1|2026-03-01T12:00:00Z|60")
    assert Mentions(names=["ada"]).in_message(None, None, [("who", b"ada"), ("none", None)])
    for others in (Mentions(names=["bob"]), Mentions(runs=["run-2", "run"]), Mentions()):
        assert not others.in_message(b"run-1", value, [("who", b"ada")])
    assert not Mentions(runs=["run-1"]).by_name(value), "that looks for users alone"
