"""The pages, run by Streamlit's own test driver against a store in memory."""

from __future__ import annotations

import datetime
import math
import threading
import time
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
from wattline_common.events import RunStatus, StepCompleted
from wattline_dashboard import data, fleet_data, fleet_queries, queries
from wattline_dashboard.formats import EMISSIONS, ENERGY, MISSING, POWER, TIMES, duration

APP = Path(wattline_dashboard.__file__).parent / "streamlit_app.py"
OVERVIEW, RUNS, RUN = "app_pages/overview.py", "app_pages/runs.py", "app_pages/run.py"
OTHERS = [f"app_pages/{name}.py" for name in ("compare", "people", "pipeline", "method")]
SECONDS = 30


def _put(fake: FakeStore, events: list[Event], *, has_raw: bool = True) -> dict[str, Any]:
    summary = summary_document(events)
    fake.put(store.TRAINING_RUN_SUMMARY, summary)
    windows = window_documents(events)
    fake.put(store.AGGREGATED_METRICS, *windows)
    fake.put(store.AGGREGATED_ROLLUPS, *rollup_documents(windows))
    if has_raw:
        fake.put(store.TRAINING_METRICS, *raw_documents(events))
    return summary


def _live(run_id: str = "run-live", **options: Any) -> list[Event]:
    started_at = data.now() - datetime.timedelta(seconds=SECONDS)
    return recorded_run(run_id, started_at, seconds=SECONDS, **options)


def _page(path: str, **query: str) -> AppTest:
    page = AppTest.from_file(str(APP), default_timeout=30)
    page.query_params.update(query)
    page.run().switch_page(path).run()
    assert not page.exception
    return page


def _metrics(page: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in page.metric}


def _words(page: AppTest) -> str:
    return " ".join(element.value for element in (*page.markdown, *page.info, *page.error, *page.warning, *page.text))


@pytest.mark.parametrize("path", [OVERVIEW, RUNS, RUN])
def test_empty_store_tells_how_to_begin(fake: FakeStore, path: str) -> None:
    """Where nothing was recorded yet, every page names the command that records something."""
    page = _page(path)
    assert "python -m wattline_trainer digits" in _words(page)
    assert not page.metric


@pytest.mark.parametrize("path", [OVERVIEW, RUNS, RUN])
def test_store_away_is_a_sentence(fake: FakeStore, path: str) -> None:
    """A lost store is told with its host and the setting, without credentials; it comes back by a click."""
    fake.is_away = True
    page = _page(path)
    (error,) = page.error
    assert "db.example:27017" in error.value
    assert "MONGODB_URI" in error.value
    assert "s3cret" not in _words(page)
    fake.is_away = False
    _put(fake, _live())
    page.button(key="store.retry").click().run()
    assert not page.exception
    assert not page.error
    assert page.metric


def test_store_away_does_not_keep_viewers_waiting(fake: FakeStore) -> None:
    """A store that just failed is not asked again at once, however many look."""
    fake.is_away = True
    _page(RUNS)
    asked = len(fake.asked)
    _page(RUNS)
    assert len(fake.asked) == asked


def test_runs_lists_every_run_with_its_figures(fake: FakeStore) -> None:
    """The table has the store's figures; the totals are their sums."""
    live = _put(fake, _live())
    over = _put(fake, _live("run-over", status=RunStatus.COMPLETED, has_gpu=True))
    page = _page(RUNS)
    (table,) = page.dataframe
    rows = table.value.set_index("Run")
    assert rows.loc["run-live", "Energy"] == live["energy_kwh"]
    assert rows.loc["run-over", "Emissions"] == over["emissions_kg"]
    assert rows.loc["run-over", "Status"] == "completed"
    assert _metrics(page) == {
        "Runs, real": "2",
        "Running, real": "1",
        "Energy, real": ENERGY.text(live["energy_kwh"] + over["energy_kwh"]),
        "Emissions, real": EMISSIONS.text(live["emissions_kg"] + over["emissions_kg"]),
    }


def test_run_shows_the_stores_figures(fake: FakeStore) -> None:
    """A live run has its figures, its method, its age and the way its emissions were computed."""
    summary = _put(fake, _live())
    page = _page(RUN, run="run-live")
    metrics = _metrics(page)
    assert metrics["Energy"] == ENERGY.text(summary["energy_kwh"])
    assert metrics["Emissions, CO₂e"] + " CO₂e" == EMISSIONS.text(summary["emissions_kg"])
    assert metrics["Power now"] == POWER.text(summary["power_w"])
    assert metrics["Data age"].endswith(" s ago")
    assert "modelled" in _words(page)
    assert f"PUE 1.250 {TIMES} 381.0 g CO₂e/kWh" in _words(page)
    assert len(page.get("bidi_component")) == 7


