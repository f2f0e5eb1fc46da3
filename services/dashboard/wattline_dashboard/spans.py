"""Months, quarters and years by somebody's clock, and the whole days and hours of UTC that they are made of; pure."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["KINDS_OF_SPAN", "Pieces", "Span", "pieces"]

KINDS_OF_SPAN: Mapping[str, str] = {"month": "Month", "quarter": "Quarter", "year": "Year"}

_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_KEY = re.compile(r"(?P<year>\d{4})(-(?P<month>0[1-9]|1[0-2])|-Q(?P<quarter>[1-4]))?")
_FIRST_YEAR, _LAST_YEAR = 1971, 9998
_MONTH_NAMES = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_DAY, _HOUR = datetime.timedelta(days=1), datetime.timedelta(hours=1)
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True, slots=True)
class Span:
    """A calendar month, quarter or year; which moments it holds hangs on the zone."""

    kind: str  # of KINDS_OF_SPAN
    year: int
    first_month: int

    @classmethod
    def of(cls, kind: str, moment: datetime.datetime, zone: datetime.tzinfo) -> Span:
        """Return the span that holds a moment."""
        local = moment.astimezone(zone)
        length = _MONTHS[kind]
        return cls(kind, local.year, (local.month - 1) // length * length + 1)

    @classmethod
    def from_key(cls, text: str | None) -> Span | None:
        """Return what a key such as 2026-11, 2026-Q4 or 2026 names, or none where it names nothing."""
        found = _KEY.fullmatch(text or "")
        if found is None or not _FIRST_YEAR <= int(found["year"]) <= _LAST_YEAR:
            return None
        if found["month"]:
            return cls("month", int(found["year"]), int(found["month"]))
        if found["quarter"]:
            return cls("quarter", int(found["year"]), 3 * int(found["quarter"]) - 2)
        return cls("year", int(found["year"]), 1)

    @property
    def key(self) -> str:
        """How a URL names it."""
        match self.kind:
            case "month":
                return f"{self.year:04}-{self.first_month:02}"
            case "quarter":
                return f"{self.year:04}-Q{self.first_month // 3 + 1}"
        return f"{self.year:04}"

    @property
    def label(self) -> str:
        """What people call it."""
        match self.kind:
            case "month":
                return f"{_MONTH_NAMES[self.first_month - 1]} {self.year}"
            case "quarter":
                return f"Q{self.first_month // 3 + 1} {self.year}"
        return str(self.year)

    def shifted(self, spans: int) -> Span:
        """Return the span so many after this one, or before it."""
        months = self.year * 12 + self.first_month - 1 + spans * _MONTHS[self.kind]
        return Span(self.kind, months // 12, months % 12 + 1)

    def since(self, zone: datetime.tzinfo) -> datetime.datetime:
        """Return its first moment, in UTC."""
        return datetime.datetime(self.year, self.first_month, 1, tzinfo=zone).astimezone(datetime.UTC)

    def until(self, zone: datetime.tzinfo) -> datetime.datetime:
        """Return the first moment after it, in UTC."""
        return self.shifted(1).since(zone)


@dataclass(frozen=True, slots=True)
class Pieces:
    """What some spans in a row are made of: whole days, hours of the days that are cut, minutes of hours that are."""

    days: tuple[datetime.datetime, datetime.datetime]  # from the first on, before the second
    cut_days: tuple[datetime.datetime, ...]  # of which a span has a part only: their hours are taken instead
    hours: tuple[datetime.datetime, ...]
    minutes: tuple[tuple[datetime.datetime, datetime.datetime], ...]  # where a clock is not whole hours from UTC


def pieces(boundaries: Sequence[datetime.datetime]) -> Pieces:
    """Return the pieces between the first and the last boundary, so that no piece has a boundary inside."""
    first, last = boundaries[0], boundaries[-1]
    cut_days = sorted({_floor(each, _DAY) for each in boundaries if each != _floor(each, _DAY)})
    cut_hours = sorted({_floor(each, _HOUR) for each in boundaries if each != _floor(each, _HOUR)})
    hours = [
        hour
        for day in cut_days
        for hour in (day + number * _HOUR for number in range(24))
        if first <= hour and hour + _HOUR <= last and hour not in cut_hours
    ]
    minutes = [
        edges
        for hour in cut_hours
        for edges in pairwise(
            sorted({hour, hour + _HOUR, *(each for each in boundaries if hour < each < hour + _HOUR)})
        )
        if first <= edges[0] and edges[1] <= last
    ]
    return Pieces((_floor(first, _DAY), _floor(last, _DAY)), tuple(cut_days), tuple(hours), tuple(minutes))


def _cut(
    since: datetime.datetime, until: datetime.datetime, boundaries: Sequence[datetime.datetime]
) -> list[datetime.datetime]:
    return sorted({since, until, *(each for each in boundaries if since < each < until)})


def _floor(moment: datetime.datetime, length: datetime.timedelta) -> datetime.datetime:
    return moment - (moment - _EPOCH) % length
