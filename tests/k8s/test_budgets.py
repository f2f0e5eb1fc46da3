"""Promises of components/budgets: what the dashboard is given is what it reads."""

from __future__ import annotations

from pathlib import Path

from tests.k8s.conftest import Render
from tests.k8s.connections import dangling_references
from tests.k8s.rendered import Combination, copy_tree, kustomize, pods, text_of
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


def test_budgets_of_ones_own_take_the_examples_place(tmp_path: Path) -> None:
    """By the very lines that the component's kustomization.yaml gives for it."""
    tree = copy_tree(tmp_path)
    Combination("local", ("budgets",)).prepare(tree)
    text = (tree / "components" / "budgets" / "kustomization.yaml").read_text(encoding="utf-8")
    given = [line.removeprefix("#   ") for line in text.splitlines() if line.startswith("#   ")]
    assert given[0] == "resources:"
    mine = tree / "mine"
    mine.mkdir()
    (mine / "kustomization.yaml").write_text("\n".join(given), encoding="utf-8")
    (mine / "budgets.toml").write_text('[[budget]]\nuser = "ada"\nkwh = 50\nper = "year"\n', encoding="utf-8")
    objects = kustomize(mine)
    assert "ada" in text_of(objects, "ConfigMap", "budgets")["budgets.toml"]
    assert dangling_references(objects) == []
