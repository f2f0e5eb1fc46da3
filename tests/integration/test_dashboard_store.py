"""The dashboard's questions and pages against the real embedded store."""

from __future__ import annotations

import datetime
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import streamlit as st
from pymongo.database import Database
from streamlit.testing.v1 import AppTest

import wattline_dashboard
from tests.dashboard_runs import book, recorded_run, summary_document
from wattline_common import store
from wattline_common.events import RunStatus
from wattline_common.store import Document
from wattline_dashboard import data, queries
from wattline_dashboard.formats import EMISSIONS, ENERGY, POWER
from wattline_dashboard.history import RunHistory
from wattline_dashboard.series import from_events, from_windows

if TYPE_CHECKING:
    from wattline_stack import Endpoints

APP = Path(wattline_dashboard.__file__).parent / "streamlit_app.py"


@pytest.fixture
def database(stack: Endpoints, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database[Document]]:
    """Return the store that the pages read too, their caches empty."""
    monkeypatch.setenv("MONGODB_URI", stack.mongodb_uri)
    monkeypatch.setenv("WATTLINE_DASHBOARD_STALE_AFTER_S", "600")  # a busy machine takes its time
    st.cache_data.clear()
    st.cache_resource.clear()
    database = store.connect(stack.mongodb_uri)
    store.ensure(database)
    yield database
    database.client.close()
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def run_id(database: Database[Document]) -> Iterator[str]:
    """Return an identity of this test's own, and leave nothing under it."""
    run_id = f"dashboard-{uuid.uuid4().hex[:12]}"
    yield run_id
    database[store.TRAINING_RUN_SUMMARY].delete_one({"_id": run_id})
    for name in (store.TRAINING_METRICS, store.AGGREGATED_METRICS):
        database[name].delete_many({"run_id": run_id})


def test_a_run_comes_back_as_it_was_booked(database: Database[Document], run_id: str) -> None:
    """Summary, raw events and windows of the real store give curves that end in the run's own totals."""
    started_at = data.now() - datetime.timedelta(seconds=200)
    events = recorded_run(run_id, started_at, seconds=200, has_gpu=True, status=RunStatus.COMPLETED)
    book(database, events)
    summary = queries.run(database, run_id)
    assert summary is not None
    assert summary["energy_kwh"] == summary_document(events)["energy_kwh"]
    assert run_id in [each["_id"] for each in queries.recent_runs(database)]
    history = RunHistory(run_id)
    history.add(queries.events(database, history.missing({"source-1": len(events) - 1}, queries.MAX_EVENTS)))
    by_events = from_events(history.samples, history.steps)
    by_windows = from_windows(queries.windows(database, run_id), until=summary["last_event_at"])
    for series in (by_events, by_windows):
        assert series.energy_kwh.value[-1] == pytest.approx(summary["energy_kwh"], rel=1e-9)
        assert series.emissions_kg.value[-1] == pytest.approx(summary["emissions_kg"], rel=1e-9)
        assert list(series.power.watts) == ["CPU", "GPU", "MEMORY"]
    assert history.missing({"source-1": len(events) - 1}, queries.MAX_EVENTS) == []


def test_fetching_by_identity_stays_fast(database: Database[Document], run_id: str) -> None:
    """A page of 2,000 events among many is found by identity, not by looking at all of them."""
    book(database, recorded_run(run_id, data.now(), seconds=6_000))
    ids = [store.event_id(run_id, "source-1", seq) for seq in range(queries.MAX_EVENTS)]
    started_s = time.monotonic()
    found = queries.events(database, ids)
    assert len(found) == queries.MAX_EVENTS
    assert time.monotonic() - started_s < 5
    assert all("hyperparameters" not in event and "kafka" not in event for event in found)
    assert "method" not in found[-1].get("devices", [{}])[0]


def test_run_page_shows_the_real_stores_figures(database: Database[Document], run_id: str) -> None:
    """The page has the store's figures, and new ones after new events."""
    events = recorded_run(run_id, data.now() - datetime.timedelta(seconds=60), seconds=60)
    book(database, events[:-20])
    page = AppTest.from_file(str(APP), default_timeout=30)
    page.query_params["run"] = run_id
    page.run().switch_page("app_pages/run.py").run()
    for known in (-20, None):
        summary = summary_document(events[:known])
        figures = {metric.label: metric.value for metric in page.metric}
        assert not page.exception
        assert figures["Energy"] == ENERGY.text(summary["energy_kwh"])
        assert figures["Emissions, CO₂e"] + " CO₂e" == EMISSIONS.text(summary["emissions_kg"])
        assert figures["Power now"] == POWER.text(summary["power_w"])
        if known is not None:
            book(database, events, known=len(events) - 20)
            st.cache_data.clear()
            page.run()


def test_runs_page_lists_the_run(database: Database[Document], run_id: str) -> None:
    """The table has a run within one refresh of its first event."""
    book(database, recorded_run(run_id, data.now() - datetime.timedelta(seconds=5), seconds=5))
    page = AppTest.from_file(str(APP), default_timeout=30).run().switch_page("app_pages/runs.py").run()
    assert not page.exception
    assert run_id in set(page.dataframe[0].value["Run"])


def test_a_port_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real driver too, a store that is away is a sentence within the set time, without credentials."""
    monkeypatch.setenv("MONGODB_URI", "mongodb://ada:s3cret@127.0.0.1:9/")
    monkeypatch.setenv("WATTLINE_DASHBOARD_STORE_TIMEOUT_S", "0.5")
    st.cache_data.clear()
    st.cache_resource.clear()
    page = AppTest.from_file(str(APP), default_timeout=30).run()
    assert not page.exception
    assert "127.0.0.1:9" in page.error[0].value
    assert "s3cret" not in page.error[0].value
    st.cache_resource.clear()
