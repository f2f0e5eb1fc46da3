"""The pages Compare and People, run by Streamlit's own test driver against a store in memory."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import wattline_dashboard
from tests.dashboard_runs import (
    Event,
    raw_documents,
    recorded_run,
    rollup_documents,
    summary_document,
    window_documents,
)
from tests.unit.dashboard.fake_store import FakeStore
from wattline_common import store
from wattline_common.events import RunStatus
from wattline_dashboard import data
from wattline_dashboard.budgets import SETTING
from wattline_dashboard.differences import DIFFERENT
from wattline_dashboard.formats import EMISSIONS, ENERGY, literal
from wattline_dashboard.spans import Span

APP = Path(wattline_dashboard.__file__).parent / "streamlit_app.py"
COMPARE, PEOPLE, RUNS = "app_pages/compare.py", "app_pages/people.py", "app_pages/runs.py"
NOW = datetime.datetime(2026, 11, 17, 12, 30, tzinfo=datetime.UTC)


@pytest.fixture(autouse=True)
def in_mid_month(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it be a day in the middle of a month."""
    monkeypatch.setattr(data, "now", lambda: NOW)


def _put(fake: FakeStore, *runs: list[Event]) -> list[dict[str, Any]]:
    windows = [window for events in runs for window in window_documents(events)]
    fake.put(store.AGGREGATED_METRICS, *windows)
    fake.put(store.AGGREGATED_ROLLUPS, *rollup_documents(windows))
    for events in runs:
        fake.put(store.TRAINING_METRICS, *raw_documents(events))
        fake.put(store.TRAINING_RUN_SUMMARY, summary_document(events))
    return [summary_document(events) for events in runs]


def _run(run_id: str, *, days_ago: float = 1, **options: Any) -> list[Event]:
    given: dict[str, Any] = {"seconds": 600, "interval_s": 10, "status": RunStatus.COMPLETED} | options
    return recorded_run(run_id, NOW - datetime.timedelta(days=days_ago), **given)


def _page(path: str, **query: str) -> AppTest:
    page = AppTest.from_file(str(APP), default_timeout=30)
    page.query_params.update(query)
    page.run().switch_page(path).run()
    assert not page.exception
    return page


def _metrics(page: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in page.metric}


def _words(page: AppTest) -> str:
    kinds = (page.markdown, page.info, page.error, page.warning, page.text, page.caption)
    return " ".join(element.value for elements in kinds for element in elements)


@pytest.mark.parametrize("path", [COMPARE, PEOPLE])
def test_empty_store_and_store_away_are_honest(fake: FakeStore, path: str) -> None:
    """Nothing recorded names the command that records; a lost store is told without credentials, and comes back."""
    assert "python -m wattline_trainer digits" in _words(_page(path))
    st.cache_data.clear()
    fake.is_away = True
    page = _page(path)
    (error,) = page.error
    assert "db.example:27017" in error.value
    assert "s3cret" not in _words(page)
    fake.is_away = False
    _put(fake, _run("run-a"))
    page.button(key="store.retry").click().run()
    assert not page.exception
    assert not page.error


def test_compare_shows_the_runs_of_the_url_and_what_differs(fake: FakeStore) -> None:
    """Each run has its letter and the store's figures; what differs is marked; the choice of rows is in the URL."""
    small, big = _put(fake, _run("run-a"), _run("run-b", seconds=900, has_gpu=True, user_id="grace"))
    page = _page(COMPARE, runs="run-b,run-a")
    assert page.multiselect(key="compare.runs").value == ["run-b", "run-a"]
    table = page.dataframe[0].value.set_index("Fact")
    scale = ENERGY.scale(big["energy_kwh"])
    assert table.loc["Energy", "A · digits-mlp"] == ENERGY.text(big["energy_kwh"], scale)
    assert str(table.loc["Energy", "B · digits-mlp"]).endswith(ENERGY.text(small["energy_kwh"], scale))
    assert table.loc["User", "Differs"] == DIFFERENT
    assert table.loc["Model", "Differs"] == ""
    assert len(page.get("bidi_component")) == 2
    page = _page(COMPARE, runs="run-b,run-a", rows="differing", measure="emissions")
    assert "Model" not in page.dataframe[0].value["Fact"].tolist()
    assert "against emissions" in _words(page)


def test_compare_picks_runs_into_the_url(fake: FakeStore) -> None:
    """Runs can be picked on the page, and a link then holds them."""
    _put(fake, _run("run-a"), _run("run-b"), _run("run,c"))
    page = _page(COMPARE)
    assert "Pick 2 to 6 runs" in _words(page)
    page.multiselect(key="compare.runs").set_value(["run-a", "run,c"]).run()
    assert not page.exception
    assert page.query_params["runs"] in ("run-a,run|c", ["run-a,run|c"])
    assert len(page.dataframe) == 1


@pytest.mark.parametrize(
    ("runs", "told"),
    [
        ("run-a", "Pick one more run"),
        ("run-a,none", "There is no such run"),
        ("$where,a|b", "Pick 2 to 6 runs"),
        ("run-a,run-0,run-1,run-2,run-3,run-4,run-5,run-6", "The link names 8 runs; the first 6 are compared"),
    ],
)
def test_compare_tells_what_a_link_lacks(fake: FakeStore, runs: str, told: str) -> None:
    """Too few, too many, unknown and impossible runs each get a sentence."""
    _put(fake, _run("run-a"), *(_run(f"run-{number}") for number in range(7)))
    page = _page(COMPARE, runs=runs)
    assert told in _words(page)
    assert bool(page.dataframe) == ("first 6" in told)


