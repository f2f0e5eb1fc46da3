"""Promises of components/prometheus: alerts and board ask for what the stream really exposes."""

from __future__ import annotations

import json
import re

import pytest

from tests.k8s.conftest import Render
from tests.k8s.rendered import ROOT, Combination, Object, named, pods, text_of

_METRIC = re.compile(r"\bwattline_[a-z_]+\b")
_ROW = re.compile(r"^\| `(wattline_[a-z_]+)` \| (.*?) \|", re.MULTILINE)
_LABELS = re.compile(r"by \(([a-z, ]+)\) *\(.*?(wattline_[a-z_]+)")


@pytest.fixture
def objects(render: Render) -> list[Object]:
    """Return the local overlay with the component."""
    return render(Combination("local", ("prometheus",)))


def exposed() -> dict[str, set[str]]:
    """Return label names by metric, from the table that services/streaming's own tests hold to /metrics."""
    text = (ROOT / "services" / "streaming" / "README.md").read_text(encoding="utf-8")
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in _ROW.findall(text)}


def expressions(objects: list[Object]) -> list[str]:
    """Return all PromQL of rules and board."""
    rules = [
        rule for group in named(objects, "PrometheusRule", "streaming")["spec"]["groups"] for rule in group["rules"]
    ]
    board = json.loads(text_of(objects, "ConfigMap", "wattline-board")["wattline.json"])
    return [rule["expr"] for rule in rules] + [t["expr"] for panel in board["panels"] for t in panel["targets"]]


def unknown_metrics(texts: list[str], known: dict[str, set[str]]) -> list[str]:
    """Return the metrics and labels that nobody exposes."""
    metrics = {name for text in texts for name in _METRIC.findall(text)}
    found = sorted(metrics - known.keys())
    for labels, metric in (match for text in texts for match in _LABELS.findall(text)):
        found += [
            f"{metric}{{{label}}}" for label in re.findall(r"\w+", labels) if label not in known.get(metric, set())
        ]
    return found


def test_only_metrics_that_exist(objects: list[Object]) -> None:
    """An alert on a metric that nobody exposes would never fire."""
    texts = expressions(objects)
    assert len(texts) > 15
    assert unknown_metrics(texts, exposed()) == []


def test_a_metric_that_does_not_exist_is_found() -> None:
    """The check itself can fail, on metrics as on labels."""
    known = {"wattline_problem": {"part"}}
    assert unknown_metrics(["wattline_gone > 1"], known) == ["wattline_gone"]
    assert unknown_metrics(["max by (who) (wattline_problem)"], known) == ["wattline_problem{who}"]


def test_every_alert_says_what_to_do(objects: list[Object]) -> None:
    """A person woken by it knows what happened and where to look."""
    for group in named(objects, "PrometheusRule", "streaming")["spec"]["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in {"critical", "warning", "info"}
            assert rule["annotations"].keys() == {"summary", "description"}


def test_what_is_scraped_is_there(objects: list[Object]) -> None:
    """The PodMonitor selects the stream, and a port that it has."""
    monitor = named(objects, "PodMonitor", "streaming")["spec"]
    (pod,) = [each for each in pods(objects) if each.selected_by(monitor["selector"]["matchLabels"])]
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert endpoint["path"] == "/metrics"
    assert endpoint["port"] in pod.ports