def test_a_run_with_a_plan_says_how_long_it_will_go_on(fake: FakeStore) -> None:
    """As long for each planned epoch as for those that are over; a run without a plan tells its epoch instead."""
    events = _live("run-plan", planned_epochs=30)
    summary = _put(fake, events)
    _put(fake, _live("run-none"))
    over = len({event.epoch for event in events if isinstance(event, StepCompleted)}) - 1
    left_s = summary["duration_s"] * (30 - over) / over
    for run_id, told in (("run-plan", f"{duration(left_s)} left"), ("run-none", f"epoch {summary['epoch']}")):
        assert next(metric.delta for metric in _page(RUN, run=run_id).metric if metric.label == "Duration") == told


def test_without_a_link_the_running_run_is_shown_and_linked(fake: FakeStore) -> None:
    """The newest run that still goes is opened, and the URL names it from then on."""
    _put(fake, _live("run-over", status=RunStatus.COMPLETED))
    _put(fake, _live("run-live"))
    page = _page(RUN)
    assert page.query_params["run"] in ("run-live", ["run-live"])


@pytest.mark.parametrize(
    ("minutes", "words"), [(2, "stale: last heard of 1 min ago"), (5, "stalled: last heard of 4 min ago")]
)
def test_stale_run_is_marked(fake: FakeStore, minutes: int, words: str) -> None:
    """A run that should speak and does not is stale, and later stalled: no power is claimed for it."""
    _put(fake, recorded_run("run-silent", data.now() - datetime.timedelta(minutes=minutes), seconds=60))
    page = _page(RUN, run="run-silent")
    assert words in _words(page)
    assert _metrics(page)["Power now"] == MISSING


def test_finished_run_is_looked_at_seldom(fake: FakeStore) -> None:
    """A finished run shows its end, and is not polled like a live one."""
    _put(fake, _live("run-over", status=RunStatus.FAILED))
    page = _page(RUN, run="run-over")
    assert "failed" in _words(page)
    assert page.session_state["run.finished"] == "run-over"


def test_run_without_samples(fake: FakeStore) -> None:
    """A run that has only started says that it waits; one that ended so says that too."""
    _put(fake, recorded_run("run-new", data.now(), seconds=0))
    _put(fake, recorded_run("run-void", data.now(), seconds=0, status=RunStatus.STOPPED))
    assert "No sample has arrived yet" in _words(_page(RUN, run="run-new"))
    assert "ended without a sample" in _words(_page(RUN, run="run-void"))


def test_run_whose_raw_events_are_gone_is_drawn_from_windows(fake: FakeStore) -> None:
    """Retention takes raw events, not the page."""
    summary = _put(fake, _live("run-old", status=RunStatus.COMPLETED), has_raw=False)
    page = _page(RUN, run="run-old")
    assert _metrics(page)["Energy"] == ENERGY.text(summary["energy_kwh"])
    assert "1-minute windows" in _words(page)
    assert len(page.get("bidi_component")) == 6, "nothing tells of epochs"


@pytest.mark.parametrize("run_id", ["run-none", "$where", "<b>x</b>", "a|b", "x" * 400])
def test_wrong_link_is_told(fake: FakeStore, run_id: str) -> None:
    """A link to no run, or to something that cannot be one, gives a sentence."""
    _put(fake, _live())
    page = _page(RUN, run=run_id)
    (warning,) = page.warning
    assert "no such run" in warning.value
    assert not page.metric


def test_only_new_events_are_fetched(fake: FakeStore) -> None:
    """A live page asks for the numbers it has not seen, by exact identity."""
    events = _live()
    _put(fake, events[:-10])
    page = _page(RUN, run="run-live")
    st.cache_data.clear()
    _put(fake, events)
    before = len(fake.asked)
    page.run()
    assert not page.exception
    raw = [each for each in fake.asked[before:] if each.collection == store.TRAINING_METRICS]
    assert sorted(raw[0].condition["_id"]["$in"]) == sorted(
        store.event_id(event.run_id, event.source_id, event.seq) for event in events[-10:]
    )


