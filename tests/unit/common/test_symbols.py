"""Enums of texts print as their texts on every Python, so that no document or message depends on the interpreter."""

from __future__ import annotations

import json
import pickle

from wattline_common.events import Method


def test_a_member_is_its_text() -> None:
    """Equal, printed, formatted, in JSON, and through pickle."""
    assert Method.COUNTER == "COUNTER"
    assert f"{Method.COUNTER} {Method.COUNTER:>9} {Method.COUNTER!s}" == "COUNTER   COUNTER COUNTER"
    assert json.dumps([Method.COUNTER, str(Method.COUNTER)]) == '["COUNTER", "COUNTER"]'
    assert pickle.loads(pickle.dumps(Method.COUNTER)) is Method.COUNTER  # noqa: S301  # its own
    assert Method("COUNTER") is Method.COUNTER
    assert {Method.COUNTER: 1}["COUNTER"] == 1  # type: ignore[index]  # a text finds it
