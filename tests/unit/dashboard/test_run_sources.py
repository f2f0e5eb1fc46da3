"""What the sources of a run say of it."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest

from tests.dashboard_runs import GRID_INTENSITY_G_PER_KWH, PUE, summary_document
from tests.unit.dashboard.run_examples import described_run, described_summary
from wattline_common.carbon import zones
from wattline_common.store import RunSummary
from wattline_dashboard import run_sources
from wattline_dashboard.run_sources import Device, Price


def _latest(summary: RunSummary, **changes: Any) -> RunSummary:
    changed = copy.deepcopy(summary)
    changed["sources"]["source-1"]["latest_sample"] |= changes
    return changed


def test_one_price_explains_all_emissions() -> None:
    """PUE and intensity of the latest sample, when they make the emissions that the store has."""
    price = run_sources.constant_price(described_summary())
    assert price is not None
    assert (price.pue, price.g_per_kwh) == (PUE, GRID_INTENSITY_G_PER_KWH)


@pytest.mark.parametrize("changes", [{"pue": 1.3}, {"grid_intensity_g_per_kwh": 12.0}])
def test_a_price_that_changed_on_the_way_is_none(changes: dict[str, float]) -> None:
    """What was true at the end only must not be told as if it had always been."""
    assert run_sources.constant_price(_latest(described_summary(), **changes)) is None


def test_a_price_knows_its_row_of_the_packaged_table() -> None:
    """Only the very row: zone, source and year."""
    world = zones()["WORLD"]
    assert Price(1.0, world.g_per_kwh, world.label).entry == world
    assert Price(1.0, 445.0, "WORLD: somebody 1999").entry is None
    assert Price(1.0, 445.0, "my own meter").entry is None


def test_hardware_adds_up_over_hosts_not_over_restarts() -> None:
    """Two sources on one host describe the same devices; another host has its own."""
    same_host = [*described_run(), *described_run("source-2")]
    alone = run_sources.hardware(cast("RunSummary", summary_document(same_host)))
    assert [(each.kind, each.count) for each in alone] == [("CPU", 8), ("GPU", 1), ("MEMORY", None)]
    two_hosts = [*described_run(), *described_run("source-2", host="host-2")]
    both = run_sources.hardware(cast("RunSummary", summary_document(two_hosts)))
    assert [(each.kind, each.count) for each in both] == [("CPU", 16), ("GPU", 2), ("MEMORY", 2)]
    assert [each.memory_bytes for each in both] == [None, 80 * 10**9, 128 * 10**9]


@pytest.mark.parametrize(
    ("device", "words"),
    [
        (Device("CPU", "EPYC", ("MODELLED",), 8, None), "EPYC, 8 logical CPUs"),
        (Device("CPU", "EPYC", ("COUNTER",), None, None), "EPYC (CPU)"),
        (Device("GPU", "A100", ("COUNTER",), 2, 80 * 10**9), "2 \N{MULTIPLICATION SIGN} A100 (GPU, 80 GB)"),
        (Device("MEMORY", "memory", ("MODELLED",), None, 25_276_518_400), "25.3 GB memory"),
        (Device("MEMORY", "DDR4", ("SIMULATED",), 1, 128 * 10**9), "128 GB memory (DDR4)"),
        (Device("OTHER", "fan", ("UNKNOWN",), None, None), "fan (other)"),
    ],
)
def test_a_device_in_words(device: Device, words: str) -> None:
    """As one would say it."""
    assert device.words == words


@pytest.mark.parametrize(
    ("region", "country", "place"),
    [
        ("deu", "Germany", "Germany (DEU)"),
        ("US-OR", "United States", "Oregon, United States (US-OR)"),
        ("US-XX", "United States", "United States (US-XX)"),
        ("unknown", None, None),
        ("WORLD", None, None),
    ],
)
def test_a_region_in_words(region: str, country: str | None, place: str | None) -> None:
    """The world is no country, and a state is in one."""
    assert run_sources.country(region) == country
    assert run_sources.place(region) == place


def test_settings_tags_version_and_losses() -> None:
    """Keys of users may be anything; the last source's value counts; what was dropped adds up."""
    first = described_run(hyperparameters={"$lr": "1", "a.b": "2"}, tags={"task_family": "vision"})
    second = described_run("source-2", hyperparameters={"$lr": "3"})
    summary = cast("RunSummary", summary_document([*first, *second]))
    summary["sources"]["source-1"]["finished"]["events_dropped"] = 2
    summary["sources"]["source-2"]["finished"]["events_dropped"] = 3
    assert run_sources.hyperparameters(summary) == {"$lr": "3", "a.b": "2"}
    assert run_sources.tags(summary)["task_family"] == "vision"
    assert run_sources.tracker_version(summary) == "1.2.0"
    assert run_sources.events_dropped(summary) == 5


def test_a_run_of_which_only_steps_have_come() -> None:
    """No start, no sample, no end: nothing is known, and nothing fails."""
    summary = cast("RunSummary", {**described_summary(), "sources": {"s": {"seq_max": 3}}})
    assert run_sources.prices(summary) == []
    assert run_sources.constant_price(summary) is None
    assert run_sources.hardware(summary) == []
    assert run_sources.hyperparameters(summary) == {}
    assert run_sources.tracker_version(summary) is None
    assert run_sources.events_dropped(summary) == 0
