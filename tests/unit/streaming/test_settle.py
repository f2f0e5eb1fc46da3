"""Promises of how the settler reads: every window is covered, and long gaps are not read."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from wattline_streaming.settle import _stretches

MINUTE_US = 60_000_000


@given(st.sets(st.integers(0, 3000).map(lambda minute: minute * MINUTE_US)))
def test_stretches_cover_every_window_once_and_skip_long_gaps(starts: set[int]) -> None:
    """Each window lies whole in exactly one stretch, and no stretch holds a gap of more than an hour."""
    stretches = list(_stretches(starts))
    for start in starts:
        assert sum(first <= start and start + MINUTE_US <= last for first, last in stretches) == 1
    for first, last in stretches:
        inside = sorted(start for start in starts if first <= start < last)
        assert (inside[0], inside[-1] + MINUTE_US) == (first, last)
        assert all(after - before <= 3600_000_000 for before, after in itertools.pairwise(inside))