def test_a_run_whose_raw_events_are_deleted_is_drawn_and_says_so(fake: FakeStore) -> None:
    """Figures and curves are there, from summary and windows, and a line tells why there is no more."""
    events = _live()
    summary = _put(fake, events, has_raw=False)
    fake.put(store.TRAINING_RUN_SUMMARY, {**summary, "raw_complete": False})
    page = _page(RUN, run="run-live")
    assert _metrics(page)["Energy"]
    assert "1-minute windows" in _words(page)
    assert any("Raw events of runs this old are deleted" in caption.value for caption in page.caption)
    asked = [each for each in fake.asked if each.collection == store.TRAINING_METRICS]
    assert len(asked) <= 1, "the latest samples only"


def test_users_text_makes_no_image(fake: FakeStore) -> None:
    """A model named like Markdown is shown as text."""
    _put(fake, _live(model_name="![x](http://example.invalid/x.png)"))
    page = _page(RUN, run="run-live")
    (title,) = page.title
    assert title.value.startswith("\\!\\[x\\]")


def _ended(run_id: str, *, hours_ago: float = 2, **options: Any) -> list[Event]:
    started_at = data.now() - datetime.timedelta(hours=hours_ago)
    return recorded_run(run_id, started_at, seconds=600, interval_s=10, status=RunStatus.COMPLETED, **options)


def _simulated(run_id: str = "run-sim", **options: Any) -> list[Event]:
    return _ended(run_id, simulated=True, user_id="bot", **options)


def test_overview_tells_real_from_simulated(fake: FakeStore) -> None:
    """Both stand side by side with their own sums; no figure is the sum of both."""
    real, live = _put(fake, _ended("run-real", has_gpu=True)), _put(fake, _live())
    simulated = _put(fake, _simulated(has_gpu=True))
    page = _page(OVERVIEW)
    metrics = _metrics(page)
    assert metrics["Energy, real"] == ENERGY.text(real["energy_kwh"] + live["energy_kwh"])
    assert metrics["Emissions, real"] == EMISSIONS.text(real["emissions_kg"] + live["emissions_kg"])
    assert metrics["Energy, simulated"] == ENERGY.text(simulated["energy_kwh"])
    assert (metrics["Runs, real"], metrics["Runs, simulated"]) == ("2", "1")
    assert (metrics["Running, real"], metrics["Power now, real"]) == ("1", POWER.text(live["power_w"]))
    assert (metrics["Running, simulated"], metrics["Power now, simulated"]) == ("0", MISSING)
    assert ENERGY.text(sum(each["energy_kwh"] for each in (real, live, simulated))) not in metrics.values()
    assert "% measured" in _words(page)
    assert len(page.get("bidi_component")) == 7
    table = page.dataframe[0].value.set_index("Run")
    assert table.loc["run-real", "Energy"] == pytest.approx(real["energy_kwh"], rel=1e-9)
    assert table.loc["run-sim", "Method"] == "simulated"


def _with_figures(document: Any, figure: float) -> Any:
    """Return a document in which every figure that may be anything is this one."""
    if isinstance(document, dict):
        return {name: _with_figures(value, figure) for name, value in document.items()}
    if isinstance(document, list):
        return [_with_figures(value, figure) for value in document]
    return figure if isinstance(document, float) else document


@pytest.mark.parametrize("figure", [math.inf, math.nan, 1.7e308, 5e-324, 0.0])
@pytest.mark.parametrize("path", [OVERVIEW, RUNS, RUN, *OTHERS])
def test_no_figure_stops_a_page(fake: FakeStore, path: str, figure: float) -> None:
    """One producer's absurd run must not take everybody's pages away: sums of what it sends are beyond any double."""
    _put(fake, _ended("run-real", has_gpu=True))
    events = _live("run-absurd", has_gpu=True)
    fake.put(store.TRAINING_RUN_SUMMARY, _with_figures(summary_document(events), figure))
    fake.put(store.AGGREGATED_METRICS, *_with_figures(window_documents(events), figure))
    fake.put(store.TRAINING_METRICS, *_with_figures(raw_documents(events), figure))
    fake.put(store.AGGREGATED_ROLLUPS, *_with_figures(rollup_documents(window_documents(events)), figure))
    absurd = {"run": "run-absurd", "runs": "run-absurd,run-real"}
    page = _page(path, **({} if path in {OVERVIEW, RUNS} else absurd))
    assert not page.exception
    assert not page.error


