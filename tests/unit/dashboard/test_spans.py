"""Months, quarters and years by a clock, and the pieces of UTC that they are made of."""

from __future__ import annotations

import datetime
import zoneinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline_dashboard.spans import KINDS_OF_SPAN, Span, pieces

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia")
HOUR, DAY = datetime.timedelta(hours=1), datetime.timedelta(days=1)
MOMENTS = st.integers(20 * 366, 90 * 365).flatmap(
    lambda day: st.integers(0, 86_399).map(
        lambda second: datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(day, second)
    )
)


@given(st.sampled_from(list(KINDS_OF_SPAN)), MOMENTS, st.sampled_from(ZONES).map(zoneinfo.ZoneInfo))
def test_a_span_holds_its_moment_and_its_key_names_it(
    kind: str, moment: datetime.datetime, zone: zoneinfo.ZoneInfo
) -> None:
    """Every moment is in one span of each kind; spans follow each other without a gap."""
    span = Span.of(kind, moment, zone)
    assert span.since(zone) <= moment < span.until(zone)
    assert Span.from_key(span.key) == span
    assert span.shifted(1).since(zone) == span.until(zone)
    assert span.shifted(-1).shifted(1) == span


@pytest.mark.parametrize(
    "text", [None, "", "2026-13", "2026-00", "2026-Q5", "26-01", "0001", "9999-12", "2026-1", "2026-Q1x", "$2026"]
)
def test_nonsense_names_no_span(text: str | None) -> None:
    """A URL is untrusted."""
    assert Span.from_key(text) is None


def test_months_begin_by_the_viewers_clock() -> None:
    """November in Berlin begins an hour before that of UTC, and summer time begins inside March."""
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    november, march = Span("month", 2026, 11), Span("month", 2026, 3)
    assert november.since(berlin) == datetime.datetime(2026, 10, 31, 23, tzinfo=datetime.UTC)
    assert march.until(berlin) - march.since(berlin) == 31 * DAY - HOUR
    assert (november.label, Span("quarter", 2026, 10).label, Span("year", 2026, 1).label) == (
        "November 2026",
        "Q4 2026",
        "2026",
    )


@given(st.sampled_from(list(KINDS_OF_SPAN)), MOMENTS, st.sampled_from(ZONES).map(zoneinfo.ZoneInfo), st.integers(1, 3))
def test_pieces_hold_every_minute_of_the_spans_once(
    kind: str, moment: datetime.datetime, zone: zoneinfo.ZoneInfo, count: int
) -> None:
    """Days, hours and minutes fill all the time between the boundaries, and no boundary is inside one."""
    spans = [Span.of(kind, moment, zone).shifted(number) for number in range(count)]
    boundaries = [span.since(zone) for span in spans] + [spans[-1].until(zone)]
    parts = pieces(boundaries)
    days = []
    day = parts.days[0]
    while day < parts.days[1]:
        days += [] if day in parts.cut_days else [(day, day + DAY)]
        day += DAY
    stretches = sorted([*days, *((hour, hour + HOUR) for hour in parts.hours), *parts.minutes])
    at = boundaries[0]
    for since, until in stretches:
        assert since == at, "a gap, or twice the same time"
        assert not any(since < boundary < until for boundary in boundaries)
        at = until
    assert at == boundaries[-1]
    assert len(parts.minutes) == 0 or zone.key not in ("UTC", "Europe/Berlin", "America/New_York")
