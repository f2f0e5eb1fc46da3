"""A budget of emissions for one run: warns at 80 %, tells when it is used up, and stops only who asked for it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from wattline.summary import RunSummary
from wattline_common.errors import WattlineError
from wattline_common.forecast import Forecast

__all__ = ["ACTIONS", "Budget", "BudgetExceededError"]

_LOG = logging.getLogger("wattline")
_WARN_AT = 0.8
ACTIONS = ("warn", "stop")


class BudgetExceededError(WattlineError):
    """Raised by `Run.step` when the budget is used up and the run was made with ``budget_action="stop"``."""


class Budget:
    """Watches one run's emissions; ``on_exceeded`` is called once, on the thread that reports steps."""

    def __init__(
        self, budget_kg: float, *, stop: bool = False, on_exceeded: Callable[[RunSummary], object] | None = None
    ) -> None:
        self.budget_kg = budget_kg
        self.stop = stop
        self._on_exceeded = on_exceeded
        self._said: set[str] = set()
        self._called = False

    def exceeded(self, emissions_kg: float) -> bool:
        """Say whether so much is above the budget."""
        return emissions_kg > self.budget_kg

    def watch(self, emissions_kg: float, forecast: Forecast | None) -> None:
        """Warn, once each: at 80 %, when it is used up, and when the forecast is above it."""
        if self.exceeded(emissions_kg):
            self._say("used up", f"the budget of {self.budget_kg:g} kg CO2e is used up: {emissions_kg:.3g} kg")
        elif emissions_kg >= _WARN_AT * self.budget_kg:
            share = emissions_kg / self.budget_kg if self.budget_kg else math.inf
            self._say("near", f"{share:.0%} of the budget of {self.budget_kg:g} kg CO2e is used")
        elif forecast is not None and self.exceeded(forecast.emissions_kg):
            self._say(
                "forecast",
                f"the run is heading for {forecast.emissions_kg:.3g} kg CO2e "
                f"({forecast.emissions_low_kg:.3g} to {forecast.emissions_high_kg:.3g}), "
                f"its budget is {self.budget_kg:g} kg",
            )

    def act(self, summary: RunSummary) -> None:
        """Do what was asked for: call back, once; and raise `BudgetExceededError` if stopping was asked for."""
        if not self.exceeded(summary.emissions_kg):
            return
        if self._on_exceeded is not None and not self._called:
            self._called = True
            self._on_exceeded(summary)
        if self.stop:
            raise BudgetExceededError(
                f"run {summary.run_id} has emitted {summary.emissions_kg:.3g} kg CO2e, above its budget_kg="
                f'{self.budget_kg:g}; raise the budget, or leave out budget_action="stop" to be warned only'
            )

    def _say(self, what: str, text: str) -> None:
        if what not in self._said:
            self._said.add(what)
            _LOG.warning("wattline: %s", text)
