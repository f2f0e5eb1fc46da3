"""What saved tables hold: the store's figures, and which runs were simulated."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from tests.dashboard_runs import raw_documents, recorded_run, summary_document, window_documents
from wattline_common.events import RunStatus
from wattline_dashboard.curves import RunSeries
from wattline_dashboard.export_tables import (
    curves_to_save,
    devices_to_save,
    groups_to_save,
    learning_to_save,
    period_runs_to_save,
    runs_to_save,
)
from wattline_dashboard.filters import Filters
from wattline_dashboard.fleet import FleetRow, fold
from wattline_dashboard.series import from_windows

NOW = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
UTC = datetime.UTC


def _summary(run_id: str, **context: Any) -> dict[str, Any]:
    started_at = NOW - datetime.timedelta(minutes=20)
    return summary_document(recorded_run(run_id, started_at, seconds=60, status=RunStatus.COMPLETED, **context))


def _row(run_id: str, energy_kwh: float) -> FleetRow:
    return FleetRow(run_id, NOW - datetime.timedelta(minutes=20), True, energy_kwh, energy_kwh / 2, energy_kwh / 4, {})


def test_saved_runs_have_the_stores_figures() -> None:
    """A row a run, with its identity, its figures, and whether it was simulated."""
    real, simulated = _summary("run-1", project="vision"), _summary("run-2", simulated=True)
    table = runs_to_save([real, simulated])
    assert list(table["run_id"]) == ["run-1", "run-2"]
    assert list(table["simulated"]) == [False, True]
    assert list(table["energy_kwh"]) == [real["energy_kwh"], simulated["energy_kwh"]]
    assert list(table["emissions_kg"]) == [real["emissions_kg"], simulated["emissions_kg"]]
    assert table["started_at"][0] == real["started_at"]
    assert table["project"][0] == "vision"
    assert list(runs_to_save([]).columns) == list(table.columns)


def test_saved_sums_of_a_period_keep_real_and_simulated_apart() -> None:
    """Each row is of one class; rows of a dimension add up to the class and never to both."""
    summaries = {run["_id"]: run for run in (_summary("run-1"), _summary("run-2", simulated=True))}
    rows = [_row("run-1", 1.0), _row("run-2", 10.0)]
    since = NOW - datetime.timedelta(hours=1)
    classes = fold(rows, summaries, Filters(period="1h"), since, NOW, UTC).shown
    runs = period_runs_to_save(classes).set_index("run_id")
    assert runs.loc["run-1", "period_energy_kwh"] == 1.0
    assert runs.loc["run-2", "period_emissions_kg"] == 2.5
    groups = groups_to_save(classes)
    for simulated, energy_kwh in ((False, 1.0), (True, 10.0)):
        mine = groups[groups["simulated"] == simulated]
        for _, each in mine.groupby("dimension"):
            assert each["energy_kwh"].sum() == pytest.approx(energy_kwh, rel=1e-9)
    assert set(groups["dimension"]) == {"user_id", "project", "model_name", "dataset_name", "region_iso", "environment"}


def test_a_runs_curves_and_devices_are_saved_as_they_are() -> None:
    """Power, energy, emissions, loss, accuracy and devices: what the page shows, with moments in UTC."""
    events = recorded_run("run-1", NOW - datetime.timedelta(minutes=20), seconds=300, interval_s=10, has_gpu=True)
    series = from_windows(window_documents(events), until=NOW)
    curves = curves_to_save(series)
    assert curves["energy_kwh"].iloc[-1] == pytest.approx(summary_document(events)["energy_kwh"], rel=1e-9)
    assert {"power_cpu_w", "power_gpu_w", "emissions_kg", "energy_low_kwh"} <= set(curves.columns)
    assert curves["timestamp"].iloc[-1] == datetime.datetime.fromtimestamp(series.power.times_us[-1] / 1e6, UTC)
    learning = learning_to_save(series)
    assert set(learning["quantity"]) == {"loss", "accuracy"}
    assert str(learning["timestamp"].dtype).endswith("UTC]")
    samples = [each for each in raw_documents(events) if each["event_type"] == "HardwareSampled"][-1:]
    devices = devices_to_save(samples)
    assert list(devices["device_id"]) == ["cpu-0", "memory", "gpu-0"]
    assert devices["power_w"].iloc[0] == samples[0]["devices"][0]["power_w"]


def test_a_run_without_curves_is_saved_without_rows() -> None:
    """Columns stay, rows are none."""
    assert len(curves_to_save(RunSeries())) == 0
    assert list(learning_to_save(RunSeries()).columns) == ["timestamp", "source_id", "quantity", "value"]
    assert len(devices_to_save([])) == 0
