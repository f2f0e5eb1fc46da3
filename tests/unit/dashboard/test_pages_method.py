"""The page Method, run by Streamlit's own test driver against a store in memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import wattline_dashboard
from tests.dashboard_runs import Event, raw_documents, summary_document
from tests.unit.dashboard.fake_store import FakeStore
from tests.unit.dashboard.run_examples import described_run
from wattline_common import store
from wattline_dashboard.formats import EMISSIONS, ENERGY, TIMES, literal

APP = Path(wattline_dashboard.__file__).parent / "streamlit_app.py"
METHOD = "app_pages/method.py"


def _put(fake: FakeStore, events: list[Event]) -> dict[str, float]:
    summary = summary_document(events)
    fake.put(store.TRAINING_RUN_SUMMARY, summary)
    fake.put(store.TRAINING_METRICS, *raw_documents(events))
    return summary


def _page(**query: str) -> AppTest:
    page = AppTest.from_file(str(APP), default_timeout=30)
    page.query_params.update(query)
    page.run().switch_page(METHOD).run()
    assert not page.exception
    return page


def _words(page: AppTest) -> str:
    kinds = (page.markdown, page.info, page.error, page.warning, page.text, page.caption)
    return " ".join(element.value for elements in kinds for element in elements)


def test_formulas_have_the_numbers_of_the_run_in_the_url(fake: FakeStore) -> None:
    """Energy, PUE, intensity and emissions of that run; equivalents only where they are asked for."""
    summary = _put(fake, described_run())
    page = _page(run="run-1")
    words = _words(page)
    assert f"= {literal(EMISSIONS.text(summary['emissions_kg']))}" in words
    assert literal(f"{ENERGY.text(summary['energy_kwh'])} {TIMES} 1.250 {TIMES} 381.0 g CO₂e/kWh") in words
    assert len(page.table) == 2
    assert "equivalents" not in page.query_params
    page.toggle(key="method.equivalents").set_value(True).run()
    assert page.query_params["equivalents"] in ("1", ["1"])
    assert len(page.table) == 3
    page.toggle(key="method.equivalents").set_value(False).run()
    assert "equivalents" not in page.query_params


def test_equivalents_are_restored_from_the_url(fake: FakeStore) -> None:
    """A link shows them; nonsense does not."""
    _put(fake, described_run())
    assert len(_page(run="run-1", equivalents="1").table) == 3
    assert len(_page(run="run-1", equivalents="yes").table) == 2


def test_without_a_run_the_newest_is_taken_and_another_can_be_chosen(fake: FakeStore) -> None:
    """The URL then names it."""
    _put(fake, described_run())
    page = _page()
    assert page.query_params["run"] in ("run-1", ["run-1"])
    assert page.selectbox(key="method.run").value == "run-1"


def test_an_empty_store_still_explains(fake: FakeStore) -> None:
    """How to begin, and how devices are read."""
    page = _page()
    assert "python -m wattline_trainer digits" in _words(page)
    assert len(page.table) == 1


@pytest.mark.parametrize("run_id", ["run-none", "$where", "a|b"])
def test_a_wrong_link_is_told(fake: FakeStore, run_id: str) -> None:
    """As on the page of a run."""
    _put(fake, described_run())
    page = _page(run=run_id)
    assert "no such run" in page.warning[0].value


def test_names_are_text(fake: FakeStore) -> None:
    """A source of intensity or a device named like Markdown makes none."""
    evil = "![x](http://192.0.2.1/x.png)"
    events = described_run()
    summary = summary_document(events)
    summary["sources"]["source-1"]["latest_sample"]["grid_intensity_source"] = evil
    fake.put(store.TRAINING_RUN_SUMMARY, summary)
    page = _page(run="run-1")
    cells = " ".join(str(cell) for table in page.table for cell in table.value.to_numpy().ravel())
    assert evil not in cells
    assert "x.png" in cells.replace("\\", "")


def test_store_away_is_a_sentence(fake: FakeStore) -> None:
    """As on every page."""
    fake.is_away = True
    assert "does not answer" in _page().error[0].value
