"""The page Runs: what was trained lately, and what it cost; a click on a row opens the run."""

from __future__ import annotations

from urllib.parse import urlencode

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.elements.lib.column_config_utils import ColumnConfigMappingInput

from wattline_common.store import Document
from wattline_dashboard import data, fleet_data, fleet_views, views
from wattline_dashboard.comparison import FEWEST, MOST, runs_to_url
from wattline_dashboard.export_tables import runs_to_save
from wattline_dashboard.export_views import table_exports
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
    runs, filters = fleet_data.recent_runs(), RunFilters.from_query(dict(st.query_params))
    if runs:
        show_filters(filters, runs)
    views.live(show_runs, data.settings().refresh_s, _PAGE)
    if runs:
        table_exports("runs", lambda: runs_to_save(matching(filters)), page=_PAGE, what="all runs that match")


def matching(filters: RunFilters) -> list[Document]:
    """Return the runs that match, in their order."""
    runs = [run for run in fleet_data.recent_runs() if filters.matches(run, data.run_state(run).filter_status)]
    return sorted(runs, key=_ORDER[filters.sort], reverse=True)


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
    judged = list(zip(runs, data.run_states(runs), strict=True))
    found = [(run, state) for run, state in judged if filters.matches(run, state.filter_status)]
    if not found:
        st.info("**No run matches.** Fewer filters may find some.")
        return
    show_totals(found)
    listed = sorted(found, key=lambda each: _ORDER[filters.sort](each[0]), reverse=True)[:_MAX_ROWS]
    ticks_of = urlencode(filters.to_query())
    listed = in_order(listed, judged, views.held_order(_PAGE, ticks_of))
    curves = fleet_data.power_curves(run["_id"] for run, _ in listed)
    table = run_table(listed, data.viewer_zone(), curves)
    above = st.container()
    show_compare(above, views.run_links(table, RUN_TABLE_FORMATS, _COLUMNS, _PAGE, _ALT, ticks_of=ticks_of))
    show_bounds(filters, listed=len(listed), found=len(found), searched=len(runs))


def in_order(
    listed: list[tuple[Document, RunState]], known: list[tuple[Document, RunState]], held: list[str]
) -> list[tuple[Document, RunState]]:
    """Return the runs to list; where an order is held, in that, those too that match no more, and new ones last."""
    by_id = {run["_id"]: (run, state) for run, state in known}
    if not held or not set(held) <= by_id.keys():
        return listed
    return [by_id[run_id] for run_id in held] + [each for each in listed if each[0]["_id"] not in set(held)]


def show_compare(place: DeltaGenerator, ticked: list[str]) -> None:
    """Offer to compare the ticked runs, above the table."""
    with place, st.container(horizontal=True, vertical_alignment="center"):
        is_enough = FEWEST <= len(ticked) <= MOST
        if is_enough:  # a link, as a switch of pages out of a live fragment may leave the new page blank
            st.page_link(
                "app_pages/compare.py",
                label=f"Compare {len(ticked)} runs",
                icon=":material/compare_arrows:",
                query_params={"runs": runs_to_url(ticked)},
            )
        if len(ticked) > MOST:
            st.caption(f"{len(ticked)} runs are ticked; at most {MOST} can be compared.")
        elif not is_enough:
            st.caption(f"Tick {FEWEST} to {MOST} rows to compare these runs.")


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


views.title_row("Runs", _PAGE)
show_page()
