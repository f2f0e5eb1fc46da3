"""Promises of components/budgets: what the dashboard is given is what it reads."""

from __future__ import annotations

from pathlib import Path

from tests.k8s.conftest import Render
from tests.k8s.rendered import Combination, pods, text_of
from wattline_common.environment import Environment
from wattline_dashboard.budgets import BudgetFile
from wattline_dashboard.settings import DashboardSettings


def test_the_dashboard_finds_its_budgets_where_it_is_told(render: Render, tmp_path: Path) -> None:
    """File, port and mount fit each other, and the example is one that the dashboard accepts."""
    objects = render(Combination("local", ("budgets",)))
    settings = DashboardSettings.from_environment(Environment(text_of(objects, "ConfigMap", "dashboard")))
    (pod,) = [each for each in pods(objects) if each.owner == "Deployment/dashboard"]
    (mount,) = [each for each in pod.spec["containers"][0]["volumeMounts"] if each["name"] == "budgets"]
    place = Path(settings.budgets_path)
    assert str(place.parent) == mount["mountPath"]
    assert pod.ports["metrics"] == settings.metrics_port
    example = tmp_path / place.name
    example.write_text(text_of(objects, "ConfigMap", "budgets")[place.name], encoding="utf-8")
    budgets, wrong = BudgetFile(str(example)).read()
    assert wrong is None
    assert len(budgets.entries) == 1
