"""Promises of components/prometheus and budgets/prometheus: they ask for what stream and dashboard really expose."""

from __future__ import annotations

import json
import re

import pytest

from tests.k8s.conftest import Render
from tests.k8s.rendered import NEEDS, ROOT, Combination, Object, named, pods, text_of
from wattline_dashboard.budget_use import NEAR

_METRIC = re.compile(r"\bwattline_[a-z_]+\b")
_ROW = re.compile(r"^\| `(wattline_[a-z_]+)` \| (.*?) \|", re.MULTILINE)
_LABELS = re.compile(r"by \(([a-z, ]+)\) *\(.*?(wattline_[a-z_]+)")


PARTS = {"prometheus": ("streaming", "streaming"), "budgets/prometheus": ("budgets", "dashboard")}
"""Rule and PodMonitor of each component."""


@pytest.fixture(params=PARTS)
def component(request: pytest.FixtureRequest) -> str:
    """Return a component that alerts."""
    found: str = request.param
    return found


@pytest.fixture
def objects(component: str, render: Render) -> list[Object]:
    """Return the local overlay with the component."""
    return render(Combination("local", (*NEEDS.get(component, ()), component)))


def exposed() -> dict[str, set[str]]:
    """Return label names by metric, from the tables that the services' own tests hold to /metrics."""
    texts = [
        (ROOT / "services" / name / "README.md").read_text(encoding="utf-8") for name in ("streaming", "dashboard")
    ]
    return {name: set(re.findall(r"`(\w+)`", labels)) for text in texts for name, labels in _ROW.findall(text)}


def rules(objects: list[Object], component: str) -> list[Object]:
    """Return the component's alerts."""
    groups = named(objects, "PrometheusRule", PARTS[component][0])["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def board(objects: list[Object]) -> list[str]:
    """Return what the board asks for; nothing where there is none."""
    if not any(each["metadata"]["name"] == "wattline-board" for each in objects):
        return []
    found = json.loads(text_of(objects, "ConfigMap", "wattline-board")["wattline.json"])
    return [target["expr"] for panel in found["panels"] for target in panel["targets"]]


def unknown_metrics(texts: list[str], known: dict[str, set[str]]) -> list[str]:
    """Return the metrics and labels that nobody exposes."""
    metrics = {name for text in texts for name in _METRIC.findall(text)}
    found = sorted(metrics - known.keys())
    for labels, metric in (match for text in texts for match in _LABELS.findall(text)):
        found += [
            f"{metric}{{{label}}}" for label in re.findall(r"\w+", labels) if label not in known.get(metric, set())
        ]
    return found


def test_only_metrics_that_exist(objects: list[Object], component: str) -> None:
    """An alert on a metric that nobody exposes would never fire."""
    texts = [rule["expr"] for rule in rules(objects, component)] + board(objects)
    assert len(texts) > {"prometheus": 15, "budgets/prometheus": 2}[component]
    assert unknown_metrics(texts, exposed()) == []


def test_an_alert_warns_when_the_page_does(render: Render) -> None:
    """From the same part of a budget on; a passed one has an alert of its own."""
    found = rules(render(Combination("local", ("budgets", "budgets/prometheus"))), "budgets/prometheus")
    (near,) = [rule["expr"] for rule in found if rule["alert"] == "WattlineBudgetNearlyUsed"]
    assert near.endswith(f" >= {NEAR} <= 1")


@pytest.mark.parametrize("metric", ["wattline_batches_total", "wattline_budgets_problem"])
def test_silence_is_an_alert(render: Render, metric: str) -> None:
    """Where nobody is scraped no other alert could fire."""
    objects = render(Combination("local", ("prometheus", "budgets", "budgets/prometheus")))
    texts = [rule["expr"] for component in PARTS for rule in rules(objects, component)]
    assert f"absent({metric})" in texts


def test_a_metric_that_does_not_exist_is_found() -> None:
    """The check itself can fail, on metrics as on labels."""
    known = {"wattline_problem": {"part"}}
    assert unknown_metrics(["wattline_gone > 1"], known) == ["wattline_gone"]
    assert unknown_metrics(["max by (who) (wattline_problem)"], known) == ["wattline_problem{who}"]


def test_every_alert_says_what_to_do(objects: list[Object], component: str) -> None:
    """A person woken by it knows what happened and where to look."""
    for rule in rules(objects, component):
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"].keys() == {"summary", "description"}


def test_what_is_scraped_is_there(objects: list[Object], component: str) -> None:
    """The PodMonitor selects a workload, and a port that it has."""
    monitor = named(objects, "PodMonitor", PARTS[component][1])["spec"]
    (pod,) = [each for each in pods(objects) if each.selected_by(monitor["selector"]["matchLabels"])]
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert endpoint["path"] == "/metrics"
    assert endpoint["port"] in pod.ports
