"""A run as BoAmps, as a part of a model card, and as a report for paper."""

from __future__ import annotations

import datetime
import json
import re
import zoneinfo
from html.parser import HTMLParser
from typing import Any, cast

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.dashboard_runs import GRID_INTENSITY_G_PER_KWH, recorded_run, summary_document, window_documents
from tests.unit.dashboard.boamps_model import BOAMPS_REPORT
from tests.unit.dashboard.run_examples import NOW, described_run, described_summary
from wattline_common.events import RunStatus
from wattline_common.store import RunSummary
from wattline_dashboard.boamps import boamps_json, boamps_report
from wattline_dashboard.curves import RunSeries
from wattline_dashboard.formats import EMISSIONS, ENERGY
from wattline_dashboard.model_card import model_card
from wattline_dashboard.run_report import run_report
from wattline_dashboard.series import from_windows

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def _valid(report: dict[str, Any]) -> dict[str, Any]:
    jsonschema.Draft202012Validator(BOAMPS_REPORT).validate(report)
    return report


def _metadata(card: str) -> dict[str, Any]:
    _, metadata, _ = card.split("---\n", 2)
    found = yaml.safe_load(metadata)
    assert list(found) == ["co2_eq_emissions"]
    return dict(found["co2_eq_emissions"])


def test_boamps_has_the_stores_figures() -> None:
    """Energy in kWh, duration, accuracy, hardware, place and intensity, in the model's own words."""
    summary = described_summary(project="vision", tags={"task_family": "imageClassification", "data_type": "image"})
    report = _valid(json.loads(boamps_json(summary, NOW)))
    (measure,) = report["measures"]
    assert measure["powerConsumption"] == summary["energy_kwh"]
    assert measure["measurementDuration"] == summary["duration_s"]
    assert (measure["cpuTrackingMode"], measure["gpuTrackingMode"]) == ("model by CPU family and use", "nvml")
    assert measure["measurementDateTime"] == "2026-03-01 11:55:00"
    assert report["header"]["reportStatus"] == "final"
    assert report["header"]["publisher"]["projectName"] == "vision"
    assert report["task"]["measuredAccuracy"] == summary["accuracy"]
    assert report["task"]["taskFamily"] == "imageClassification"
    assert report["task"]["dataset"] == [{"dataUsage": "input", "dataType": "image"}]
    assert report["environment"]["country"] == "Germany"
    assert report["environment"]["powerSourceCarbonIntensity"] == pytest.approx(GRID_INTENSITY_G_PER_KWH, rel=1e-9)
    components = {each["componentType"]: each for each in report["infrastructure"]["components"]}
    assert components["cpu"] == {"componentName": "EPYC", "componentType": "cpu", "nbComponent": 8}
    assert components["gpu"]["memorySize"] == 40
    assert components["ram"]["memorySize"] == 64


@pytest.mark.parametrize(
    ("status", "planned", "told"),
    [(RunStatus.COMPLETED, 5, 5), (RunStatus.COMPLETED, None, None), (RunStatus.STOPPED, 5, None)],
)
def test_boamps_says_epochs_that_were_planned_and_done(
    status: RunStatus, planned: int | None, told: int | None
) -> None:
    """By a plan that was carried out: whether the first epoch is 0 or 1 is each training's own."""
    began = NOW - datetime.timedelta(minutes=5)
    summary = summary_document(recorded_run("r", began, seconds=20, status=status, planned_epochs=planned))
    report = _valid(json.loads(boamps_json(cast("RunSummary", summary), NOW)))
    assert report["task"]["algorithms"][0].get("epochsNumber") == told


def test_boamps_leaves_out_what_is_not_known() -> None:
    """An unknown region is no country, a word that the model does not have is `other`, a live run is a draft."""
    summary = described_summary(region_iso="unknown", status=None, has_gpu=False, tags={"data_type": "smell"})
    report = _valid(boamps_report({**summary, "accuracy": None, "epoch": None}, NOW))
    assert "environment" not in report
    assert "gpuTrackingMode" not in report["measures"][0]
    assert "measuredAccuracy" not in report["task"]
    assert report["task"]["dataset"][0]["dataType"] == "other"
    assert report["header"]["reportStatus"] == "draft"
    _valid(boamps_report({**summary, "sources": {"s": {"seq_max": 3}}, "energy_kwh": 0.0}, NOW))


def test_boamps_says_simulated_and_how_good_it_is() -> None:
    """A simulated run never looks measured; quality follows the band."""
    summary = described_summary()
    for off, quality in ((0.05, "high"), (0.2, "medium"), (0.4, "low")):
        value, high = summary["energy_kwh"], summary["energy_kwh"] * (1 + off)
        assert (
            _valid(boamps_report({**summary, "energy_low_kwh": value, "energy_high_kwh": high}, NOW))["quality"]
            == quality
        )
    simulated = _valid(boamps_report(described_summary(simulated=True), NOW))
    assert simulated["measures"][0]["measurementMethod"] == "wattline, simulated"
    assert simulated["quality"] == "low"


