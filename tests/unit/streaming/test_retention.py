"""Promises of retention's memory: exactly the events that were there are known, whichever were missing."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.events import START
from wattline_common.environment import Environment
from wattline_common.errors import ConfigurationError
from wattline_streaming.retention import after_retention, is_known, is_too_late, missing_ranges
from wattline_streaming.settings import StreamingSettings


def retention(seqs: set[int]) -> dict[str, Any]:
    """Return what is kept of a run whose one source had the numbers."""
    source = {"seq_max": max(seqs), "missing": missing_ranges(seqs, max(seqs))}
    return {"sources": {"source": source}, "began_at": START}


@given(st.sets(st.integers(0, 60), min_size=1))
def test_exactly_what_was_there_is_known(seqs: set[int]) -> None:
    """No number that was missing, beyond the highest, or of another source is taken for one that was counted."""
    kept = retention(seqs)
    assert {seq for seq in range(70) if is_known(kept, "source", seq)} == seqs
    assert not any(is_known(kept, "other", seq) for seq in seqs)


@given(st.sets(st.integers(0, 60), min_size=1))
def test_gaps_are_as_few_as_can_be(seqs: set[int]) -> None:
    """Each gap is whole: the numbers on both of its sides were there."""
    for first, last in missing_ranges(seqs, max(seqs)):
        assert first <= last
        assert first == 0 or first - 1 in seqs
        assert last + 1 in seqs


def test_only_events_of_closed_runs_come_too_late() -> None:
    """A run that is not closed takes everything, a closed one what it had already; the words name the setting."""
    closed = {"run": retention({0, 1, 3})}
    late = [
        (run_id, seq)
        for run_id in ("run", "open")
        for seq in range(5)
        if is_too_late(closed, {"run_id": run_id, "source_id": "source", "seq": seq})
    ]
    assert late == [("run", 2), ("run", 4)]
    assert "WATTLINE_RAW_RETENTION_DAYS" in after_retention(closed["run"])


def test_nothing_is_deleted_by_default() -> None:
    """Zero days are for ever; a fraction of a day is fine; what no calendar holds is refused by name."""

    def age(days: str) -> datetime.timedelta | None:
        return StreamingSettings.from_environment(Environment({"WATTLINE_RAW_RETENTION_DAYS": days})).raw_retention

    assert (age(""), age("0"), age("0.5")) == (None, None, datetime.timedelta(hours=12))
    for wrong in ("-1", "1e9", "long"):
        with pytest.raises(ConfigurationError, match="WATTLINE_RAW_RETENTION_DAYS"):
            age(wrong)
