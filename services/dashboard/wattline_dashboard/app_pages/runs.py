"""The page Runs: what was trained lately, and what it cost; a click on a row opens the run."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from streamlit.elements.lib.column_config_utils import ColumnConfigMappingInput

from wattline_common.store import Document
from wattline_dashboard import data, views
from wattline_dashboard.facts import RUN_TABLE_FORMATS, run_table
from wattline_dashboard.formats import EMISSIONS, ENERGY, MISSING
from wattline_dashboard.queries import MAX_RUNS

_SHOWN = "runs.shown"  # the identities of the rows as the viewer last saw them: a click names a row by its number

_COLUMNS: ColumnConfigMappingInput = {
    "Status": st.column_config.TextColumn(width=110),  # fits the longest, so that a change of state moves nothing
    "Started": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm:ss"),
}


@st.fragment(run_every=data.settings().refresh_s)
@views.guarded
def show_runs() -> None:
    """Show the newest runs and keep them fresh."""
    runs = data.recent_runs()
    if not runs:
        views.nothing_yet()
        return
    show_totals(runs)
    table = run_table(runs, data.now(), data.viewer_zone(), data.settings().stale_after_s)
    show_table(table)
    st.caption(
        "Click a row to open its run." + (f" The newest {MAX_RUNS} runs are listed." if len(runs) == MAX_RUNS else "")
    )


def show_totals(runs: list[Document]) -> None:
    """Show what the listed runs come to."""
    columns = st.columns(4)
    columns[0].metric("Runs", len(runs), border=True)
    columns[1].metric("Running", sum(run["status"] == "RUNNING" for run in runs), border=True)
    columns[2].metric("Energy", ENERGY.text(sum(run["energy_kwh"] for run in runs)), border=True)
    columns[3].metric("Emissions", EMISSIONS.text(sum(run["emissions_kg"] for run in runs)), border=True)


def show_table(table: pd.DataFrame) -> None:
    """Show the table; open the run whose row was clicked."""
    shown_before = st.session_state.get(_SHOWN, list(table["Run"]))
    styled = table.style.format(dict(RUN_TABLE_FORMATS), na_rep=MISSING)
    picked = st.dataframe(
        styled,
        key="runs.table",
        hide_index=True,
        placeholder=MISSING,
        on_select="rerun",
        selection_mode=["single-row", "single-cell"],
        column_config=_COLUMNS,
        height="content" if len(table) <= 15 else 560,
        alt="Runs, newest first: status, model, user, energy, emissions, power, start, duration",
    )
    st.session_state[_SHOWN] = list(table["Run"])
    rows = [*picked.selection.rows, *(row for row, _ in picked.selection.cells)]
    if rows and rows[0] < len(shown_before):
        st.switch_page("app_pages/run.py", query_params={"run": shown_before[rows[0]]})


st.title("Runs")
show_runs()
