"""The page Runs: what was trained lately, and what it cost; a click on a row opens the run."""

from __future__ import annotations

import streamlit as st
from streamlit.elements.lib.column_config_utils import ColumnConfigMappingInput

from wattline_common.store import Document
from wattline_dashboard import data, fleet_data, fleet_views, views
from wattline_dashboard.facts import RUN_TABLE_FORMATS, RunState, run_table
from wattline_dashboard.filters import KINDS_OF_RUN, SORTS, STATUSES, RunFilters
from wattline_dashboard.fleet import CLASSES, class_of
from wattline_dashboard.formats import EMISSIONS, ENERGY
from wattline_dashboard.palette import REAL_COLOUR
from wattline_dashboard.queries import MAX_RUNS

_PAGE = "runs"
_MAX_ROWS = 200
_ORDER = {
    "heard": lambda run: run["last_event_at"],
    "started": lambda run: run["started_at"],
    "energy": lambda run: run["energy_kwh"],
    "emissions": lambda run: run["emissions_kg"],
    "duration": lambda run: run["duration_s"],
}
_COLUMNS: ColumnConfigMappingInput = {
    "Status": st.column_config.TextColumn(width=115),  # fits the longest, so that a change of state moves nothing
    "Method": st.column_config.TextColumn(width=135),
    "Model": st.column_config.TextColumn(width=120),
    "Run": st.column_config.TextColumn(width=160),
    "Started": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm"),
    "Power": st.column_config.LineChartColumn(
        "Power over time", width=120, y_min=0, color=REAL_COLOUR, help="mean power of its 1-minute windows"
    ),
}
_ALT = "Runs: status, method, model, user, energy, emissions, power, start, duration"


@views.guarded
def show_page() -> None:
    """Show the filters, and below them the runs that they leave."""
    runs = fleet_data.recent_runs()
    if runs:
        show_filters(RunFilters.from_query(dict(st.query_params)), runs)
    st.fragment(show_runs, run_every=data.settings().refresh_s)()


def show_filters(filters: RunFilters, runs: list[Document]) -> None:
    """Show what may be chosen; the URL is where the choice lives."""
    fleet_views.choice("kind", "Runs whose energy is", KINDS_OF_RUN, filters.kind, _PAGE)
    status, user, model, text, order = st.columns([2, 2, 2, 3, 2])
    with status:
        fleet_views.option("status", "Status", STATUSES, filters.status, _PAGE)
    with user:
        fleet_views.pick("user", "User", sorted({run["user_id"] for run in runs}), filters.user, _PAGE)
    with model:
        fleet_views.pick("model", "Model", sorted({run["model_name"] for run in runs}), filters.model, _PAGE)
    with text:
        fleet_views.words("text", "Search", filters.text, _PAGE)
    with order:
        fleet_views.option("sort", "Order", SORTS, filters.sort, _PAGE)


@views.guarded
def show_runs() -> None:
    """Show the runs that the URL wants, and keep them fresh."""
    filters = RunFilters.from_query(dict(st.query_params))
    runs = fleet_data.recent_runs()
    if not runs:
        views.nothing_yet()
        return
    judged = [(run, data.run_state(run)) for run in runs]
    found = [(run, state) for run, state in judged if filters.matches(run, state.filter_status)]
    if not found:
        st.info("**No run matches.** Fewer filters may find some.")
        return
    show_totals(found)
    listed = sorted(found, key=lambda each: _ORDER[filters.sort](each[0]), reverse=True)[:_MAX_ROWS]
    curves = fleet_data.power_curves(run["_id"] for run, _ in listed)
    views.run_links(run_table(listed, data.viewer_zone(), curves), RUN_TABLE_FORMATS, _COLUMNS, _PAGE, _ALT)
    show_bounds(filters, listed=len(listed), found=len(found), searched=len(runs))


def show_totals(found: list[tuple[Document, RunState]]) -> None:
    """Show what the runs come to, real and simulated ones apart."""
    for name in CLASSES:
        mine = [(run, state) for run, state in found if class_of(run) == name]
        if not mine:
            continue
        energy_kwh, emissions_kg = (sum(run[field] for run, _ in mine) for field in ("energy_kwh", "emissions_kg"))
        running = sum(state.is_running and not state.is_stale for _, state in mine)
        columns = st.columns(4)
        columns[0].metric(f"Runs, {name}", len(mine), border=True)
        columns[1].metric(f"Running, {name}", running, border=True)
        columns[2].metric(f"Energy, {name}", ENERGY.text(energy_kwh), border=True)
        columns[3].metric(f"Emissions, {name}", EMISSIONS.text(emissions_kg), border=True)


def show_bounds(filters: RunFilters, *, listed: int, found: int, searched: int) -> None:
    """Say what the table leaves out."""
    first = (
        f" The first {listed} of {found} are listed; the figures above are of all {found}." if listed < found else ""
    )
    all_runs = fleet_data.count_runs() if searched == MAX_RUNS else searched
    newest = f" Searched were the newest {searched} of {all_runs} runs." if searched < all_runs else ""
    narrowed = f" {found} of {searched} runs match." if filters.is_narrowed else ""
    st.caption(f"Click a row to open its run.{narrowed}{first}{newest}")


st.title("Runs")
show_page()
