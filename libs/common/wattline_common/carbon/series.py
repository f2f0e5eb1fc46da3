"""Grid intensities of one's own: a CSV file with a series in time, or with a table of zones."""

from __future__ import annotations

import bisect
import csv
import datetime
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wattline_common.carbon import GridIntensity, IntensitySource
from wattline_common.errors import ConfigurationError
from wattline_common.events import GridIntensityKind

__all__ = ["HOLDS_FOR", "IntensitySeries", "intensity", "parse_moment", "read_file"]

HOLDS_FOR = datetime.timedelta(hours=1)
"""How long a value of a series is true when no later one follows."""
_VALUE, _MOMENT, _ZONE = "grid_intensity_g_per_kwh", "datetime_utc", "zone"


@dataclass(frozen=True)
class IntensitySeries:
    """Intensities from their moments on, each until the next, for an hour at most; ``elsewhere`` prices the rest."""

    moments: Sequence[datetime.datetime]
    values: Sequence[GridIntensity]
    elsewhere: GridIntensity

    def at(self, moment: datetime.datetime) -> GridIntensity:
        """Return the intensity of a moment."""
        index = bisect.bisect_right(self.moments, moment) - 1
        if index < 0 or moment - self.moments[index] >= HOLDS_FOR:
            return self.elsewhere
        return self.values[index]


def parse_moment(text: str) -> datetime.datetime:
    """Return the UTC time of an ISO 8601 text, ``Z`` or an offset or neither (then it is UTC); raise `ValueError`."""
    moment = datetime.datetime.fromisoformat(text.strip().replace("Z", "+00:00").replace("z", "+00:00"))
    utc = datetime.timezone.utc
    return moment.replace(tzinfo=utc) if moment.tzinfo is None else moment.astimezone(utc)


def intensity(value: object) -> float:
    """Return a value as an intensity; raise `ValueError` when it is none."""
    if isinstance(value, str | int | float):
        number = float(value)
        if math.isfinite(number) and number >= 0:
            return number
    raise ValueError(f"{value!r} is no number of at least 0")


def read_file(path: Path, zone: str, elsewhere: GridIntensity) -> IntensitySource:
    """Return the source that a CSV file holds for a zone; raise `ConfigurationError` naming file, line and remedy.

    With a column ``datetime_utc`` it is a series (hourly or finer), else a table of zones; both have
    ``grid_intensity_g_per_kwh`` and may have ``zone``, ``source``, ``year``, ``kind`` and ``licence``. Rows of other
    zones are left out.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeError, csv.Error) as error:
        raise ConfigurationError(f"the file of grid intensities {path} cannot be read: {error}") from error
    columns = set(rows[0]) if rows else set()
    if _VALUE not in columns or not columns & {_MOMENT, _ZONE}:
        raise ConfigurationError(
            f"the file of grid intensities {path} needs a column {_VALUE}, and "
            f"{_MOMENT} (a series) or {_ZONE} (a table)"
        )
    found = list(_parsed(path, rows, zone))
    if not found:
        raise ConfigurationError(f"the file of grid intensities {path} has no row of zone {zone!r}")
    if _MOMENT not in columns:
        return found[-1][1]
    found.sort(key=lambda entry: entry[0])
    return IntensitySeries([moment for moment, _ in found], [value for _, value in found], elsewhere)


def _parsed(
    path: Path, rows: Iterable[Mapping[str, str]], zone: str
) -> Iterable[tuple[datetime.datetime, GridIntensity]]:
    timeless = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    for line, row in enumerate(rows, start=2):
        if _ZONE in row and (row[_ZONE] or "").strip().upper() != zone.upper():
            continue
        try:
            moment = parse_moment(row[_MOMENT]) if _MOMENT in row else timeless
            yield moment, _intensity(row, zone, path, moment.year if _MOMENT in row else None)
        except (ValueError, TypeError, AttributeError) as error:  # None where a row is too short
            raise ConfigurationError(f"line {line} of {path} is wrong: {error}") from error


def _intensity(row: Mapping[str, str], zone: str, path: Path, year: int | None) -> GridIntensity:
    found = GridIntensity(
        zone=zone,
        name=zone,
        g_per_kwh=intensity(row[_VALUE]),
        year=int(row["year"]) if row.get("year") else year,
        source=(row.get("source") or path.name)[:200],
    )
    kind = (row.get("kind") or "UNKNOWN").strip().upper()
    return replace(found, kind=GridIntensityKind(kind), licence=row.get("licence") or "unknown")
