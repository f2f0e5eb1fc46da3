"""What a run has cost, as its own process knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from wattline_common.forecast import Forecast

__all__ = ["RunSummary"]

_G_PER_KG = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """The sums over a run's samples. Energies are IT energy in kWh, before PUE."""

    run_id: str
    source_id: str
    duration_s: float = 0.0
    energy_kwh: float = 0.0
    energy_low_kwh: float = 0.0
    energy_high_kwh: float = 0.0
    measured_energy_kwh: float = 0.0
    """Part of energy_kwh that a meter measured; the rest is modelled."""
    emissions_kg: float = 0.0
    power_w: float = 0.0
    """Mean of the last sample."""
    grid_intensity_source: str = "unknown"
    methods: tuple[str, ...] = ()
    forecast: Forecast | None = None
    """What the planned end will show; None without a plan, and once the run has completed."""
    budget_kg: float | None = None
    over_budget: bool = False
    steps: int = 0
    samples: int = 0
    """Training samples that the steps reported."""
    events_emitted: int = 0
    events_by_type: Mapping[str, int] = field(default_factory=dict)
    events_dropped: int = 0
    problems: int = 0
    """Faults of the tracker that were kept from the training."""

    def line(self) -> str:
        """Return the summary as one line for people."""
        lost = f", {self.events_dropped} events lost" if self.events_dropped else ""
        return (
            f"wattline: {self.run_id}: {self.energy_kwh:.3g} kWh "
            f"({self.energy_low_kwh:.3g} to {self.energy_high_kwh:.3g}; {', '.join(self.methods) or 'no meter'}), "
            f"{self.emissions_kg * _G_PER_KG:.3g} g CO2e ({self.grid_intensity_source}) "
            f"in {self.duration_s:.0f} s{self._outlook()}{lost}"
        )

    def _outlook(self) -> str:
        """Return forecast and budget, as far as there are any."""
        text, ahead = "", self.forecast
        if ahead is not None and ahead.done < ahead.planned:
            text += (
                f"; after {ahead.planned:g} {ahead.unit} it would be {ahead.energy_kwh:.3g} kWh "
                f"({ahead.energy_low_kwh:.3g} to {ahead.energy_high_kwh:.3g}), {ahead.emissions_kg * _G_PER_KG:.3g} g"
            )
        if self.budget_kg is not None:
            text += f"; {'above' if self.over_budget else 'within'} its budget of {self.budget_kg * _G_PER_KG:g} g"
        return text
