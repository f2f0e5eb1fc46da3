"""Every question to the store is bounded, projected and made of values only."""

from __future__ import annotations

import datetime
from typing import Any, cast

import pytest
from pymongo.database import Database

from tests.dashboard_runs import raw_documents, recorded_run, summary_document, window_documents
from tests.unit.dashboard.fake_store import FakeStore
from wattline_common import store
from wattline_common.errors import StoreUnavailableError
from wattline_dashboard import queries

START = datetime.datetime(2026, 1, 1, 12, 0, 0, tzinfo=datetime.UTC)


@pytest.fixture
def fake() -> FakeStore:
    """Return a store with three runs, the one in the middle still going."""
    fake = FakeStore()
    for number, status in enumerate(("COMPLETED", "RUNNING", "FAILED")):
        events = recorded_run(f"run-{number}", START + datetime.timedelta(hours=number), seconds=130)
        fake.put(store.TRAINING_RUN_SUMMARY, summary_document(events) | {"status": status})
        fake.put(store.TRAINING_METRICS, *raw_documents(events))
        fake.put(store.AGGREGATED_METRICS, *window_documents(events))
    return fake


def _database(fake: FakeStore) -> Database[store.Document]:
    return cast("Database[store.Document]", fake)


def test_recent_runs_are_bounded_and_light(fake: FakeStore) -> None:
    """The table never asks for more than its bound, whatever it is told, nor for what the sources said."""
    runs = queries.recent_runs(_database(fake), limit=10**9)
    assert [run["_id"] for run in runs] == ["run-2", "run-1", "run-0"]
    assert all("sources" not in run for run in runs)
    assert fake.asked[-1].size == queries.MAX_RUNS


def test_newest_run_is_one_that_runs(fake: FakeStore) -> None:
    """Without a link the page shows what is going on, else what was last."""
    assert queries.newest_run_id(_database(fake)) == "run-1"
    fake.documents[store.TRAINING_RUN_SUMMARY].pop("run-1")
    assert queries.newest_run_id(_database(fake)) == "run-2"
    assert queries.newest_run_id(_database(FakeStore())) is None


def test_run_by_identity(fake: FakeStore) -> None:
    """A run is found by its exact identity."""
    found = queries.run(_database(fake), "run-1")
    assert found is not None
    assert found["run_id"] == "run-1"
    assert queries.run(_database(fake), "run-9") is None


def test_events_by_identity(fake: FakeStore) -> None:
    """Events come by exact identities, at most so many at once, without what no chart shows."""
    assert len(queries.events(_database(fake), [f"run-0|source-1|{seq}" for seq in range(1_000)])) == 261
    assert "hyperparameters" not in fake.asked[-1].fields
    assert queries.events(_database(fake), []) == []
    with pytest.raises(ValueError, match="2001"):
        queries.events(_database(fake), ["x"] * (queries.MAX_EVENTS + 1))


def test_windows_are_the_runs_own_in_order(fake: FakeStore) -> None:
    """Windows of one run, the newest within the bound, oldest first."""
    windows = queries.windows(_database(fake), "run-1")
    starts = [window["window_start"] for window in windows]
    assert starts == sorted(starts)
    assert fake.asked[-1].condition == {"run_id": {"$eq": "run-1"}}
    assert len(queries.windows(_database(fake), "run-1", limit=2)) == 2


@pytest.mark.parametrize("text", ["", "$where", "a.b", "a|b", "x\n", "x" * 257, None, 7, {"$ne": ""}, ["run-0"]])
def test_no_operator_gets_in(fake: FakeStore, text: Any) -> None:
    """What cannot be a run's identity is not asked for: no operator, no path, no other type."""
    assert not queries.is_run_id(text)
    for query in (queries.run, queries.windows):
        with pytest.raises(ValueError, match="identity"):
            query(_database(fake), text)
    assert fake.asked == []


def test_a_lost_store_is_our_error_without_secrets(fake: FakeStore) -> None:
    """The driver's error is translated; its text, which may hold credentials, is not passed on."""
    fake.is_away = True
    with pytest.raises(StoreUnavailableError) as caught:
        queries.recent_runs(_database(fake))
    assert "secret" not in str(caught.value)
    assert "MONGODB_URI" in str(caught.value)
