"""The page Pipeline in a real browser, over the real store, with what the stream's own report writes."""

from __future__ import annotations

import datetime
import os
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from pymongo.database import Database

from tests.browser import until
from tests.dashboard_pages import figures, is_dark, picture, wait_for_figures, wait_for_plots
from tests.dashboard_runs import book, forget, recorded_run
from tests.pipeline_health import LEDGER, audit_document, streaming_document
from wattline_common import store
from wattline_common.events import RunStatus
from wattline_common.store import Document
from wattline_dashboard.formats import ENERGY, count
from wattline_streaming.books import Books, KafkaPosition, Message, Rejection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from playwright.sync_api import Page

    from wattline_stack import Stack

CLUSTER = f"pipeline-{uuid.uuid4().hex[:8]}"
GAP, WHOLE = f"{CLUSTER}-gap", f"{CLUSTER}-whole"
EVIL = b"<script>document.title='run'</script>" + bytes(range(256))

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("told")]
only_light = pytest.mark.parametrize("scheme", ["light"], indirect=True)


class _NoTopic:
    """The rejected topic is not looked at here."""

    def send(self, rejections: Iterable[Rejection]) -> None:
        """Take them."""
        assert list(rejections)


def _tell(database: Database[Document], now: datetime.datetime, **options: str) -> None:
    for document in (streaming_document(now, **options), audit_document(now)):
        database[store.PIPELINE_HEALTH].replace_one({"_id": document["_id"]}, document, upsert=True)


@pytest.fixture(scope="module")
def told(database: Database[Document]) -> Iterator[None]:
    """Let the stream's own code reject messages; book a run that is whole and one with a gap; tell of a stream."""
    health = database[store.PIPELINE_HEALTH]
    before = list(health.find({"_id": {"$in": [store.STREAMING, store.AUDIT]}}))
    now = datetime.datetime.now(datetime.UTC)
    none = datetime.timedelta()
    books = Books(database, _NoTopic(), cluster_id=CLUSTER, settle_delay=none, quiet=none, now=lambda: now)
    for offset, reason in enumerate(("wrong_magic_byte", "truncated", "truncated")):
        message = Message(b"run-1", EVIL, [("traceparent", b"00-abc")], KafkaPosition(0, offset, now))
        books.reject([Rejection(message, reason, "<b>no</b> ![x](http://192.0.2.1/x.png)")])
    for run_id, missing in ((WHOLE, 0.0), (GAP, 0.25)):
        book(database, recorded_run(run_id, now - datetime.timedelta(hours=1), seconds=60, status=RunStatus.COMPLETED))
        summaries = database[store.TRAINING_RUN_SUMMARY]
        energy_kwh = summaries.find_one({"_id": run_id}, {"energy_kwh": 1})["energy_kwh"]  # type: ignore[index]  # it was booked
        settled = {"energy_kwh": energy_kwh * (1 - missing), "difference_kwh": energy_kwh * missing, "settled_at": now}
        summaries.update_one({"_id": run_id}, {"$set": {"settled": settled}})
    yield
    health.delete_many({"_id": {"$in": [store.STREAMING, store.AUDIT]}})
    for document in before:
        health.insert_one(document)
    database[store.REJECTED_EVENTS].delete_many({"_id": {"$in": [_id(offset) for offset in range(3)]}})
    forget(database, [GAP, WHOLE])


def _id(offset: int) -> str:
    return f"{CLUSTER}:training.events:0:{offset}"


def test_the_page_has_the_streams_figures_in_both_themes(
    page: Page, url: str, scheme: str, database: Database[Document]
) -> None:
    """Lag, booked, rejected, settled and audit are the store's; a further report makes a curve of the load."""
    page.set_viewport_size({"width": 1440, "height": 2700})
    _tell(database, datetime.datetime.now(datetime.UTC))
    page.goto(f"{url}/pipeline")
    wait_for_figures(page)
    shown = figures(page)
    stored = database[store.PIPELINE_HEALTH].find_one({"_id": store.STREAMING})
    assert stored is not None
    assert shown["Lag"] == f"{count(stored['figures']['lag_messages'])} messages"
    assert shown["Events booked"] == count(stored["ledger"]["rows_booked"])
    assert shown["Rejected"] == count(sum(LEDGER["rows_rejected"].values()))
    assert shown["Windows settled"] == count(stored["figures"]["windows_settled"])
    assert shown["Windows to settle"] == count(stored["figures"]["windows_dirty"])
    until(lambda: figures(page).get("Result") == "clean", "the audit")
    assert "stream at work" in page.inner_text(".stMain")
    wait_for_plots(page, 2)
    _tell(database, datetime.datetime.now(datetime.UTC))
    wait_for_plots(page, 4)
    assert is_dark(page) == (scheme == "dark")
    picture(page, f"pipeline-{scheme}")


