"""Each promise in docs/guarantees.md names tests, and each of them exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.docs.promises import links

PAGE = Path(__file__).parents[3] / "docs" / "guarantees.md"
CAMPAIGN = "## The fault campaign\n"  # its table is of faults: tests/faults/test_campaign.py


def _promises() -> list[str]:
    text, _, _ = PAGE.read_text(encoding="utf-8").partition(CAMPAIGN)
    return [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| promise |")]


def test_there_are_promises() -> None:
    """Each row of the tables is looked at."""
    assert len(_promises()) > 30


@pytest.mark.parametrize("promise", _promises(), ids=lambda row: str(row)[2:60])
def test_a_promise_names_tests_that_exist(promise: str) -> None:
    """A file of tests, and the test in it where one is named."""
    found = list(links(promise.rsplit(" | ", 1)[-1], PAGE))
    assert found, "no test is named"
    assert [link.text for link in found if not link.exists] == []
