"""Formulas with a run's own numbers: they multiply out, and what they rest on is named."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest

from tests.dashboard_runs import raw_documents, summary_document
from tests.unit.dashboard.run_examples import described_run, described_summary
from wattline.meters import cpu_models, memory, nvidia, rapl_meter
from wattline_common.carbon import zones
from wattline_common.store import RunSummary
from wattline_dashboard.equivalents import EQUIVALENTS, equivalents_table
from wattline_dashboard.formats import EMISSIONS, ENERGY
from wattline_dashboard.method import Formula, formulas, prices_table
from wattline_dashboard.method_sources import READINGS, readings_table


def _samples(events: list[Any]) -> list[dict[str, Any]]:
    return [each for each in raw_documents(events) if each["event_type"] == "HardwareSampled"][-1:]


def _formulas(**options: Any) -> dict[str, Formula]:
    events = described_run(**options)
    found = formulas(cast("RunSummary", summary_document(events)), _samples(events))
    return {formula.title: formula for formula in found}


def _priced_by(summary: RunSummary, **changes: Any) -> RunSummary:
    changed = copy.deepcopy(summary)
    changed["sources"]["source-1"]["latest_sample"] |= changes
    return changed


def test_each_step_has_the_runs_own_numbers() -> None:
    """From the devices of an interval to the emissions, each result is the store's."""
    summary = described_summary()
    found = _formulas()
    energy, emissions = ENERGY.text(summary["energy_kwh"]), EMISSIONS.text(summary["emissions_kg"])
    assert found["Energy of the run"].result == energy
    assert found["Measured part"].result.startswith("8")
    assert found["Energy of the site, PUE apart"].numbers.startswith(energy)
    assert found["Energy of the site, PUE apart"].result == ENERGY.text(1.25 * summary["energy_kwh"])
    assert found["Emissions"].result == emissions
    assert "381.0 g" in found["Emissions"].numbers
    assert "the same as the store has" in found["Emissions"].note
    assert found["Band of the emissions"].numbers.startswith(emissions)
    assert {"cpu-0", "memory", "gpu-0"} <= set(found["Energy of one interval"].numbers.split())


def test_several_sources_add_up() -> None:
    """Each source's total is a term; of many, the first ones."""
    events = [event for number in range(6) for event in described_run(f"source-{number}")]
    found = {each.title: each for each in formulas(cast("RunSummary", summary_document(events)), [])}
    assert found["Energy of the run"].numbers.count(" + ") == 4
    assert found["Energy of the run"].numbers.endswith("2 more")
    assert "Energy of one interval" not in found


def test_a_price_that_changed_is_told_as_a_mean() -> None:
    """No formula claims the last price for all of the run."""
    summary = _priced_by(described_summary(), grid_intensity_g_per_kwh=12.0)
    found = {each.title: each for each in formulas(summary, [])}
    assert "on average" in found["Emissions"].numbers
    assert "476.2 g" in found["Emissions"].numbers, "381 times the PUE of 1.25"
    assert "priced at its own" in found["Emissions"].note


def test_a_simulated_run_claims_no_measured_part() -> None:
    """And says that no machine drew it."""
    found = _formulas(simulated=True)
    assert "Measured part" not in found
    assert "No machine drew it" in found["Energy of the run"].note


def test_a_run_without_samples_has_formulas_without_failing() -> None:
    """Nothing is divided by nothing."""
    summary = cast("RunSummary", {**summary_document(described_run(seconds=0)), "duration_s": 0.0})
    titles = [each.title for each in formulas(summary, [])]
    assert "Emissions" in titles
    assert "Mean power" not in titles
    assert prices_table(summary).empty


def test_prices_name_zone_year_source_and_licence() -> None:
    """A row of the packaged table is told in full, the world's as a fallback; one's own as what it is."""
    france, world = zones()["FRA"], zones()["WORLD"]
    summary = described_summary()
    (row,) = prices_table(
        _priced_by(summary, grid_intensity_g_per_kwh=france.g_per_kwh, grid_intensity_source=france.label)
    ).to_dict("records")
    assert (row["Zone"], row["Year"], row["Licence"]) == ("France", str(france.year), "CC BY 4.0")
    assert row["Counts"] == "life cycle"
    (row,) = prices_table(
        _priced_by(summary, grid_intensity_g_per_kwh=world.g_per_kwh, grid_intensity_source=world.label)
    ).to_dict("records")
    assert "not told" in row["Zone"]
    (row,) = prices_table(_priced_by(summary, grid_intensity_source="my contract")).to_dict("records")
    assert row["Source"] == "my contract"
    assert "one's own" in row["Licence"]


@pytest.mark.parametrize(
    ("name", "energy_kwh", "emissions_kg", "words"),
    [
        ("driving a new car of average emissions", 0.0, 1.068, "10.00 km"),
        ("the electricity of an average dwelling", 3_600.0, 0.0, "365 d 0 h"),
        ("a lamp of 10 W", 0.055, 0.0, "5 h 30 min"),
    ],
)
def test_an_equivalent_is_one_multiplication(name: str, energy_kwh: float, emissions_kg: float, words: str) -> None:
    """By its own factor, of energy or of emissions, and no other."""
    (each,) = [each for each in EQUIVALENTS if each.name == name]
    assert each.words(energy_kwh, emissions_kg) == words


def test_every_equivalent_has_factor_year_and_source() -> None:
    """None is unfounded."""
    table = equivalents_table(1.0, 1.0)
    assert len(table) == len(EQUIVALENTS)
    assert (table[["Factor", "Year", "Source"]].map(len) > 4).all().all()


def test_the_table_of_readings_is_the_trackers() -> None:
    """Its bands and coefficients are those that the meters use."""
    band = {row[0]: row[3] for row in READINGS}
    charged = {row[0]: row[2] for row in READINGS}
    assert band["NVIDIA GPU"] == f"± {nvidia._COUNTER_BAND:.0%}".replace("%", " %")
    assert band["NVIDIA GPU without a counter"] == f"± {nvidia._POLLED_BAND:.0%}".replace("%", " %")
    measured, estimated = (
        f"± {share:.0%}".replace("%", " %") for share in (rapl_meter._MEASURED_BAND, rapl_meter._ESTIMATED_BAND)
    )
    assert band["CPU package"].startswith(f"{measured}, {estimated}")
    assert band["DRAM"].startswith(f"± {rapl_meter._DRAM_BAND:.0%}".replace("%", " %"))
    assert f"{memory._W_PER_GB} W per GB" in charged["Memory without a counter"]
    assert band["Memory without a counter"] == f"{memory._LOW_W_PER_GB} to {memory._HIGH_W_PER_GB} W per GB"
    assert "Cloud Carbon Footprint" in (cpu_models.__doc__ or "")
    assert list(readings_table().columns) == ["Device", "Method", "Charged to the run", "Band", "Source"]
