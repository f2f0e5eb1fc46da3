"""What an amount of energy or emissions is comparable to: each with its factor, unit, year and source; pure.

Optional, as they explain and do not measure. Each factor is used once, by one multiplication, and tested.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from wattline_dashboard.formats import duration, plain

__all__ = ["EQUIVALENTS", "Equivalent", "equivalents_table"]

_SECONDS = {"days": 86_400.0, "hours": 3_600.0}


@dataclass(frozen=True, slots=True)
class Equivalent:
    """One comparison: how much of something there is to a kWh or a kg."""

    name: str
    unit: str
    per_unit: float  # kWh, or kg CO2e, of one unit
    is_of_energy: bool
    factor: str  # in words
    year: str
    source: str

    def amount(self, energy_kwh: float, emissions_kg: float) -> float:
        """Return how many units an amount comes to."""
        return (energy_kwh if self.is_of_energy else emissions_kg) / self.per_unit

    def words(self, energy_kwh: float, emissions_kg: float) -> str:
        """Return the same in words: ``12.34 km``, ``3 h 05 min``."""
        amount = self.amount(energy_kwh, emissions_kg)
        return duration(amount * _SECONDS[self.unit]) if self.unit in _SECONDS else f"{plain(amount)} {self.unit}"


EQUIVALENTS: Sequence[Equivalent] = (
    Equivalent(
        name="driving a new car of average emissions",
        unit="km",
        per_unit=0.1068,
        is_of_energy=False,
        factor="106.8 g CO₂ a km, tailpipe only, by type approval (WLTP)",
        year="2024, provisional",
        source="European Environment Agency: new cars registered in the EU, Iceland and Norway",
    ),
    Equivalent(
        name="the electricity of an average dwelling",
        unit="days",
        per_unit=3_600.0 / 365.0,
        is_of_energy=True,
        factor="3.6 MWh a year and dwelling, EU-27",
        year="edition of November 2025",
        source="Odyssee-Mure: electricity consumption per dwelling",
    ),
    Equivalent(
        name="a lamp of 10 W",
        unit="hours",
        per_unit=0.01,
        is_of_energy=True,
        factor="10 W is 0.01 kWh an hour",
        year="always",
        source="arithmetic",
    ),
)
"""The comparisons that are offered."""


def equivalents_table(energy_kwh: float, emissions_kg: float) -> pd.DataFrame:
    """Return the comparisons of an amount, with what each was computed by."""
    return pd.DataFrame(
        [
            {
                "Comparable to": each.name,
                "Amount": each.words(energy_kwh, emissions_kg),
                "Of": "energy" if each.is_of_energy else "emissions",
                "Factor": each.factor,
                "Year": each.year,
                "Source": each.source,
            }
            for each in EQUIVALENTS
        ]
    )
