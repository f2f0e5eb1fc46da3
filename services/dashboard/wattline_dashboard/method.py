"""Every formula by which a run's figures are made, with the run's own numbers in it; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from wattline_common.carbon import WORLD, emissions_kg
from wattline_common.store import RunSummary
from wattline_common.sums import total
from wattline_dashboard.facts import (
    GRID_KINDS,
    emissions_band_kg,
    energy_band_kwh,
    mean_power_w,
    method_labels,
)
from wattline_dashboard.filters import is_simulated
from wattline_dashboard.formats import EMISSIONS, ENERGY, MISSING, POWER, TIMES, duration, percent, plain
from wattline_dashboard.run_sources import Price, constant_price, prices

__all__ = ["Formula", "formulas", "prices_table"]

_MINUS, _SUM = "\N{MINUS SIGN}", "\N{N-ARY SUMMATION}"
_MOST_TERMS = 4
_EXACT = 1e-9


@dataclass(frozen=True, slots=True)
class Formula:
    """A law, the same with a run's numbers, what comes out, and what one must know of it; plain texts all."""

    title: str
    law: str
    numbers: str
    result: str
    note: str


def formulas(summary: RunSummary, latest_samples: Sequence[Mapping[str, Any]]) -> list[Formula]:
    """Return the formulas of a run, from a reading to its emissions, in the order in which they build on each other."""
    found = [
        _interval(latest_samples),
        _energy(summary),
        _band(summary),
        _measured(summary),
        _mean_power(summary),
        _facility(summary),
        _emissions(summary),
        _emissions_band(summary),
    ]
    return [formula for formula in found if formula]


def prices_table(summary: RunSummary) -> pd.DataFrame:
    """Return what priced the run's energy when each source was last heard of, and where each figure is from."""
    return pd.DataFrame([_price_row(price) for price in prices(summary)])


def _interval(latest_samples: Sequence[Mapping[str, Any]]) -> Formula | None:
    """Return the latest sample's energy, as the sum of its devices'."""
    sample = next((each for each in latest_samples if each.get("devices")), None)
    if sample is None:
        return None
    devices = sample["devices"]
    energies = [device["energy_kwh"] for device in devices]
    scale = ENERGY.scale(total(energies))
    terms = [f"{device['device_id']} {ENERGY.text(device['energy_kwh'], scale)}" for device in devices]
    return Formula(
        "Energy of one interval",
        f"interval energy = {_SUM} energy of each device",
        _joined(terms),
        ENERGY.text(total(energies)),
        "This is the latest sample that is stored. A device's energy is what its meter or model gives, times the share "
        "of it that is the run's.",
    )


def _energy(summary: RunSummary) -> Formula:
    sources = [source for source in summary["sources"].values() if "energy_kwh" in source]
    scale = ENERGY.scale(summary["energy_kwh"])
    terms = [ENERGY.text(source["energy_kwh"], scale) for source in sources]
    kind = " and ".join(method_labels(summary)) or "got by an unknown method"
    simulated = " No machine drew it: it is in no sum of real energy." if is_simulated(summary) else ""
    return Formula(
        "Energy of the run",
        f"energy = {_SUM} last running total of each source",
        _joined(terms) or MISSING,
        ENERGY.text(summary["energy_kwh"]),
        f"IT energy, before PUE; {kind}. A source is one process that measures: a rank, or the run after a restart."
        f"{simulated}",
    )


def _band(summary: RunSummary) -> Formula:
    low, high = energy_band_kwh(summary)
    value = summary["energy_kwh"] or 1.0
    return Formula(
        "Band of the energy",
        f"low = {_SUM} low ends, high = {_SUM} high ends of all readings",
        f"{ENERGY.text(summary['energy_kwh'])} {_MINUS} {percent(1 - low / value)}, + {percent(high / value - 1)}",
        ENERGY.band(low, high),
        "The ends are what the meter's error, or other models of the field, allow for the same use. They are added up "
        "as if all errors went the same way, so the band is wide rather than flattering.",
    )


def _measured(summary: RunSummary) -> Formula | None:
    if not summary["energy_kwh"] or is_simulated(summary):
        return None
    share = percent(summary["measured_energy_kwh"] / summary["energy_kwh"])
    return Formula(
        "Measured part",
        "measured part = energy of counters and sampled power / energy",
        f"{ENERGY.text(summary['measured_energy_kwh'])} / {ENERGY.text(summary['energy_kwh'])}",
        share,
        "The rest is modelled, or could not be read.",
    )


