"""Names that turn round or hide what stands beside them: no page hands them to the browser as they are."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any, cast

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Block, Node

import wattline_dashboard
from tests.dashboard_runs import (
    raw_documents,
    recorded_run,
    rollup_documents,
    summary_document,
    window_documents,
)
from tests.pipeline_health import rejected_document, streaming_document
from tests.unit.dashboard.fake_store import FakeStore
from wattline_common import store
from wattline_common.events import RunStatus
from wattline_common.store import RunSummary
from wattline_dashboard import data
from wattline_dashboard.run_report import run_report

APP = Path(wattline_dashboard.__file__).parent / "streamlit_app.py"
TURNED = "\u202e"
FIELDS = ("user_id", "model_name", "dataset_name", "framework", "environment", "project", "host")
RAW = (TURNED.encode(), rb"\u202e")
MESSAGE = "cluster:training.events:3:2"
PAGES = ("overview", "runs", "run", "compare", "people", "pipeline", "method")


@pytest.fixture
def summaries(fake: FakeStore) -> list[RunSummary]:
    """Put two runs whose every name hides something into the store."""
    found = []
    for run_id in ("run-a", "run-b"):
        names: dict[str, Any] = {name: f"{name}{TURNED}of {run_id}" for name in FIELDS}
        began = data.now() - datetime.timedelta(hours=3)
        events = recorded_run(run_id, began, seconds=600, interval_s=10, status=RunStatus.COMPLETED, **names)
        summary = summary_document(events)
        found.append(cast("RunSummary", summary))
        fake.put(store.TRAINING_RUN_SUMMARY, summary)
        fake.put(store.TRAINING_METRICS, *raw_documents(events))
        windows = window_documents(events)
        fake.put(store.AGGREGATED_METRICS, *windows)
        fake.put(store.AGGREGATED_ROLLUPS, *rollup_documents(windows))
    rejected = rejected_document(2, data.now())
    hidden = {"detail": f"what{TURNED}is wrong", "headers": [{"k": f"a{TURNED}name", "v": TURNED.encode()}]}
    fake.put(store.REJECTED_EVENTS, {**rejected, **hidden})
    fake.put(store.PIPELINE_HEALTH, streaming_document(data.now()))
    return found


def _protos(node: Node) -> list[bytes]:
    """Return what the browser gets of a part of the page."""
    inner = [each for child in node.children.values() for each in _protos(child)] if isinstance(node, Block) else []
    proto = getattr(node, "proto", None)
    return inner if proto is None else [*inner, proto.SerializeToString()]


@pytest.mark.parametrize("name", PAGES)
def test_no_page_turns_a_name_round(summaries: list[RunSummary], name: str) -> None:
    """Texts, tables, choices and plots have the mark's number where the mark was."""
    page = AppTest.from_file(str(APP), default_timeout=30)
    page.query_params.update({"run": "run-a", "runs": "run-a,run-b", "period": "7d", "message": MESSAGE})
    page.run().switch_page(f"app_pages/{name}.py").run()
    assert not page.exception
    told = b"\n".join(_protos(page._tree))
    assert b"202E" in told
    for raw in RAW:
        assert raw not in told, told[max(0, told.find(raw) - 80) : told.find(raw) + 40]


def test_no_report_turns_a_name_round(summaries: list[RunSummary]) -> None:
    """Nor does the sheet that is printed."""
    series = data.run_series(summaries[0])
    report = run_report(summaries[0], series, data.now(), datetime.UTC).decode()
    assert "[U+202E]" in report
    assert TURNED not in report