def test_overview_of_simulated_runs_only(fake: FakeStore) -> None:
    """Where all was simulated, that is what is shown, marked, and no real figure is made up."""
    _put(fake, _simulated())
    page = _page(OVERVIEW)
    assert all(label.endswith(", simulated") for label in _metrics(page))
    assert "simulated" in _words(page)
    assert len(page.get("bidi_component")) == 7


def test_overview_takes_its_filters_from_the_url(fake: FakeStore) -> None:
    """A link shows what it says; a choice goes into the URL and takes effect."""
    real = _put(fake, _ended("run-real"))
    _put(fake, _ended("run-grace", user_id="grace"))
    _put(fake, _simulated())
    page = AppTest.from_file(str(APP), default_timeout=30)
    page.query_params.update({"period": "7d", "kind": "real", "user": "ada", "region": "a\x00b"})
    page.run()
    assert not page.exception
    metrics = _metrics(page)
    assert metrics["Energy, real"] == ENERGY.text(real["energy_kwh"])
    assert "Energy, simulated" not in metrics
    assert page.selectbox(key="overview.user").value == "ada"
    assert page.selectbox(key="overview.region").value is None
    page.selectbox(key="overview.user").set_value("grace").run()
    assert page.query_params["user"] in ("grace", ["grace"])
    assert page.dataframe[0].value["Run"].tolist() == ["run-grace"]


@pytest.mark.parametrize("query", [{"user": "nobody"}, {"period": "1h"}, {"kind": "measured"}], ids=str)
def test_overview_without_a_match_says_so(fake: FakeStore, query: dict[str, str]) -> None:
    """Filters that leave nothing get a sentence, not empty charts; the choice stays to be undone."""
    _put(fake, _ended("run-old", hours_ago=5))
    page = AppTest.from_file(str(APP), default_timeout=30)
    page.query_params.update(query)
    page.run()
    assert not page.exception
    assert "in this period" in _words(page)
    assert not page.metric
    if "user" in query:
        assert page.selectbox(key="overview.user").value == "nobody"


def test_overview_has_a_trend(fake: FakeStore) -> None:
    """Energy is set against the period before of the same length; with none there, it says none."""
    _put(fake, _ended("run-now"))
    _put(fake, _ended("run-before", hours_ago=30))
    _put(fake, _simulated())
    deltas = {metric.label: metric.delta for metric in _page(OVERVIEW).metric}
    assert deltas["Energy, real"] == "+0.0 %"
    assert deltas["Energy, simulated"] == "none"


def test_runs_are_filtered_sorted_and_stalled_ones_told(fake: FakeStore) -> None:
    """The URL picks and orders runs; totals are those of the picked; a silent run is stalled with its age."""
    small, big = _put(fake, _ended("run-small")), _put(fake, _ended("run-big", has_gpu=True))
    _put(fake, recorded_run("run-silent", data.now() - datetime.timedelta(minutes=11), seconds=60, user_id="grace"))
    page = _page(RUNS)
    assert page.dataframe[0].value.set_index("Run").loc["run-silent", "Status"] == "stalled 10 min"
    page.selectbox(key="runs.status").set_value("completed").run()
    page.selectbox(key="runs.sort").set_value("energy").run()
    assert not page.exception
    assert page.dataframe[0].value["Run"].tolist() == ["run-big", "run-small"]
    assert _metrics(page)["Energy, real"] == ENERGY.text(small["energy_kwh"] + big["energy_kwh"])
    assert len(page.dataframe[0].value["Power"].iloc[0]) > 2
    page.text_input(key="runs.text").set_value("no such thing").run()
    assert "No run matches" in _words(page)


def test_runs_list_has_a_bound(fake: FakeStore) -> None:
    """At most 200 rows, and how many there are in all is said; the figures above are of all."""
    summary = summary_document(_ended("run-0"))
    fake.put(store.TRAINING_RUN_SUMMARY, *(summary | {"_id": f"run-{number}"} for number in range(230)))
    page = _page(RUNS)
    assert len(page.dataframe[0].value) == 200
    assert _metrics(page)["Runs, real"] == "230"
    assert any("200 of 230" in caption.value for caption in page.caption)


