"""Files that the pages offer, saved by a real browser, read again, and compared with the store."""

from __future__ import annotations

import csv
import datetime
import io
import json
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import jsonschema
import pyarrow.parquet as pq
import pytest
import yaml
from pymongo.database import Database

from tests.browser import until
from tests.dashboard_pages import picture, wait_for_figures, wait_for_plots
from tests.dashboard_runs import book, forget, recorded_run
from tests.unit.dashboard.boamps_model import BOAMPS_REPORT
from wattline_common import store
from wattline_common.events import RunStatus
from wattline_common.store import Document
from wattline_dashboard.export import restored
from wattline_dashboard.formats import ENERGY

if TYPE_CHECKING:
    from playwright.sync_api import Page

MARK = f"export-{uuid.uuid4().hex[:8]}"
RUNS = [f"{MARK}-{number}" for number in range(3)]
USER = f"=1+1 {MARK}"  # a spreadsheet would compute it

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("runs")]
only_light = pytest.mark.parametrize("scheme", ["light"], indirect=True)


@pytest.fixture(scope="module")
def runs(database: Database[Document]) -> Iterator[None]:
    """Book two real runs and a simulated one of a user whose name is a formula."""
    now = datetime.datetime.now(datetime.UTC)
    for number, run_id in enumerate(RUNS):
        book(
            database,
            recorded_run(
                run_id,
                now - datetime.timedelta(minutes=40 + 10 * number),
                seconds=300,
                interval_s=5.0,
                status=RunStatus.COMPLETED,
                has_gpu=number > 0,
                simulated=number == 2,
                user_id=USER,
                project="@vision",
            ),
        )
    yield
    forget(database, RUNS)


def _saved(page: Page, key: str) -> bytes:
    """Click a button that saves a file, and return the file."""
    button = page.locator(f".st-key-{key} button")
    button.wait_for(timeout=30_000)
    with page.expect_download(timeout=30_000) as download:
        button.click()
    return download.value.path().read_bytes()


def _stored(database: Database[Document]) -> dict[str, Document]:
    return {run["_id"]: run for run in database[store.TRAINING_RUN_SUMMARY].find({"_id": {"$in": RUNS}})}


def _rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))


@only_light
def test_saved_runs_are_the_stores(page: Page, url: str, database: Database[Document]) -> None:
    """CSV and Parquet of the filtered runs have the store's figures; no cell begins like a formula."""
    page.goto(f"{url}/runs?text={MARK}")
    wait_for_figures(page)
    wanted = _stored(database)
    rows = _rows(_saved(page, "runs-save-runs-csv"))
    assert {row["run_id"] for row in rows} == set(RUNS)
    for row in rows:
        run = wanted[row["run_id"]]
        assert float(row["energy_kwh"]) == run["energy_kwh"]
        assert float(row["emissions_kg"]) == run["emissions_kg"]
        assert row["simulated"] == str(run["simulated"]).lower()
        assert datetime.datetime.fromisoformat(row["started_at"]) == run["started_at"]
        assert (row["user_id"], row["project"]) == (f"'{USER}", "'@vision")
        assert restored(row["user_id"]) == USER
    table = pq.read_table(io.BytesIO(_saved(page, "runs-save-runs-parquet"))).to_pylist()
    assert {row["run_id"]: (row["energy_kwh"], row["user_id"]) for row in table} == {
        run_id: (run["energy_kwh"], USER) for run_id, run in wanted.items()
    }


@only_light
def test_saved_period_keeps_real_and_simulated_apart(page: Page, url: str, database: Database[Document]) -> None:
    """The overview's files have what the windows come to, each run in its class."""
    page.goto(f"{url}/?project=@vision")
    wait_for_plots(page, 7)
    wanted = _stored(database)
    rows = _rows(_saved(page, "overview-save-runs-of-period-csv"))
    assert {row["run_id"]: row["simulated"] for row in rows} == {
        run_id: str(run["simulated"]).lower() for run_id, run in wanted.items()
    }
    for row in rows:
        assert float(row["period_energy_kwh"]) == pytest.approx(wanted[row["run_id"]]["energy_kwh"], rel=1e-9)
    sums = _rows(_saved(page, "overview-save-sums-of-period-csv"))
    real_kwh = sum(run["energy_kwh"] for run in wanted.values() if not run["simulated"])
    (mine,) = [row for row in sums if row["dimension"] == "user_id" and row["simulated"] == "false"]
    assert restored(mine["key"]) == USER
    assert float(mine["energy_kwh"]) == pytest.approx(real_kwh, rel=1e-9)


@only_light
def test_a_run_is_taken_away(page: Page, url: str, database: Database[Document]) -> None:
    """Report, model card, BoAmps, curves and devices of a run have its figures; the report opens and asks nobody."""
    run_id = RUNS[1]
    page.goto(f"{url}/run?run={run_id}")
    wait_for_plots(page, 6)
    run = _stored(database)[run_id]
    report = json.loads(_saved(page, "run-save-boamps"))
    jsonschema.Draft202012Validator(BOAMPS_REPORT).validate(report)
    assert report["measures"][0]["powerConsumption"] == run["energy_kwh"]
    card = _saved(page, "run-save-card").decode()
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["co2_eq_emissions"]["emissions"] == pytest.approx(run["emissions_kg"] * 1000, rel=1e-5)
    curves = _rows(_saved(page, "run-save-curves-csv"))
    assert float(curves[-1]["energy_kwh"]) == pytest.approx(run["energy_kwh"], rel=1e-9)
    devices = pq.read_table(io.BytesIO(_saved(page, "run-save-devices-parquet"))).to_pylist()
    assert {device["kind"] for device in devices} == {"CPU", "MEMORY", "GPU"}
    sheet = _saved(page, "run-save-report").decode()
    assert ENERGY.text(run["energy_kwh"]) in sheet
    paper = page.context.new_page()
    try:
        asked: list[str] = []
        paper.on("request", lambda request: asked.append(request.url))
        paper.set_content(sheet)
        assert paper.locator("svg").count() == 4
        assert asked == []
        pdf = paper.pdf(prefer_css_page_size=True)
        assert pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") == 1, "it prints on one sheet"
        picture(paper, "report")
    finally:
        paper.close()


@only_light
def test_a_runs_page_leads_to_its_method(page: Page, url: str) -> None:
    """One click from a figure to how it was made."""
    page.goto(f"{url}/run?run={RUNS[0]}")
    wait_for_plots(page, 6)
    page.get_by_role("link", name="Every formula").click()
    page.wait_for_url(f"**/method?run={RUNS[0]}", timeout=30_000)
    until(lambda: "Energy of the run" in page.inner_text(".stMain"), "the formulas")
