"""A run's report as one HTML page that needs nothing else and prints on one sheet; pure but for its template."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from wattline_common.store import RunSummary
from wattline_dashboard.charts import KIND_LABELS
from wattline_dashboard.curves import KINDS, Banded, Learning, RunSeries
from wattline_dashboard.facts import emissions_band_kg, energy_band_kwh, mean_power_w, method_labels, run_facts
from wattline_dashboard.figures_svg import HEIGHT_PX, WIDTH_PX, Drawing, Line, draw
from wattline_dashboard.filters import is_simulated
from wattline_dashboard.formats import (
    CO2E,
    EMISSIONS,
    ENERGY,
    MISSING,
    POWER,
    TIMES,
    Quantity,
    duration,
    percent,
    plain,
)
from wattline_dashboard.palette import CATEGORICAL, EMISSIONS_COLOUR, ENERGY_COLOUR, KIND_COLOURS
from wattline_dashboard.paper import template
from wattline_dashboard.run_sources import constant_price, hardware, hyperparameters, prices

__all__ = ["run_report"]

_MOST_HYPERPARAMETERS = 12  # more would not fit on the sheet
_US_PER_MINUTE = 60e6
_MINUTES_IN_HOURS = 180  # longer runs are drawn in hours


def run_report(summary: RunSummary, series: RunSeries, now: datetime.datetime, zone: datetime.tzinfo) -> bytes:
    """Return the report of a run as it stands at a moment, times on the clock of a zone."""
    listed = list(hyperparameters(summary).items())
    page = template("run_report.html.j2").render(
        model=summary["model_name"],
        run_id=summary["_id"],
        facts=_facts(summary, zone),
        is_simulated=is_simulated(summary),
        is_running=summary["status"] == "RUNNING",
        made_at=f"{now.astimezone(zone):%Y-%m-%d %H:%M}",
        zone=str(zone),
        figures=_figures(summary),
        drawings=[drawing for drawing in _drawings(summary, series) if drawing],
        width=WIDTH_PX,
        height=HEIGHT_PX,
        method=_method(summary),
        computation=_computation(summary),
        split=_split(summary, series.kind_energy),
        hardware=[(each.words, ", ".join(each.methods).lower().replace("_", " ")) for each in hardware(summary)],
        hyperparameters=listed[:_MOST_HYPERPARAMETERS],
        more_hyperparameters=max(0, len(listed) - _MOST_HYPERPARAMETERS),
    )
    return page.encode()


def _facts(summary: RunSummary, zone: datetime.tzinfo) -> str:
    facts = run_facts(summary, zone) | {"status": summary["status"].lower()}
    return " · ".join(f"{name} {value}" for name, value in facts.items())


def _figures(summary: RunSummary) -> list[dict[str, str]]:
    emissions_band = EMISSIONS.band(*emissions_band_kg(summary))
    rows = (
        ("Energy", ENERGY.text(summary["energy_kwh"]), ENERGY.band(*energy_band_kwh(summary))),
        (f"Emissions, {CO2E}", _short(EMISSIONS.text(summary["emissions_kg"])), _short(emissions_band)),
        ("Mean power", POWER.text(mean_power_w(summary)), _how(summary)),
        ("Duration", duration(summary["duration_s"]), _epoch(summary)),
        ("Accuracy", percent(summary["accuracy"]), f"loss {plain(summary['loss'])}"),
    )
    return [{"label": label, "value": value, "beside": beside} for label, value, beside in rows]


def _short(emissions: str) -> str:
    return emissions.removesuffix(f" {CO2E}")


def _how(summary: RunSummary) -> str:
    """Say how the energy was got, and which part of it was measured where that is not all or nothing."""
    labels = method_labels(summary)
    how = " and ".join(labels) or "method unknown"
    share = summary["measured_energy_kwh"] / (summary["energy_kwh"] or 1.0)
    return f"{percent(share)} measured, rest {labels[-1]}" if "measured" in labels and len(labels) > 1 else how


def _epoch(summary: RunSummary) -> str:
    return MISSING if summary["epoch"] is None else f"epoch {summary['epoch']}"


def _drawings(summary: RunSummary, series: RunSeries) -> list[Drawing | None]:
    begin_us = min((*series.power.times_us[:1], *series.energy_kwh.times_us[:1]), default=0)
    in_hours = summary["duration_s"] / 60 > _MINUTES_IN_HOURS
    unit, length_us = ("h", 60 * _US_PER_MINUTE) if in_hours else ("min", _US_PER_MINUTE)

    def clock(times_us: list[int]) -> list[float]:
        return [(time_us - begin_us) / length_us for time_us in times_us]

    total_w = [sum(column) for column in zip(*series.power.watts.values(), strict=True)]
    power = POWER.scale(max(total_w, default=0.0))
    times = clock(series.power.times_us)
    watts = Line(times[: len(total_w)], [value * power.factor for value in total_w], KIND_COLOURS["CPU"])
    return [
        draw(f"Power ({power.unit})", [watts], x_unit=unit, words="Power over time"),
        _total("Energy", series.energy_kwh, ENERGY, ENERGY_COLOUR, clock, unit),
        None  # it would have the shape of the energy
        if constant_price(summary)
        else _total("Emissions", series.emissions_kg, EMISSIONS, EMISSIONS_COLOUR, clock, unit),
        _learning("Loss", list(series.loss), series.energy_kwh, 8),
        _learning("Accuracy", list(series.accuracy), series.energy_kwh, 7),
    ]


def _total(title: str, curve: Banded, quantity: Quantity, colour: str, clock: Any, unit: str) -> Drawing | None:  # noqa: ANN401  # a local function
    scale = quantity.scale(max(curve.high, default=0.0))
    value, low, high = ([each * scale.factor for each in column] for column in (curve.value, curve.low, curve.high))
    line = Line(clock(curve.times_us), value, colour, low, high)
    return draw(f"{title} so far, with its band ({scale.unit})", [line], x_unit=unit, words=f"{title} over time")


def _learning(title: str, curves: list[Learning], energy: Banded, colour: int) -> Drawing | None:
    """Draw what was learnt against the energy that it took, known at each moment from the running total."""
    scale = ENERGY.scale(max(energy.value, default=0.0))
    lines = []
    for number, curve in enumerate(curves):
        used = [value * scale.factor for value in _at(curve.times_us, energy)]
        lines.append(Line(used, curve.values, CATEGORICAL[(colour + number) % len(CATEGORICAL)]))
    return draw(f"{title} against energy", lines, x_unit=scale.unit, words=f"{title} against the energy used")


def _at(times_us: list[int], energy: Banded) -> list[float]:
    found, index = [], 0
    for time_us in times_us:
        while index + 1 < len(energy.times_us) and energy.times_us[index + 1] <= time_us:
            index += 1
        found.append(energy.value[index] if energy.value else 0.0)
    return found


def _method(summary: RunSummary) -> str:
    energy = f"{ENERGY.text(summary['energy_kwh'])} of IT energy, {_how(summary)}"
    return (
        f"{energy}. The band is what other methods of the field, or the meter's own error, would give for the same use."
    )


def _computation(summary: RunSummary) -> str:
    result = EMISSIONS.text(summary["emissions_kg"])
    energy = ENERGY.text(summary["energy_kwh"])
    price = constant_price(summary)
    if price:
        factors = f"PUE {plain(price.pue)} {TIMES} {plain(price.g_per_kwh)} g CO₂e/kWh"
        return f"{energy} {TIMES} {factors} = {result}. Grid intensity: {price.source}."
    if not summary["energy_kwh"]:
        return "No energy was recorded yet."
    mean = plain(summary["emissions_kg"] / summary["energy_kwh"] * 1000)
    sources = "; ".join(sorted({each.source for each in prices(summary)})) or "unknown source"
    return f"Each interval is priced at its own moment; on average {mean} g CO₂e/kWh with PUE: {result}. {sources}."


def _split(summary: RunSummary, kind_energy: Mapping[str, float]) -> list[tuple[str, str, str]]:
    whole = sum(kind_energy.values())
    return [
        (
            KIND_LABELS[kind],
            ENERGY.text(kind_energy[kind] / whole * summary["energy_kwh"]),
            percent(kind_energy[kind] / whole),
        )
        for kind in KINDS
        if whole and kind_energy.get(kind)
    ]
