"""Event time follows the monotonic clock, whatever happens to the wall clock."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline.clock import SystemClock


class _Wall(datetime.datetime):
    """A wall clock that is set back by a day after its first reading."""

    readings = 0

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:  # type: ignore[override]  # a plain datetime
        cls.readings += 1
        return datetime.datetime(2026, 1, 2 if cls.readings == 1 else 1, tzinfo=tz)


def test_a_wall_clock_that_is_set_back_moves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timestamps come from the wall clock once; later ones add monotonic time."""
    monkeypatch.setattr("wattline.clock.datetime.datetime", _Wall)
    clock = SystemClock()
    first = clock.timestamp(clock.monotonic_s())
    later = clock.timestamp(clock.monotonic_s() + 60)
    assert datetime.timedelta(seconds=60) <= later - first < datetime.timedelta(seconds=70)
    assert first.date() == datetime.date(2026, 1, 2)


@given(st.lists(st.floats(0, 1e7), min_size=2, max_size=20).map(sorted))
def test_event_time_never_goes_back(readings: list[float]) -> None:
    """In the order of the monotonic clock, timestamps never fall, and they are UTC."""
    clock = SystemClock()
    start_s = clock.monotonic_s()
    timestamps = [clock.timestamp(start_s + reading) for reading in readings]
    assert timestamps == sorted(timestamps)
    assert all(timestamp.tzinfo is datetime.UTC for timestamp in timestamps)
