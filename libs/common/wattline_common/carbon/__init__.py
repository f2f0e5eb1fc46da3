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
    text = resources.files(__name__).joinpath("grid_intensity.csv").read_text(encoding="utf-8")
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
        for row in csv.DictReader(text.splitlines())
    }


def grid_intensity(region_iso: str) -> GridIntensity:
    """Return the intensity of a region: its own, else its country's, else the world's (then ``zone`` is WORLD).

    ``region_iso`` is ISO 3166-1 alpha-3 (``FRA``) or ISO 3166-2 (``US-CA``), in any case.
    """
    code = region_iso.strip().upper()
    table = zones()
    if code in table:
        return table[code]
    # The only ISO 3166-2 entries are the states of the USA; a territory missing there still is the USA.
    return table["USA"] if code.startswith("US-") else table[WORLD]


def emissions_kg(energy_kwh: float, *, pue: float, grid_intensity_g_per_kwh: float) -> float:
    """Return kg CO2e of an IT energy in kWh: energy times PUE times intensity (g/kWh) over 1000."""
    return energy_kwh * pue * grid_intensity_g_per_kwh / 1000.0
