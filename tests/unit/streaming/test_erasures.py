"""Digests tell who is erased to who has the key, and to nobody else."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from wattline_common.store import Document
from wattline_streaming.erasures import NOTHING, RUN, USER, Erasures, Found, Key, censored

NAMES = st.text(max_size=50)


class Remembered:
    """Remembers the same, whoever asks."""

    def __init__(self, found: Found) -> None:
        self._found = found

    def look_up(self, *_: object) -> Found:
        """Return it."""
        return self._found


@given(NAMES, NAMES)
def test_a_marker_is_of_one_kind_one_name_and_one_key(one: str, other: str) -> None:
    """The same again for the same, and nothing else has it; a pseudonym is stable, too, and no part of a marker."""
    key = Key(b"k" * 32)
    assert key.marker(USER, one) == Key(b"k" * 32).marker(USER, one)
    assert (key.marker(USER, one) == key.marker(USER, other)) is (one == other)
    assert key.marker(USER, one).split("|")[1] != key.marker(RUN, one).split("|")[1]
    assert key.marker(USER, one) != Key(b"l" * 32).marker(USER, one)
    assert key.pseudonym(one) == key.pseudonym(one)
    assert key.pseudonym(one).removeprefix("user-") not in key.marker(USER, one)
    assert key.check != Key(b"l" * 32).check


def test_a_key_is_not_told_by_its_text() -> None:
    """Neither in a log nor in a trace."""
    assert "secret" not in repr(Key(b"secret"))


def test_the_sink_gets_no_row_of_who_is_erased_and_no_name() -> None:
    """Rows of everybody else pass as they are, also those without a user."""
    written: list[Any] = []
    found = Found(runs=frozenset({"r"}), users=frozenset({"ada"}), pseudonyms={"bob": "user-1"})
    rows: list[Document] = [
        {"run_id": run_id, "user_id": user_id}
        for run_id, user_id in [("r", "eve"), ("s", "ada"), ("t", "bob"), ("u", None), ("v", "eve")]
    ]
    for remembered in (found, NOTHING):
        sink = censored(
            lambda some, settlements: written.append((some, settlements)), cast(Erasures, Remembered(remembered))
        )
        sink(rows, {"w": 1})
    assert written == [
        ([{"run_id": "t", "user_id": "user-1"}, rows[3], rows[4]], {"w": 1}),
        (rows, {"w": 1}),
    ]
    assert rows[2]["user_id"] == "bob", "the caller's rows are his own"
