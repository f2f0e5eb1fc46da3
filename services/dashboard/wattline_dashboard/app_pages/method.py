"""The page Method: every formula with the numbers of one run in it, and where each factor comes from."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from wattline_common.store import RunSummary
from wattline_dashboard import data, fleet_data, fleet_views, views
from wattline_dashboard.equivalents import equivalents_table
from wattline_dashboard.export_views import table_exports
from wattline_dashboard.facts import latest_sample_numbers
from wattline_dashboard.formats import literal, visible
from wattline_dashboard.method import Formula, formulas, prices_table
from wattline_dashboard.method_sources import NOT_COUNTED, readings_table
from wattline_dashboard.queries import is_run_id

_PAGE = "method"
_MOST_OFFERED = 200  # of the runs last heard of
_ON = "1"


@views.guarded
def show_page() -> None:
    """Show one run's formulas, and below them what holds for all runs."""
    summary = named_run()
    if summary is not None:
        show_head(summary)
        show_formulas(summary)
        show_prices(summary)
        show_equivalents(summary)
    show_readings()


def named_run() -> RunSummary | None:
    """Return the run that the URL names, or else the newest; say so where there is none."""
    run_id = st.query_params.get("run") or data.newest_run_id()
    if run_id is None:
        views.nothing_yet()
        return None
    summary = data.run(run_id) if is_run_id(run_id) else None
    if summary is None:
        views.run_not_found(run_id)
        return None
    if st.query_params.get("run") != run_id:
        st.query_params["run"] = run_id
    return summary


def show_head(summary: RunSummary) -> None:
    """Say whose numbers these are, and let another run be chosen."""
    models = {run["_id"]: run["model_name"] for run in fleet_data.recent_runs()[:_MOST_OFFERED]}
    models[summary["_id"]] = summary["model_name"]
    key = f"{_PAGE}.run"
    fleet_views.hold(key, summary["_id"])
    with st.container(horizontal=True, vertical_alignment="bottom", gap="large", key=f"{_PAGE}.head"):
        st.selectbox(
            "Numbers of the run",
            list(models),
            key=key,
            format_func=lambda run_id: visible(f"{models[run_id]}, {run_id}"),
            on_change=lambda: st.query_params.update(run=st.session_state[key]),
            width=520,
        )
        st.page_link("app_pages/run.py", label="Open the run", query_params={"run": summary["_id"]})
    with st.container(horizontal=True, vertical_alignment="center", key=f"{_PAGE}.badges"):
        views.status_badge(data.run_state(summary))
        views.method_badges(summary)


def show_formulas(summary: RunSummary) -> None:
    """Show each law, the run's numbers in it, and what comes out."""
    latest = data.latest_samples(summary["_id"], latest_sample_numbers(summary))
    found = formulas(summary, latest)
    for start in range(0, len(found), 2):
        for column, formula in zip(st.columns(2), found[start : start + 2], strict=False):
            with column, st.container(border=True, height="stretch"):
                show_formula(formula)


def show_formula(formula: Formula) -> None:
    """Show one formula."""
    st.markdown(f"**{formula.title}**")
    st.markdown(f":gray[{literal(formula.law)}]")
    st.markdown(f"{literal(formula.numbers)}\n#### = {literal(formula.result)}")
    st.caption(literal(formula.note))


def show_prices(summary: RunSummary) -> None:
    """Show what priced the energy."""
    st.markdown("#### Grid intensity and PUE")
    table = prices_table(summary)
    if table.empty:
        st.caption("No sample has arrived yet, so nothing has a price.")
        return
    show_table(table)
    st.caption(
        "As each source was last heard of. A yearly mean of a zone by default; the tracker takes a series, a table or "
        "a provider instead where it is told to."
    )


def show_equivalents(summary: RunSummary) -> None:
    """Show comparisons, if the viewer wants any."""
    key = f"{_PAGE}.equivalents"
    fleet_views.hold(key, st.query_params.get("equivalents") == _ON)
    st.toggle("Compare with things of every day", key=key, on_change=_equivalents_to_url)
    if not st.session_state[key]:
        return
    table = equivalents_table(summary["energy_kwh"], summary["emissions_kg"])
    show_table(table)
    st.caption("They explain, they do not measure: no other page and no file has them.")


def show_readings() -> None:
    """Show how each kind of device is read, whoever's run it is, and what is in no figure."""
    st.markdown("#### How each kind of device is read")
    show_table(readings_table())
    table_exports("readings", readings_table, page=_PAGE, what="this table")
    st.markdown("#### What is in no figure")
    st.markdown("".join(f"- {each}\n" for each in NOT_COUNTED))


def show_table(table: pd.DataFrame) -> None:
    """Show a table of a few long texts, all of which can be read: a data frame's cells would be cut off."""
    st.table(table.map(literal), border="horizontal", hide_index=True)


def _equivalents_to_url() -> None:
    if st.session_state[f"{_PAGE}.equivalents"]:
        st.query_params["equivalents"] = _ON
    else:
        st.query_params.pop("equivalents", None)


st.title("Method")
show_page()