def test_an_overview_getting_old_is_shown_while_a_new_one_is_fetched(
    fake: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for windows to be added up again: the last answer is given, the next look has the new one."""
    first = _put(fake, _ended("run-1"))
    page = _page(OVERVIEW)
    second = _put(fake, _ended("run-2", has_gpu=True))
    monkeypatch.setattr(fleet_data, "_WINDOWS_REFRESH_S", 0)
    may_answer, ask = threading.Event(), fleet_queries.window_rows

    def ask_slowly(*args: Any) -> Any:
        assert may_answer.wait(20)
        return ask(*args)

    monkeypatch.setattr(fleet_queries, "window_rows", ask_slowly)
    page.run()
    assert _metrics(page)["Energy, real"] == ENERGY.text(first["energy_kwh"])
    may_answer.set()
    deadline_s = time.monotonic() + 20
    both = ENERGY.text(first["energy_kwh"] + second["energy_kwh"])
    while _metrics(page)["Energy, real"] != both and time.monotonic() < deadline_s:
        page.run()
    assert _metrics(page)["Energy, real"] == both
    monkeypatch.setattr(fleet_data, "_WINDOWS_LAST_S", 0)
    fake.is_away = True
    st.cache_data.clear()
    page.run()
    assert page.error


@pytest.mark.parametrize(
    ("path", "names"),
    [(OVERVIEW, ["wattline-runs-of-period", "wattline-sums-of-period"]), (RUNS, ["wattline-runs"])],
)
def test_every_table_can_be_saved(fake: FakeStore, path: str, names: list[str]) -> None:
    """Each table has its two buttons, CSV and Parquet."""
    _put(fake, _ended("run-real"))
    labels = [button.proto.label for button in _page(path).get("download_button")]
    assert labels == ["CSV", "Parquet"] * len(names)


def test_a_past_that_arrives_is_not_stalled(fake: FakeStore) -> None:
    """While a simulated past comes in, its unfinished runs are arriving; a run that fell silent is stalled."""
    silent = recorded_run("run-silent", data.now() - datetime.timedelta(hours=3), seconds=60, simulated=True)
    _put(fake, silent)
    arriving = recorded_run("run-arriving", data.now() - datetime.timedelta(hours=2), seconds=60, simulated=True)
    _put(fake, arriving, has_raw=False)
    fake.put(store.TRAINING_METRICS, *(each | {"ingested_at": data.now()} for each in raw_documents(arriving)))
    deltas = {metric.label: metric.delta for metric in _page(OVERVIEW).metric}
    assert deltas["Running, simulated"] == "1 arriving, 1 stalled"
    table = _page(RUNS).dataframe[0].value.set_index("Run")
    assert table.loc["run-arriving", "Status"] == "arriving"
    assert str(table.loc["run-silent", "Status"]).startswith("stalled")


def test_long_runs_are_drawn_from_hours(fake: FakeStore) -> None:
    """A run of more than 2,000 minutes asks for its hours, bounded, and for no window."""
    events = recorded_run(
        "run-long", data.now() - datetime.timedelta(hours=40), seconds=40 * 3_600, interval_s=600.0, planned_epochs=99
    )
    summary = _put(fake, events)
    page = _page(RUN, run="run-long")
    assert _metrics(page)["Energy"] == ENERGY.text(summary["energy_kwh"])
    assert ":gray[hours]" in _words(page)
    windows = [each for each in fake.asked if each.collection == store.AGGREGATED_METRICS]
    assert not any("run_id" in each.condition for each in windows), "the overview's are of all runs"
    hours = [each for each in fake.asked if each.collection == store.AGGREGATED_ROLLUPS and "key" in each.condition]
    assert hours
    assert all(each.size == queries.MAX_ROLLUPS for each in hours)


@pytest.mark.parametrize(
    "path", [OVERVIEW, RUNS, RUN, "app_pages/compare.py", "app_pages/people.py", "app_pages/method.py"]
)
def test_a_refresh_touches_no_choice(fake: FakeStore, path: str) -> None:
    """What a refresh sends holds no value of a widget: it would undo the click that a viewer made meanwhile."""
    _put(fake, _live("run-a"))
    _put(fake, _live("run-b"))
    page = _page(path, runs="run-a,run-b", run="run-a")
    page.run()
    widgets = [*page.button_group, *page.selectbox, *page.multiselect, *page.text_input]
    assert widgets
    assert not [widget.key for widget in widgets if widget.proto.set_value]


def test_a_paused_page_says_so(fake: FakeStore) -> None:
    """The switch stops the live panels, and the page tells since when it stands still."""
    _put(fake, _live())
    page = _page(RUN, run="run-live")
    assert "paused at" not in _words(page)
    page.toggle(key="run.paused").set_value(True).run()
    assert not page.exception
    assert "paused at" in _words(page)