@only_light
def test_rejected_messages_are_shown_as_harmless_text(page: Page, url: str, database: Database[Document]) -> None:
    """A link to a reason and a message shows both; bytes are hexadecimal, detail is text, after a reload too."""
    _tell(database, datetime.datetime.now(datetime.UTC))
    page.goto(f"{url}/pipeline?reason=truncated&message={_id(1)}")
    wait_for_figures(page)
    until(lambda: "3c 73 63 72 69 70 74 3e" in page.inner_text(".stMain"), "the message's bytes")
    cells = page.locator("[data-testid=stDataFrame]").first.locator("td")
    until(lambda: "truncated" in cells.all_text_contents(), "the rows of the reason")
    assert "wrong_magic_byte" not in cells.all_text_contents()
    assert "![x](http://192.0.2.1/x.png)" in page.inner_text(".st-key-pipeline-message")
    assert page.locator(".stMain img[src*='192.0.2.1']").count() == 0
    assert page.title() != "run"
    page.reload()
    until(lambda: "3c 73 63 72 69 70 74 3e" in page.inner_text(".stMain"), "the same after a reload", within_s=60)
    assert page.get_by_role("combobox", name="Reason").input_value() == "truncated"


@only_light
def test_a_gap_and_a_problem_are_told(page: Page, url: str, database: Database[Document]) -> None:
    """A run whose windows miss something is listed with the energy; what stops the stream is said in its own words."""
    page.set_viewport_size({"width": 1440, "height": 2700})
    _tell(database, datetime.datetime.now(datetime.UTC), problem="Kafka is away: KAFKA_BOOTSTRAP_SERVERS names it")
    page.goto(f"{url}/pipeline")
    page.get_by_text("Kafka is away").wait_for(timeout=60_000)
    assert "stream has a problem" in page.inner_text(".stMain")
    run = database[store.TRAINING_RUN_SUMMARY].find_one({"_id": GAP})
    assert run is not None
    rows = page.locator("[data-testid=stDataFrame]").last.locator("tbody tr")
    until(lambda: any(GAP in text for text in rows.all_text_contents()), "the run with a gap", within_s=60)
    assert not any(WHOLE in text for text in rows.all_text_contents())
    assert ENERGY.text(run["settled"]["difference_kwh"])
    assert int(figures(page)["Runs with gaps"]) >= 1


@only_light
def test_a_silent_stream_is_told(page: Page, url: str, database: Database[Document]) -> None:
    """Figures of five minutes ago are not shown as if they were of now."""
    _tell(database, datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=5))
    page.goto(f"{url}/pipeline")
    page.get_by_text("stream silent: last heard of 5 min ago").wait_for(timeout=60_000)
    picture(page, "pipeline-silent-light")


@pytest.mark.skipif(bool(os.environ.get("MONGODB_URI")), reason="MONGODB_URI names a store that is not ours to kill")
@only_light
def test_a_lost_store_is_told_and_comes_back(
    page: Page, url: str, running_stack: Stack, database: Database[Document]
) -> None:
    """A killed store gives a sentence on the open page, and the figures again once it is back."""
    page.set_viewport_size({"width": 700, "height": 1400})
    _tell(database, datetime.datetime.now(datetime.UTC))
    page.goto(f"{url}/pipeline")
    wait_for_figures(page)
    picture(page, "pipeline-narrow-light")
    running_stack.kill("store")
    try:
        page.get_by_text("does not answer").wait_for(timeout=60_000)
    finally:
        running_stack.restart("store")
    wait_for_figures(page)
    until(lambda: page.get_by_text("does not answer").count() == 0, "the sentence to go")
