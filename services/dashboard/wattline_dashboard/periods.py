"""The periods that the overview looks back on, and the bars into which the viewer's clock divides them; pure."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

__all__ = ["PERIODS", "Bar", "Period", "Stretch", "bar_start", "bar_starts", "grain_s", "open_stretches"]

Stretch = tuple[datetime.datetime, datetime.datetime]
"""From a moment, which is in it, to another, which is not."""

_HOUR_S = 3_600
_HOUR = datetime.timedelta(seconds=_HOUR_S)
_QUARTER_S = 900  # every zone's clock differs from UTC by whole quarters of an hour


class Bar(IntEnum):
    """What one bar stands for; its value is its length in seconds, but for the days when the clock is changed."""

    FIVE_MINUTES = 300
    HOUR = _HOUR_S
    DAY = 24 * _HOUR_S

    @property
    def words(self) -> str:
        """What one bar is called."""
        return {300: "5 minutes", _HOUR_S: "hour", 24 * _HOUR_S: "day"}[self.value]


@dataclass(frozen=True, slots=True)
class Period:
    """A length of time up to now; without a length, all there is."""

    key: str  # in the URL
    label: str
    length: datetime.timedelta | None
    bar: Bar

    @property
    def span(self) -> str:
        """What a period of this length is called in a sentence."""
        return self.label.removeprefix("last ")

    def since(self, now: datetime.datetime) -> datetime.datetime | None:
        """Return its start, on a full minute, as windows begin; none when it has none."""
        return None if self.length is None else now.replace(second=0, microsecond=0) - self.length


PERIODS: Mapping[str, Period] = {
    period.key: period
    for period in (
        Period("1h", "last hour", datetime.timedelta(hours=1), Bar.FIVE_MINUTES),
        Period("24h", "24 hours", datetime.timedelta(hours=24), Bar.HOUR),
        Period("7d", "7 days", datetime.timedelta(days=7), Bar.HOUR),
        Period("30d", "30 days", datetime.timedelta(days=30), Bar.DAY),
        Period("all", "all", None, Bar.DAY),
    )
}
"""Every period by its key, the shortest first."""


def grain_s(bar: Bar, zone: datetime.tzinfo, *moments: datetime.datetime) -> int:
    """Return how finely windows must be added up so that bars of a zone's clock can be made of them.

    An hour will do where the clock is whole hours from UTC at both ends of the period.
    """
    if bar is Bar.FIVE_MINUTES:
        return bar.value
    offsets = (moment.astimezone(zone).utcoffset() or datetime.timedelta() for moment in moments)
    return _QUARTER_S if any(offset.total_seconds() % _HOUR_S for offset in offsets) else _HOUR_S


def open_stretches(
    begin: datetime.datetime | None,
    since: datetime.datetime | None,
    now: datetime.datetime,
    unsettled: Iterable[datetime.datetime],
) -> list[Stretch]:
    """Return the hours, where they touch as one, whose windows must be read themselves and not their rollups.

    Those are the hours in which the looking back begins and in which the period does, the one that goes on, and the
    unsettled ones. What is before ``begin`` is cut off.
    """
    last = now.replace(minute=0, second=0, microsecond=0)
    ends = [moment.replace(minute=0, second=0, microsecond=0) for moment in (begin, since) if moment is not None]
    hours = {last, last + _HOUR, *ends, *unsettled}  # the one to come, as a clock may be ahead of ours
    stretches: list[Stretch] = []
    for hour in sorted(hours):
        if begin is not None and hour + _HOUR <= begin:
            continue
        start = hour if begin is None else max(hour, begin)
        if stretches and stretches[-1][1] == start:
            stretches[-1] = (stretches[-1][0], hour + _HOUR)
        else:
            stretches.append((start, hour + _HOUR))
    return stretches


def bar_start(moment: datetime.datetime, bar: Bar, zone: datetime.tzinfo) -> datetime.datetime:
    """Return where the bar that holds a moment begins on the viewer's wall clock, without a zone.

    When clocks are put back, the hour that comes twice is one bar of two hours, and that day one of 25.
    """
    wall = moment.astimezone(zone).replace(tzinfo=None, fold=0, second=0, microsecond=0)
    if bar is Bar.FIVE_MINUTES:
        return wall.replace(minute=wall.minute // 5 * 5)
    return wall.replace(minute=0) if bar is Bar.HOUR else wall.replace(hour=0, minute=0)


def bar_starts(
    since: datetime.datetime, until: datetime.datetime, bar: Bar, zone: datetime.tzinfo
) -> list[datetime.datetime]:
    """Return the starts of all bars that a period touches, in order: those in which nothing ran too."""
    step = datetime.timedelta(seconds=min(bar.value, 6 * _HOUR_S) // (1 if bar is Bar.FIVE_MINUTES else 4))
    starts: dict[datetime.datetime, None] = {}
    moment = since
    while moment < until:
        starts[bar_start(moment, bar, zone)] = None
        moment += step
    starts[bar_start(until - datetime.timedelta(microseconds=1), bar, zone)] = None
    return sorted(starts)