@given(names, names, names)
def test_boamps_is_valid_whatever_users_name_things(model: str, dataset: str, project: str) -> None:
    """No name breaks the report."""
    summary = described_summary(seconds=5)
    report = boamps_json({**summary, "model_name": model, "dataset_name": dataset, "project": project}, NOW)
    assert _valid(json.loads(report))["task"]["algorithms"][0]["algorithmName"] == model


def test_model_card_has_grams_and_says_how() -> None:
    """The Hub reads grams; the paragraph has energy, emissions, bands, hardware, method and what priced it."""
    summary = described_summary(tags={"training_type": "fine-tuning"})
    card = model_card(summary)
    found = _metadata(card)
    assert found["emissions"] == pytest.approx(summary["emissions_kg"] * 1000, rel=1e-5)
    assert found["source"] == "Wattline 1.2.0 (measured and modelled)"
    assert found["training_type"] == "fine-tuning"
    assert found["geographical_location"] == "Germany (DEU)"
    assert "A100" in found["hardware_used"]
    for words in (ENERGY.text(summary["energy_kwh"]), EMISSIONS.text(summary["emissions_kg"]), "PUE 1.250", "381.0 g"):
        assert words in card


def test_model_card_of_a_simulated_run_says_so_first() -> None:
    """Nobody takes it for a measurement."""
    card = model_card(described_summary(simulated=True))
    assert "no machine drew them" in card
    assert "simulated" in _metadata(card)["source"]


@given(names, names)
def test_model_card_is_valid_whatever_users_name_things(model: str, tag: str) -> None:
    """Metadata stay one mapping of plain values, and a name makes no Markdown."""
    summary = described_summary(seconds=5, tags={"training_type": tag})
    found = _metadata(model_card({**summary, "model_name": model}))
    assert found["emissions"] > 0
    assert "![x](" not in model_card({**summary, "model_name": "![x](http://192.0.2.1/x.png)"})


class _Page(HTMLParser):
    """Gathers what a page fetches, runs and says."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag, and what it would fetch."""
        self.tags.append(tag)
        self.links += [str(value) for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_data(self, data: str) -> None:
        """Note what is said."""
        self.text += data


def _report(events: list[Any], **changes: Any) -> tuple[str, _Page]:
    summary = cast("RunSummary", {**summary_document(events), **changes})
    series = from_windows(window_documents(events), until=summary["last_event_at"])
    html = run_report(summary, series, NOW, BERLIN).decode()
    return html, _Page(html)


def test_report_has_the_stores_figures_and_needs_nothing() -> None:
    """Figures, drawings, hardware and settings are in one file that fetches nothing and runs nothing."""
    events = described_run(seconds=600, interval_s=10, hyperparameters={"learning_rate": "0.01"})
    summary = summary_document(events)
    html, page = _report(events)
    for words in (
        ENERGY.text(summary["energy_kwh"]),
        EMISSIONS.text(summary["emissions_kg"]).removesuffix(" CO₂e"),
        "86",
        "learning_rate",
        "EPYC, 8 logical CPUs",
        "381.0 g CO₂e/kWh",
        "2026-03-01 12:55:00",  # on the clock of the zone
    ):
        assert words in page.text
    assert page.tags.count("svg") == 4
    assert page.links == []
    assert "script" not in page.tags
    assert not re.search(r"url\(|@import", html)


def test_report_shows_names_as_text() -> None:
    """What a user names becomes no tag, wherever it stands."""
    evil = '<img src=x onerror="alert(1)"><script>alert(2)</script>'
    events = described_run(model_name=evil, dataset_name=evil, user_id=evil, project=evil, hyperparameters={evil: evil})
    _, page = _report(events)
    assert "img" not in page.tags
    assert "script" not in page.tags
    assert page.text.count(evil) >= 5


def test_report_marks_what_is_simulated_or_not_over() -> None:
    """Both stand on the sheet in words."""
    assert "no machine drew this energy" in _report(described_run(simulated=True))[1].text
    assert "still goes on" in _report(described_run(status=None))[1].text
    plain = _report(described_run(status=RunStatus.COMPLETED))[1].text
    assert "no machine" not in plain
    assert "still goes on" not in plain


def test_report_of_a_run_without_curves() -> None:
    """A run that has no sample yet has a sheet, without drawings."""
    html = run_report(described_summary(), RunSeries(), NOW, datetime.UTC).decode()
    assert "svg" not in _Page(html).tags
    assert "not known" in html


def test_report_draws_emissions_where_the_price_changed() -> None:
    """A curve that is not the energy's own shape is drawn."""
    events = described_run(seconds=600, interval_s=10)
    emissions_kg = 2 * summary_document(events)["emissions_kg"]
    _, page = _report(events, emissions_kg=emissions_kg)
    assert page.tags.count("svg") == 5
    assert "priced at its own moment" in page.text
