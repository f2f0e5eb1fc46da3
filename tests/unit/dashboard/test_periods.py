"""Periods and bars on the viewer's clock."""

from __future__ import annotations

import datetime
import zoneinfo
from collections import Counter

import pytest

from wattline_dashboard.periods import PERIODS, Bar, bar_start, bar_starts, grain_s, open_stretches

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
KATHMANDU = zoneinfo.ZoneInfo("Asia/Kathmandu")
BACK = datetime.datetime(2026, 10, 25, tzinfo=BERLIN)  # 25 hours long
FORTH = datetime.datetime(2026, 3, 29, tzinfo=BERLIN)  # 23 hours long


def _quarters(day: datetime.datetime) -> list[datetime.datetime]:
    begin, end = day.astimezone(datetime.UTC), (day + datetime.timedelta(days=1)).astimezone(datetime.UTC)
    count = (end - begin) // datetime.timedelta(minutes=15)
    return [begin + datetime.timedelta(minutes=15 * number) for number in range(count)]


@pytest.mark.parametrize(("day", "hours", "bars"), [(BACK, 25, 24), (FORTH, 23, 23)])
def test_no_moment_is_lost_when_clocks_change(day: datetime.datetime, hours: int, bars: int) -> None:
    """The hour that comes twice is one bar of two hours, the one that does not come is none; a day is one bar."""
    moments = _quarters(day)
    assert len(moments) == 4 * hours
    by_hour = Counter(bar_start(moment, Bar.HOUR, BERLIN) for moment in moments)
    assert len(by_hour) == bars
    assert max(by_hour.values()) == (8 if hours == 25 else 4)
    assert set(by_hour) == set(bar_starts(moments[0], moments[-1], Bar.HOUR, BERLIN))
    assert {bar_start(moment, Bar.DAY, BERLIN) for moment in moments} == {day.replace(tzinfo=None)}


def test_days_are_the_viewers() -> None:
    """Half past eleven in the evening, UTC, is tomorrow in Berlin."""
    late = datetime.datetime(2026, 1, 1, 23, 30, tzinfo=datetime.UTC)
    assert bar_start(late, Bar.DAY, BERLIN).isoformat() == "2026-01-02T00:00:00"
    assert bar_start(late, Bar.DAY, datetime.UTC).isoformat() == "2026-01-01T00:00:00"
    assert bar_start(late, Bar.FIVE_MINUTES, BERLIN).isoformat() == "2026-01-02T00:30:00"


@pytest.mark.parametrize("zone", [datetime.UTC, BERLIN, KATHMANDU], ids=str)
@pytest.mark.parametrize("key", ["1h", "24h", "7d", "30d"])
def test_bars_cover_the_period(zone: datetime.tzinfo, key: str) -> None:
    """Every minute of a period, also one in which clocks change, has its bar, and the grain fits into the bars."""
    period, now = PERIODS[key], datetime.datetime(2026, 11, 2, 13, 7, 21, tzinfo=datetime.UTC)
    since = period.since(now)
    assert since is not None
    assert since.second == 0
    starts = bar_starts(since, now, period.bar, zone)
    assert starts == sorted(set(starts))
    step = datetime.timedelta(minutes=1 if key in ("1h", "24h") else 13)
    grain = datetime.timedelta(seconds=grain_s(period.bar, zone, since, now))
    moment = since
    while moment < now:
        own = bar_start(moment, period.bar, zone)
        assert own in starts
        epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
        assert bar_start(moment - (moment - epoch) % grain, period.bar, zone) == own
        moment += step


def test_grain_follows_the_zone() -> None:
    """Hours do where clocks differ by hours; a zone with quarters needs quarters."""
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    assert grain_s(Bar.HOUR, BERLIN, now) == grain_s(Bar.DAY, BERLIN, now) == 3_600
    assert grain_s(Bar.HOUR, KATHMANDU, now) == 900
    assert grain_s(Bar.FIVE_MINUTES, KATHMANDU, now) == 300


def test_all_has_no_start() -> None:
    """The period without a length asks for everything."""
    assert PERIODS["all"].since(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)) is None


def test_open_hours_are_those_no_rollup_can_tell() -> None:
    """The hours cut by the period's ends, the one that goes on, the unsettled ones; touching ones are one stretch."""
    now = datetime.datetime(2026, 11, 27, 10, 20, tzinfo=datetime.UTC)
    hour = datetime.timedelta(hours=1)
    begin, since = now - 48 * hour, now - 24 * hour
    unsettled = [now.replace(minute=0) - 5 * hour, now.replace(minute=0) - hour, now.replace(minute=0) - 90 * hour]
    assert open_stretches(begin, since, now, unsettled) == [
        (begin, begin.replace(minute=0) + hour),
        (since.replace(minute=0), since.replace(minute=0) + hour),
        (now.replace(minute=0) - 5 * hour, now.replace(minute=0) - 4 * hour),
        (now.replace(minute=0) - hour, now.replace(minute=0) + 2 * hour),
    ]
    assert open_stretches(None, None, now, []) == [(now.replace(minute=0), now.replace(minute=0) + 2 * hour)]
