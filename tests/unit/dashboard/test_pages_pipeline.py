"""The page Pipeline, run by Streamlit's own test driver against a store in memory."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import wattline_dashboard
from tests.dashboard_runs import recorded_run, summary_document
from tests.pipeline_health import audit_document, rejected_document, streaming_document
from tests.unit.dashboard.fake_store import FakeStore
from wattline_common import store
from wattline_common.events import RunStatus
from wattline_dashboard import data
from wattline_dashboard.formats import count

APP = Path(wattline_dashboard.__file__).parent / "streamlit_app.py"
PIPELINE = "app_pages/pipeline.py"


def _page(**query: str) -> AppTest:
    page = AppTest.from_file(str(APP), default_timeout=30)
    page.query_params.update(query)
    page.run().switch_page(PIPELINE).run()
    assert not page.exception
    return page


def _metrics(page: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in page.metric}


def _words(page: AppTest) -> str:
    kinds = (page.markdown, page.info, page.error, page.warning, page.text, page.caption, page.code)
    return " ".join(element.value for elements in kinds for element in elements)


def _put_all(fake: FakeStore, **options: Any) -> None:
    fake.put(store.PIPELINE_HEALTH, streaming_document(data.now(), **options), audit_document(data.now()))


def test_figures_are_the_streams_own(fake: FakeStore) -> None:
    """Lag, rates, rejected, settled, fallback share and audit as the stream and the audit wrote them."""
    _put_all(fake)
    page = _page()
    metrics = _metrics(page)
    assert metrics["Lag"] == f"{count(1_234)} messages"
    assert metrics["Events booked"] == count(12_345)
    assert metrics["Rejected"] == "43"
    assert metrics["Decoded in Python"] == "1.0 %"
    assert metrics["Windows to settle"] == "6"
    assert metrics["Windows settled"] == count(4_008)
    assert metrics["Behind the watermark"] == "17"
    assert metrics["Last batch"] == "0.7500 s"
    assert metrics["Result"] == "clean"
    assert "stream at work" in _words(page)
    assert len(page.get("bidi_component")) == 2


def test_a_silent_stream_and_its_problems_are_told(fake: FakeStore) -> None:
    """A stream that has not reported for minutes is told; so is what keeps it from its work, as text."""
    fake.put(
        store.PIPELINE_HEALTH,
        streaming_document(data.now() - datetime.timedelta(minutes=5), problem="<b>no</b> broker ![x](http://a/b.png)"),
    )
    page = _page()
    assert "stream silent: last heard of 5 min ago" in _words(page)
    (error,) = page.error
    assert "![x](" not in error.value
    assert "No stream" not in _words(page)


def test_the_last_error_is_told_when_it_is_over(fake: FakeStore) -> None:
    """It may come again."""
    _put_all(fake, error="the store was away")
    page = _page()
    assert not page.error
    assert "Last error, over by now" in _words(page)


def test_without_a_stream_the_page_says_how_to_start_one(fake: FakeStore) -> None:
    """An empty store is told, with the command; nothing fails."""
    page = _page()
    assert "python -m wattline_streaming" in _words(page)
    assert not page.metric


@pytest.mark.parametrize("fields", [{}, {"figures": None, "ledger": None}, {"batch_at": None}], ids=str)
def test_a_stream_that_has_told_little_is_no_error(fake: FakeStore, fields: dict[str, Any]) -> None:
    """A first start writes one thing after another."""
    fake.put(store.PIPELINE_HEALTH, {"_id": store.STREAMING, **fields})
    assert _metrics(_page())["Events booked"] == "\N{EN DASH}"


def test_rejected_messages_are_listed_and_one_is_shown(fake: FakeStore) -> None:
    """The newest first, by reason if the URL has one; the bytes of the named one as harmless text."""
    _put_all(fake)
    fake.put(
        store.REJECTED_EVENTS,
        dict(rejected_document(1, data.now() - datetime.timedelta(minutes=2))),
        dict(rejected_document(2, data.now(), reason="out_of_range", value=b"<script>alert(1)</script>")),
    )
    page = _page()
    (table,) = page.dataframe
    assert list(table.value["Offset"]) == [2, 1]
    page = _page(reason="truncated", message="cluster:training.events:3:2")
    (table,) = page.dataframe
    assert list(table.value["Offset"]) == [1]
    shown = " ".join(code.value for code in page.code)
    assert "3c 73 63 72 69 70 74 3e" in shown
    assert page.selectbox(key="pipeline.reason").value == "truncated"
    asked = [each for each in fake.asked if each.collection == store.REJECTED_EVENTS]
    assert {"reason": {"$eq": "truncated"}} in [each.condition for each in asked]
    assert all("value" not in each.fields for each in asked if each.size and each.size > 1), (
        "bytes of many are not read"
    )


@pytest.mark.parametrize("query", [{"message": "nothing"}, {"message": "a\x00"}, {"reason": "$where"}], ids=str)
def test_a_wrong_link_is_told_or_ignored(fake: FakeStore, query: dict[str, str]) -> None:
    """A message that is not there is told; a reason that is none is as if it had not been said."""
    _put_all(fake)
    fake.put(store.REJECTED_EVENTS, dict(rejected_document(1, data.now())))
    page = _page(**query)
    assert len(page.dataframe[0].value) == 1
    assert len(page.warning) == ("message" in query)


def test_runs_with_gaps_are_listed(fake: FakeStore) -> None:
    """How many are whole, and the energy that did not arrive of the others."""
    _put_all(fake)
    for run_id, share in (("run-whole", 0.0), ("run-gap", 0.25)):
        events = recorded_run(run_id, data.now() - datetime.timedelta(hours=1), seconds=60, status=RunStatus.COMPLETED)
        summary = summary_document(events)
        missing_kwh = summary["energy_kwh"] * share
        settled = {"energy_kwh": summary["energy_kwh"] - missing_kwh, "difference_kwh": missing_kwh}
        fake.put(store.TRAINING_RUN_SUMMARY, summary | {"settled": settled})
    page = _page()
    assert _metrics(page)["Runs that are whole"] == "1 of 2"
    assert _metrics(page)["Runs with gaps"] == "1"
    table = page.dataframe[-1].value
    assert list(table["Run"]) == ["run-gap"]


def test_store_away_is_a_sentence(fake: FakeStore) -> None:
    """As on every page; it comes back by a click."""
    fake.is_away = True
    page = _page()
    assert "does not answer" in page.error[0].value
    fake.is_away = False
    _put_all(fake)
    page.button(key="store.retry").click().run()
    assert not page.error
    assert page.metric