def test_compare_keeps_simulated_runs_apart(fake: FakeStore) -> None:
    """A simulated run is marked, and has a Pareto front of its own."""
    _put(fake, _run("run-a"), _run("run-b", simulated=True))
    words = _words(_page(COMPARE, runs="run-a,run-b"))
    assert "a front of its own" in words
    assert "a front of its own" not in _words(_page(COMPARE, runs="run-a,run-c"))


def test_people_shows_the_stores_sums_of_the_month(fake: FakeStore) -> None:
    """Real and simulated use of this month beside those of the last one, by user, with the runs behind them."""
    ada, grace, _, sim = _put(
        fake,
        _run("run-a"),
        _run("run-b", user_id="grace", has_gpu=True),
        _run("run-old", days_ago=20),
        _run("run-sim", simulated=True),
    )
    page = _page(PEOPLE)
    metrics = _metrics(page)
    assert metrics["Energy, real"] == ENERGY.text(ada["energy_kwh"] + grace["energy_kwh"])
    assert metrics["Emissions, simulated"] == EMISSIONS.text(sim["emissions_kg"])
    assert (metrics["Users, real"], metrics["Runs, real"], metrics["Runs, simulated"]) == ("2", "2", "1")
    users = page.dataframe[0].value
    assert users["User"].tolist() == ["grace", "ada", "ada"]
    assert users["Energy"].iloc[0] == pytest.approx(grace["energy_kwh"], rel=1e-9)
    assert page.dataframe[1].value["Run"].tolist()[0] == "run-b"
    assert "November 2026" in _words(page)
    assert len(page.get("bidi_component")) == 3
    page = _page(PEOPLE, name="ada", span="2026-10", kind="real")
    assert _metrics(page)["Runs, real"] == "1"
    assert "Energy, simulated" not in _metrics(page)


def test_people_takes_choices_from_the_url_and_puts_them_there(fake: FakeStore) -> None:
    """Owner, span and name are in the URL; nonsense there is ignored."""
    _put(fake, _run("run-a", project="vision"), _run("run-b"))
    page = _page(PEOPLE, by="project", span="2026-Q4", name="vision", measure="emissions", kind="x")
    assert "Emissions in Q4 2026" in _words(page)
    assert page.selectbox(key="people.name").value == "vision"
    page.selectbox(key="people.span").set_value("2026-Q3").run()
    assert page.query_params["span"] in ("2026-Q3", ["2026-Q3"])
    assert "Nothing was used in Q3 2026" in _words(page)
    assert "November 2026" in _words(_page(PEOPLE, span="2026-99", by="$where"))


def test_budgets_have_a_banner_a_line_and_a_table(
    fake: FakeStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A passed budget is told on the page, whatever is shown; the table has the store's figures."""
    ada, grace = _put(fake, _run("run-a"), _run("run-b", user_id="grace"))
    path = tmp_path / "budgets.toml"
    limits = {"ada": ada["energy_kwh"] / 2, "grace": grace["energy_kwh"] / 0.9, "bob": 1.0}
    path.write_text(
        "\n".join(f'[[budget]]\nuser = "{name}"\nkwh = {limit!r}\nper = "month"' for name, limit in limits.items()),
        encoding="utf-8",
    )
    monkeypatch.setenv(SETTING, str(path))
    page = _page(PEOPLE, by="model")
    assert "A budget is passed" in page.error[0].value
    assert literal("5.466 Wh are used, 200.0 %") in page.error[0].value
    assert "nearly used up" in page.warning[0].value
    page = _page(PEOPLE)
    budgets = page.dataframe[0].value.set_index("Budget of")
    assert budgets["State"].to_dict() == {"user ada": "passed", "user grace": "near", "user bob": "within"}
    assert budgets.loc["user ada", "Used"] == ENERGY.text(ada["energy_kwh"])
    assert len(page.get("bidi_component")) == 3 + 3
    assert len(_page(PEOPLE, name="ada").get("bidi_component")) == 3, "its line stands on the one curve"
    path.write_text("[[budget]]\nuser = 1", encoding="utf-8")
    page = _page(PEOPLE)
    assert "The file of budgets is wrong" in page.error[0].value
    assert "user = 1 is no name" in _words(page)
    assert "A budget is passed" in page.error[1].value, "the old ones stay"


def test_the_budgets_clock_is_the_pages(fake: FakeStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A time zone in the file decides when months begin, for everybody."""
    zone = datetime.timezone(datetime.timedelta(hours=-11))
    edge = Span("month", 2026, 11).since(zone)
    days_ago = (NOW - edge) / datetime.timedelta(days=1)
    _put(fake, _run("before", days_ago=days_ago + 0.02), _run("after", days_ago=days_ago - 0.001))
    path = tmp_path / "budgets.toml"
    path.write_text('timezone = "Pacific/Pago_Pago"', encoding="utf-8")
    assert _metrics(_page(PEOPLE))["Runs, real"] == "2"
    monkeypatch.setenv(SETTING, str(path))
    st.cache_resource.clear()
    page = _page(PEOPLE)
    assert _metrics(page)["Runs, real"] == "1"
    assert "Pacific/Pago_Pago, as the budgets say" in _words(page)


def test_users_text_is_shown_not_run(fake: FakeStore) -> None:
    """A user named like Markdown makes no image, on neither page."""
    name = "![x](http://example.invalid/x.png)"
    _put(fake, _run("run-a", user_id=name, model_name=name), _run("run-b"))
    for page in (_page(PEOPLE, name=name), _page(COMPARE, runs="run-a,run-b")):
        assert not any("![x](http" in each.value for each in page.markdown)


def test_runs_offers_to_compare(fake: FakeStore) -> None:
    """The page Runs tells how runs are picked there."""
    _put(fake, _run("run-a"), _run("run-b"))
    assert any("Tick 2 to 6 rows" in caption.value for caption in _page(RUNS).caption)
