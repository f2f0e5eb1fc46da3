"""Grams of CO2e per kWh of electricity: the packaged table by zone and its look-up. No network here, ever.

The table holds yearly means: countries from Our World in Data / Ember (CC BY 4.0), whose factors cover a plant's whole
life cycle; states of the USA from EPA eGRID2023 (lb/MWh times 0.45359237) and the world from the IEA, both of burning
alone.
"""

from __future__ import annotations

import csv
import datetime
import functools
from dataclasses import dataclass
from importlib import resources
from typing import Protocol

from wattline_common.events import GridIntensityKind

__all__ = ["WORLD", "GridIntensity", "IntensitySource", "emissions_kg", "grid_intensity", "zones"]

WORLD = "WORLD"


@dataclass(frozen=True, slots=True)
class GridIntensity:
    """Carbon intensity of one zone's grid, and where it comes from. As a source it is the same at every moment."""

    zone: str
    name: str
    g_per_kwh: float
    year: int | None
    source: str
    kind: GridIntensityKind = GridIntensityKind.UNKNOWN
    licence: str = "unknown"

    @property
    def label(self) -> str:
        """Zone, source and year in one line, as events carry it."""
        return f"{self.zone}: {self.source}" if self.year is None else f"{self.zone}: {self.source} {self.year}"

    def at(self, moment: datetime.datetime) -> GridIntensity:  # noqa: ARG002  # the interface
        """Return itself."""
        return self


class IntensitySource(Protocol):
    """What prices a kWh of each moment: a yearly mean, or a series."""

    def at(self, moment: datetime.datetime) -> GridIntensity:
        """Return the intensity at a moment (UTC). Never blocks, never raises."""
        ...


@functools.cache
def zones() -> dict[str, GridIntensity]:
    """Return the packaged table, zone code to intensity."""
    return {
        row["zone"]: GridIntensity(
            zone=row["zone"],
            name=row["name"],
            g_per_kwh=float(row["grid_intensity_g_per_kwh"]),
            year=int(row["year"]),
            source=row["source"],
            kind=GridIntensityKind(row["kind"]),
            licence=row["licence"],
        )
        for row in _rows("grid_intensity.csv")
    }


@functools.cache
def _countries() -> dict[str, str]:
    """Return three-letter codes of ISO 3166-1 by the two letters with which codes of ISO 3166-2 begin."""
    return {row["alpha_2"]: row["alpha_3"] for row in _rows("countries.csv")}


def _rows(name: str) -> csv.DictReader[str]:
    return csv.DictReader(resources.files(__name__).joinpath(name).read_text(encoding="utf-8").splitlines())


def grid_intensity(region_iso: str) -> GridIntensity:
    """Return the intensity of a region: its own, else its country's, else the world's (then ``zone`` is WORLD).

    ``region_iso`` is ISO 3166-1 alpha-3 (``FRA``) or ISO 3166-2 (``US-CA``), in any case. Of parts of countries the
    table has the states of the USA only, so ``DE-BY`` is priced as Germany; so are two letters alone (``DE``).
    """
    code = region_iso.strip().upper()
    table = zones()
    if code in table:
        return table[code]
    return table[_countries().get(code.partition("-")[0], WORLD)]


def emissions_kg(energy_kwh: float, *, pue: float, grid_intensity_g_per_kwh: float) -> float:
    """Return kg CO2e of an IT energy in kWh: energy times PUE times intensity (g/kWh) over 1000."""
    return energy_kwh * pue * grid_intensity_g_per_kwh / 1000.0
