"""What Prometheus is told of budgets."""

from __future__ import annotations

import datetime
import re
import socket
import urllib.request
from pathlib import Path
from typing import cast

import pytest
from prometheus_client import CollectorRegistry
from pymongo.database import Database

from tests.dashboard_runs import recorded_run, rollup_documents, window_documents
from tests.unit.dashboard.fake_store import FakeStore
from wattline_common import store
from wattline_common.errors import ConfigurationError
from wattline_common.store import Document
from wattline_dashboard import budget_metrics
from wattline_dashboard.budget_metrics import BudgetCollector
from wattline_dashboard.budgets import BudgetFile
from wattline_dashboard.settings import DashboardSettings

README = Path(__file__).resolve().parents[3] / "services" / "dashboard" / "README.md"
LABELS = {"owner": "user", "name": "ada", "per": "month", "measure": "energy", "counts": "real"}


def _windows(fake: FakeStore) -> float:
    """Fill a store with a run of this month and a simulated one; return the energy of the first."""
    now = datetime.datetime.now(datetime.UTC).replace(day=1, hour=0, minute=5)
    windows = window_documents(recorded_run("run-a", now, seconds=120))
    energy_kwh = sum(float(window["aggregate"]["energy_kwh"]) for window in windows)
    windows += window_documents(recorded_run("run-b", now, seconds=600, simulated=True))
    fake.put(store.AGGREGATED_ROLLUPS, *rollup_documents(windows))
    return energy_kwh


def _registry(fake: FakeStore, path: Path) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(BudgetCollector(BudgetFile(str(path)), cast("Database[Document]", fake), timeout_s=1.0))
    return registry


def _budget(path: Path, kwh: float) -> Path:
    path.write_text(f'[[budget]]\nuser = "ada"\nkwh = {kwh!r}\nper = "month"', encoding="utf-8")
    return path


def test_a_passed_budget_is_told(tmp_path: Path) -> None:
    """The used part is the store's real energy over the limit; a change of the file is told at the next scrape."""
    fake = FakeStore()
    energy_kwh = _windows(fake)
    path = _budget(tmp_path / "b.toml", energy_kwh / 2)
    registry = _registry(fake, path)
    assert fake.asked == [], "registering asks nobody"
    assert registry.get_sample_value("wattline_budget_used_ratio", LABELS) == pytest.approx(2.0, rel=1e-9)
    assert registry.get_sample_value("wattline_budget_passed", LABELS) == 1.0
    asked = len(fake.asked)
    assert registry.get_sample_value("wattline_budgets_problem", {"part": "store"}) == 0.0
    assert len(fake.asked) == asked, "scrapes in a row cost the store nothing"
    _budget(path, energy_kwh * 10)
    assert registry.get_sample_value("wattline_budget_passed", LABELS) == 0.0


def test_the_readme_names_every_metric_and_its_labels(tmp_path: Path) -> None:
    """What an alert can ask for stands there, and nothing else."""
    fake = FakeStore()
    energy_kwh = _windows(fake)
    told = {
        sample.name: set(sample.labels)
        for metric in _registry(fake, _budget(tmp_path / "b.toml", energy_kwh)).collect()
        for sample in metric.samples
    }
    rows = re.findall(r"^\| `(wattline_\w+)` \| (.*?) \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows} == told


def test_what_cannot_be_told_is_a_problem_not_a_figure(tmp_path: Path) -> None:
    """With the store away no budget has a figure; with a wrong file those that were right still have."""
    fake = FakeStore()
    fake.is_away = True
    path = _budget(tmp_path / "b.toml", 1.0)
    registry = _registry(fake, path)
    assert registry.get_sample_value("wattline_budgets_problem", {"part": "store"}) == 1.0
    assert registry.get_sample_value("wattline_budget_passed", LABELS) is None
    fake.is_away = False
    assert registry.get_sample_value("wattline_budget_passed", LABELS) == 0.0
    path.write_text("nonsense", encoding="utf-8")
    assert registry.get_sample_value("wattline_budgets_problem", {"part": "file"}) == 1.0
    assert registry.get_sample_value("wattline_budget_passed", LABELS) == 0.0


def test_metrics_are_served_on_a_port_of_their_own(tmp_path: Path) -> None:
    """With a port set, /metrics answers there, even while the store is away; a port in use is a wrong setting."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = _budget(tmp_path / "b.toml", 1.0)
    settings = DashboardSettings(
        mongodb_uri="mongodb://127.0.0.1:9/", store_timeout_s=0.1, budgets_path=str(path), metrics_port=port
    )
    budget_metrics.serve(settings)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert 'wattline_budgets_problem{part="store"} 1.0' in answer.read().decode()
    with pytest.raises(ConfigurationError, match=f"WATTLINE_DASHBOARD_METRICS_PORT={port}"):
        budget_metrics.serve(settings)
    budget_metrics.serve(DashboardSettings())