def _mean_power(summary: RunSummary) -> Formula | None:
    mean_w = mean_power_w(summary)
    if mean_w is None:
        return None
    return Formula(
        "Mean power",
        "mean power = energy / duration",
        f"{ENERGY.text(summary['energy_kwh'])} / {duration(summary['duration_s'])}",
        POWER.text(mean_w),
        "The duration is from the first event of the run to its last.",
    )


def _facility(summary: RunSummary) -> Formula | None:
    """Return what the site draws for the run, PUE apart."""
    pues = {price.pue for price in prices(summary)}
    if len(pues) != 1:
        return None
    pue = pues.pop()
    facility_kwh = summary["energy_kwh"] * pue
    is_default = pue == 1.0
    note = (
        "A PUE of 1 counts nothing beyond the machine; WATTLINE_PUE tells the tracker the site's own."
        if is_default
        else f"Of it {ENERGY.text(facility_kwh - summary['energy_kwh'])} is cooling and power supply. Energies on all "
        "other pages are without it. The PUE is what the tracker was told by WATTLINE_PUE."
    )
    return Formula(
        "Energy of the site, PUE apart",
        f"site energy = energy {TIMES} PUE",
        f"{ENERGY.text(summary['energy_kwh'])} {TIMES} {plain(pue)}",
        ENERGY.text(facility_kwh),
        note,
    )


def _emissions(summary: RunSummary) -> Formula:
    law = f"emissions = energy {TIMES} PUE {TIMES} grid intensity, for each interval at its own intensity"
    result, energy = EMISSIONS.text(summary["emissions_kg"]), ENERGY.text(summary["energy_kwh"])
    price = constant_price(summary)
    if price:
        product_kg = emissions_kg(summary["energy_kwh"], pue=price.pue, grid_intensity_g_per_kwh=price.g_per_kwh)
        same = math.isclose(product_kg, summary["emissions_kg"], rel_tol=_EXACT, abs_tol=1e-15)
        check = "the same as the store has" if same else f"the store has {result}"
        return Formula(
            "Emissions",
            law,
            f"{energy} {TIMES} {plain(price.pue)} {TIMES} {plain(price.g_per_kwh)} g CO₂e/kWh",
            EMISSIONS.text(product_kg),
            f"Multiplied out again for this page: {check}. Location-based (GHG Protocol, scope 2): the mean of the "
            "grid there, not of a contract.",
        )
    mean = plain(summary["emissions_kg"] / summary["energy_kwh"] * 1000) if summary["energy_kwh"] else MISSING
    return Formula(
        "Emissions",
        law,
        f"{energy} {TIMES} {mean} g CO₂e/kWh on average, PUE among it",
        result,
        "PUE or intensity changed while the run went on, so each interval was priced at its own. Location-based (GHG "
        "Protocol, scope 2): the mean of the grid there, not of a contract.",
    )


def _emissions_band(summary: RunSummary) -> Formula:
    return Formula(
        "Band of the emissions",
        f"low = emissions {TIMES} low energy / energy, high likewise",
        f"{EMISSIONS.text(summary['emissions_kg'])} {TIMES} ({ENERGY.band(*energy_band_kwh(summary))}) / "
        f"{ENERGY.text(summary['energy_kwh'])}",
        EMISSIONS.band(*emissions_band_kg(summary)),
        "PUE and grid intensity are taken as they are: a yearly mean may be off for an hour by far more than this.",
    )


def _price_row(price: Price) -> dict[str, str]:
    entry = price.entry
    own = "not of the packaged table: a file or provider of one's own"
    kind = GRID_KINDS.get(str(entry.kind), MISSING) if entry else MISSING
    name = MISSING if entry is None else entry.name
    if entry and entry.zone == WORLD:
        name = "World: the region was not told, or is not in the table"
    return {
        "Grid intensity": f"{plain(price.g_per_kwh)} g CO₂e/kWh",
        "Zone": name,
        "Year": str(entry.year) if entry and entry.year else MISSING,
        "Source": price.source,
        "Counts": kind,
        "Licence": entry.licence if entry else own,
        "PUE": plain(price.pue),
    }


def _joined(terms: Sequence[str]) -> str:
    shown = [*terms[:_MOST_TERMS], *([f"{len(terms) - _MOST_TERMS} more"] if len(terms) > _MOST_TERMS else [])]
    return " + ".join(shown)
