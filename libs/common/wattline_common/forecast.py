"""What a run will have cost at its planned end, from what its epochs (or steps) cost so far. Pure.

Epochs are taken for a sample of equal ones: the rest costs its number times their mean, and the band is the two-sided
95 % prediction interval for a sum of future values of a normal distribution (Hahn and Meeker, Statistical Intervals),
widened by the band of the meters. A first epoch warms up (compilation, caches, data); it counts as spent, and once
there are three, no longer for the mean. Blocks of several steps count by their number of steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Forecast", "Forecaster", "Spent"]

# Student's t, 97.5 %, by degrees of freedom from 1; beyond the table the last value but one hardly differs from 1.96.
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131),
    *(2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
# Of one epoch nothing tells how the next will differ: the rest may be half or twice of what it says.
_ONE_LOW, _ONE_HIGH = 0.5, 2.0
_WITHOUT_WARM_UP = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Energy so far with its band, and what a further kWh emits."""

    energy_kwh: float
    energy_low_kwh: float
    energy_high_kwh: float
    emissions_kg: float
    kg_per_kwh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Energy and emissions of the whole run of this process, as expected at its planned end; bands of 95 %."""

    unit: str
    done: float
    planned: float
    energy_kwh: float
    energy_low_kwh: float
    energy_high_kwh: float
    emissions_kg: float
    """The rest at the last sample's grid intensity and PUE."""
    emissions_low_kg: float
    emissions_high_kg: float


@dataclass(slots=True)
class _Rate:
    """Weighted mean and spread of energy per unit, one block at a time (West's algorithm, which cancels nothing)."""

    blocks: int = 0
    units: float = 0.0
    mean_kwh: float = 0.0
    squares: float = 0.0

    def add(self, units: float, energy_kwh: float) -> None:
        per_unit = energy_kwh / units
        away = per_unit - self.mean_kwh
        self.blocks += 1
        self.units += units
        self.mean_kwh += away * units / self.units
        self.squares += units * away * (per_unit - self.mean_kwh)

    def rest_kwh(self, units: float) -> tuple[float, float, float]:
        """Return low, value and high of so many further units."""
        value = units * self.mean_kwh
        if self.blocks < 2:  # one value has no spread
            return value * _ONE_LOW, value, value * _ONE_HIGH
        variance = max(0.0, self.squares) / (self.blocks - 1)
        t = _T[min(self.blocks - 1, len(_T)) - 1]
        away = t * math.sqrt(variance * (units + units * units / self.units))
        return max(0.0, value - away), value, value + away


class Forecaster:
    """Takes the energy at each end of a block of epochs or steps; says what the planned number of them will cost."""

    def __init__(self, unit: str, planned: float) -> None:
        self._unit = unit
        self._planned = planned
        self._done = 0.0
        self._energy_kwh = 0.0
        self._all, self._warm = _Rate(), _Rate()

    def mark(self, done: float, energy_kwh: float) -> None:
        """Take how many units are done by now, and the energy since the start; what does not go on is left out."""
        units, part_kwh = done - self._done, energy_kwh - self._energy_kwh
        if not (math.isfinite(done) and math.isfinite(energy_kwh) and units > 0 and part_kwh >= 0):
            return
        if self._all.blocks:
            self._warm.add(units, part_kwh)
        self._all.add(units, part_kwh)
        self._done, self._energy_kwh = done, energy_kwh

    def forecast(self, spent: Spent) -> Forecast | None:
        """Return what the planned end will show; None before the first block, or without an energy."""
        if not self._all.blocks or spent.energy_kwh <= 0:
            return None
        rate = self._warm if self._all.blocks >= _WITHOUT_WARM_UP else self._all
        # The marks' energy, not the one spent by now, which is some way into the next block.
        low, rest, high = rate.rest_kwh(max(0.0, self._planned - self._done))
        end_kwh = max(spent.energy_kwh, self._energy_kwh + rest)
        rest = end_kwh - spent.energy_kwh
        low = min(rest, max(0.0, self._energy_kwh + low - spent.energy_kwh))
        high = max(rest, self._energy_kwh + high - spent.energy_kwh)
        low_kwh = spent.energy_low_kwh + low * spent.energy_low_kwh / spent.energy_kwh
        high_kwh = spent.energy_high_kwh + high * spent.energy_high_kwh / spent.energy_kwh
        per_kwh = spent.kg_per_kwh
        return Forecast(
            unit=self._unit,
            done=self._done,
            planned=self._planned,
            energy_kwh=end_kwh,
            energy_low_kwh=min(low_kwh, end_kwh),
            energy_high_kwh=max(high_kwh, end_kwh),
            emissions_kg=spent.emissions_kg + rest * per_kwh,
            emissions_low_kg=spent.emissions_kg + low * per_kwh,
            emissions_high_kg=spent.emissions_kg + high * per_kwh,
        )
