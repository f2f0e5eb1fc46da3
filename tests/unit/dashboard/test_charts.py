"""Curves to figures."""

from __future__ import annotations

import datetime
import json
import zoneinfo
from typing import Any

import pytest

from wattline_dashboard import charts
from wattline_dashboard.curves import Banded, Learning, Power
from wattline_dashboard.formats import EMISSIONS, ENERGY
from wattline_dashboard.palette import KIND_COLOURS

TIMES_US = [1_767_225_600_000_000, 1_767_225_601_500_000]  # 2026-01-01 00:00:00 and 1.5 s later, UTC


def _spec(figure: Any) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads(figure.to_json())
    return spec


def test_power_is_stacked_by_kind_in_a_readable_unit() -> None:
    """Each kind is a layer in its own colour; above a kilowatt the axis is in kW."""
    figure = charts.power(Power(TIMES_US, {"CPU": [900.0, 1100.0], "GPU": [100.0, 200.0]}), datetime.UTC)
    cpu, gpu = _spec(figure)["data"]
    assert (cpu["y"], gpu["y"]) == ([0.9, 1.1], [pytest.approx(0.1), pytest.approx(0.2)])
    assert (cpu["stackgroup"], cpu["line"]["color"]) == (gpu["stackgroup"], KIND_COLOURS["CPU"])
    assert _spec(figure)["layout"]["yaxis"]["title"]["text"] == "Power (kW)"


def test_clock_is_the_viewers() -> None:
    """Times are shown as the viewer's wall clock."""
    zone = zoneinfo.ZoneInfo("Europe/Berlin")
    figure = charts.power(Power(TIMES_US, {"CPU": [1.0, 1.0]}), zone)
    assert _spec(figure)["data"][0]["x"] == ["2026-01-01T01:00:00.000", "2026-01-01T01:00:01.500"]


def test_running_total_lies_in_its_band() -> None:
    """Low, high and value share one unit, chosen by the upper end."""
    curve = Banded(TIMES_US, value=[0.0, 0.0008], low=[0.0, 0.0005], high=[0.0, 0.0012])
    figure = charts.running_total(curve, ENERGY, "Energy", "#8c6bd6", datetime.UTC)
    low, high, value = (trace["y"][-1] for trace in _spec(figure)["data"])
    assert (low, value, high) == (pytest.approx(0.5), pytest.approx(0.8), pytest.approx(1.2))
    assert _spec(figure)["layout"]["yaxis"]["title"]["text"] == "Energy (Wh)"
    assert _spec(figure)["data"][1]["fill"] == "tonexty"
    empty = charts.running_total(Banded(), EMISSIONS, "Emissions", "#8c6bd6", datetime.UTC)
    assert _spec(empty)["layout"]["yaxis"]["title"]["text"] == "Emissions (g CO₂e)"


def test_learning_has_a_line_for_each_source() -> None:
    """Accuracy is in percent; sources are told apart only when there are several; NaN is a gap, not broken JSON."""
    one = charts.learning([Learning("a", TIMES_US, [0.5, 0.75])], "Accuracy", datetime.UTC, is_share=True)
    assert _spec(one)["data"][0]["y"] == [50.0, 75.0]
    assert _spec(one)["data"][0]["showlegend"] is False
    curves = [Learning("<a href='x'>", TIMES_US, [1.0, float("nan")]), Learning("b", TIMES_US, [1.0, 2.0])]
    first, second = _spec(charts.learning(curves, "Loss", datetime.UTC))["data"]
    assert first["y"] == [1.0, None]
    assert first["name"].startswith("&lt;a")
    assert second["showlegend"] is True


def test_split_sums_to_the_run() -> None:
    """Bars are shares of the run's own total, whatever part of the events they were taken from."""
    (bars,) = _spec(charts.energy_split({"CPU": 3.0, "MEMORY": 1.0}, 0.008))["data"]
    assert dict(zip(bars["y"], bars["x"], strict=True)) == {"CPU": pytest.approx(6.0), "Memory": pytest.approx(2.0)}
    assert bars["text"][-1] == "6.000 Wh · 75.0 %"
    assert _spec(charts.energy_split({}, 0.0))["data"][0].get("x", []) == []
