"""The two rows of figures on top of a run's page: what it has cost, and what that bought and will come to."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from wattline_common.forecast import Forecast
from wattline_common.store import RunSummary
from wattline_dashboard import data
from wattline_dashboard.costs import IDLE_PCT
from wattline_dashboard.facts import RunState, emissions_band_kg, energy_band_kwh, mean_power_w, method_labels
from wattline_dashboard.formats import CO2E, EMISSIONS, ENERGY, MISSING, POWER, age, duration, percent, plain

__all__ = ["EXPLANATION", "show_costs", "show_totals"]

_FIGURE_PX = 171  # six fit in a window of 1280; the same for all and always: nothing moves when a digit does

EXPLANATION = f"""
- **Energy** is IT energy, the sum of all samples; PUE comes on top only in the emissions. Its **band** is what the
  meters and models may be off by.
- **Per epoch**: the mean over epochs that are over, each from the step before it to its own last step.
  **Per 1,000 samples**: all energy so far over all training samples reported so far.
- **At end**: spent so far, plus the mean epoch (or step) for each that is still planned, the first left out where it
  only warms up; a 95 % prediction interval, widened by the meters' band.
- **Left**: as long for each epoch (or step) that is still planned as those so far took, all in all.
- **Idle**: energy used while CPU and GPU were both under {IDLE_PCT:g} %, of that whose use is known.
"""


def show_totals(summary: RunSummary, state: RunState, end: Forecast | None) -> None:
    """Show the run's figures as the store has them, and how long it will go on."""
    drawn_w = summary["power_w"] if state.is_running and not state.is_stale else None
    epoch = MISSING if summary["epoch"] is None else f"epoch {summary['epoch']}"
    with _row("run.figures"):
        _figure("Energy", ENERGY.text(summary["energy_kwh"]), ENERGY.band(*energy_band_kwh(summary)))
        band = EMISSIONS.band(*emissions_band_kg(summary))
        _figure(f"Emissions, {CO2E}", _short(EMISSIONS.text(summary["emissions_kg"])), _short(band))
        _figure("Power now", POWER.text(drawn_w), f"mean {POWER.text(mean_power_w(summary))}")
        _figure("Accuracy", percent(summary["accuracy"]), f"loss {plain(summary['loss'])}")
        if end is None or state.is_stale:
            _figure("Duration", duration(state.duration_s), epoch)
        else:
            left_s = state.duration_s * (end.planned / end.done - 1)
            _figure("Duration", duration(state.duration_s), f"{duration(left_s)} left", epoch)
        _figure("Data age", age(state.age_s), state.freshness)


def show_costs(summary: RunSummary, view: data.RunView) -> None:
    """Show what the energy bought, what the planned end will show, and what was used in vain."""
    learning, end, idle = view.learning, view.forecast, view.idle
    over = sum(each.epochs for each in learning.epochs if not each.is_open)
    about = "about " if learning.thinning > 1 else ""
    whole = summary["energy_kwh"]
    with _row("run.costs"):
        _figure("Energy per epoch", ENERGY.text(learning.per_epoch_kwh), f"{over} over" if over else "none over yet")
        per_samples = ENERGY.text(learning.per_thousand_samples_kwh)
        _figure("Per 1,000 samples", f"{about}{per_samples}", "of training" if per_samples != MISSING else "not told")
        if end is None:
            why = "no plan, or too early" if summary["status"] == "RUNNING" else "the run is over"
            _figure("Energy at end", MISSING, why)
            _figure(f"At end, {CO2E}", MISSING, why)
        else:
            done = f"after {end.done:g} of {end.planned:g} {end.unit}, with a band of 95 %"
            band = ENERGY.band(end.energy_low_kwh, end.energy_high_kwh)
            _figure("Energy at end", ENERGY.text(end.energy_kwh), band, done)
            kg_per_kwh = end.emissions_kg / end.energy_kwh  # the band is relatively that of the energy, as everywhere
            band = EMISSIONS.band(end.energy_low_kwh * kg_per_kwh, end.energy_high_kwh * kg_per_kwh)
            _figure(f"At end, {CO2E}", _short(EMISSIONS.text(end.emissions_kg)), _short(band), done)
        _figure("Idle energy", percent(idle.share), ENERGY.text(idle.idle_kwh) if idle.known_kwh else "use not known")
        measured = summary["measured_energy_kwh"] / whole if whole else None
        _figure("Measured", percent(measured), ", ".join(method_labels(summary)) or MISSING)


def _row(key: str) -> DeltaGenerator:
    return st.container(horizontal=True, horizontal_alignment="distribute", key=key)  # wraps when narrow


def _short(emissions: str) -> str:
    """Return an amount without what the label says already: six figures stand in one row of a small screen."""
    return emissions.removesuffix(f" {CO2E}")


def _figure(label: str, value: str, beside: str, about: str | None = None) -> None:
    """Show one figure and, smaller, what goes with it."""
    st.metric(label, value, beside, delta_color="off", delta_arrow="off", border=True, width=_FIGURE_PX, help=about)
