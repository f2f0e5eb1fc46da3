"""The page Compare: two to six runs, what each learned for its energy, and in what they differ."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from wattline_common.store import Document
from wattline_dashboard import compare_charts, compare_data, data, fleet_data, fleet_views, views
from wattline_dashboard.comparison import FEWEST, MOST, Compared, runs_from_url, runs_to_url
from wattline_dashboard.differences import BEST, DIFFERENT, difference_table, differences
from wattline_dashboard.export_tables import runs_to_save
from wattline_dashboard.export_views import table_exports
from wattline_dashboard.filters import MEASURES, ROWS, CompareFilters
from wattline_dashboard.formats import literal, visible
from wattline_dashboard.own_html import show_letter, style
from wattline_dashboard.plot import show_plot

_PAGE = "compare"
_REFRESH_S = 5.0  # figures beside each other are read, not watched
_PICKED = "compare.runs"
# Streamlit writes white on the theme's colour, which in the dark theme is too light for that.
_STYLE = "@media (prefers-color-scheme: dark) {.st-key-compare-runs span[title] {color: #11151c}}"


@views.guarded
def show_page() -> None:
    """Show which runs may be picked, and below them what they come to."""
    recent = fleet_data.recent_runs()
    if not recent:
        views.nothing_yet()
        return
    show_picker(recent)
    views.live(show_comparison, max(_REFRESH_S, data.settings().refresh_s), _PAGE)
    show_saves()


def show_picker(recent: list[Document]) -> None:
    """Let the viewer pick runs; the URL holds them."""
    known = {run["_id"]: run for run in recent}
    style(_STYLE)
    picked = named()[:MOST]
    fleet_views.hold(_PICKED, picked)
    st.multiselect(
        f"Runs ({FEWEST} to {MOST})",
        [*picked, *(run_id for run_id in known if run_id not in picked)],
        key=_PICKED,
        format_func=lambda run_id: words_of(known[run_id]) if run_id in known else run_id,
        max_selections=MOST,
        placeholder="pick a run by its model, user, start or name",
        on_change=to_url,
    )


def named() -> list[str]:
    """Return the runs that the URL names."""
    return runs_from_url(st.query_params.get("runs"))


def to_url() -> None:
    """Put the picked runs into the URL."""
    st.query_params["runs"] = runs_to_url(st.session_state[_PICKED])


def words_of(run: Document) -> str:
    """Return what a run is called in a list."""
    started = run["started_at"].astimezone(data.viewer_zone())
    return visible(f"{run['model_name']} · {run['user_id']} · {started:%Y-%m-%d %H:%M} · {run['_id']}")


@views.guarded
def show_comparison() -> None:
    """Show the runs of the URL beside each other."""
    run_ids = named()
    runs, missing = compare_data.compared(run_ids[:MOST])
    if len(run_ids) > MOST:
        st.info(f"The link names {len(run_ids)} runs; the first {MOST} are compared.")
    if missing:
        st.warning("**There is no such run.** It may not have arrived yet, or the link is wrong.")
        st.text(visible(", ".join(missing)))
    if len(runs) < FEWEST:
        more = "one more run" if runs else f"{FEWEST} to {MOST} runs"
        st.info(f"**Pick {more}** above, or tick rows on the page Runs.")
        st.page_link("app_pages/runs.py", label="All runs")
        return
    filters = CompareFilters.from_query(dict(st.query_params))
    show_heads(runs)
    show_learning(runs, filters)
    show_differences(runs, filters)


def show_heads(runs: list[Compared]) -> None:
    """Show each run with the letter and the colour that it has on this page."""
    for run, column in zip(runs, st.columns(len(runs)), strict=True):
        with column, st.container(border=True, height="stretch", key=f"compare.head.{run.letter}"):
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                show_letter(run.letter, run.colour)
                st.markdown(f"**{literal(run.summary['model_name'])}**", width="content")
            with st.container(horizontal=True, gap="small"):
                views.status_badge(data.run_state(run.summary))
                views.method_badges(run.summary)
            started = run.summary["started_at"].astimezone(data.viewer_zone())
            st.text(f"{visible(run.summary['user_id'])} · {started:%Y-%m-%d %H:%M}")
            st.page_link(
                "app_pages/run.py", label=literal(run.summary["_id"]), query_params={"run": run.summary["_id"]}
            )


def show_learning(runs: list[Compared], filters: CompareFilters) -> None:
    """Show accuracy and loss over what the runs had used by then."""
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        st.markdown("#### What the energy bought")
        fleet_views.choice("measure", "Against", MEASURES, filters.measure, _PAGE)
    used = MEASURES[filters.measure].lower()
    for what, column in zip(("accuracy", "loss"), st.columns(2), strict=True):
        with column, st.container(border=True):
            st.markdown(f"**{what.capitalize()}**  :gray[against {used}]")
            figure = compare_charts.learning_cost(runs, what, filters.measure)
            if figure is None:
                st.caption(f"None of these runs has reported {'an accuracy' if what == 'accuracy' else 'a loss'} yet.")
            else:
                names = ", ".join(run.label for run in runs)
                show_plot(figure, key=f"compare.{what}", alt=f"{what.capitalize()} against {used} of {names}")
    notes = [f"Pareto front (broad grey line): the best that any of these runs had for as much {used}"]
    if any(run.is_simulated for run in runs):
        notes.append("dotted: simulated, with a front of its own, as nobody drew that energy")
    grains = sorted({f"{run.letter}: {run.series.grain}" for run in runs if run.series.grain})
    st.caption(" · ".join([*notes, f"points are {', '.join(grains)}"]))


def show_saves() -> None:
    """Let the comparison be saved; beside the live panel, as what that refreshes cannot be clicked for long."""
    run_ids, zone = named()[:MOST], data.viewer_zone()
    if len([run_id for run_id in run_ids if data.run(run_id) is not None]) < FEWEST:
        return

    def table() -> pd.DataFrame:
        runs = compare_data.compared_anew(run_ids)
        return difference_table(differences(runs, zone), runs)

    def figures() -> pd.DataFrame:
        return runs_to_save([dict(run.summary) for run in compare_data.compared_anew(run_ids)])

    with st.container(horizontal=True, gap="large", key="compare.save"):
        table_exports("differences", table, page=_PAGE, what="the table")
        table_exports("compared-runs", figures, page=_PAGE, what="the runs' figures")


def show_differences(runs: list[Compared], filters: CompareFilters) -> None:
    """Show all facts of the runs, with what differs marked."""
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        st.markdown("#### In what they differ")
        fleet_views.choice("rows", "Rows", ROWS, filters.rows, _PAGE)
    rows = differences(runs, data.viewer_zone())
    shown = [row for row in rows if row.differs] if filters.rows == "differing" else rows
    if not shown:
        st.caption("These runs differ in nothing that was recorded.")
        return
    table = difference_table(shown, runs)
    st.dataframe(
        views.as_shown(table).style.apply(mark, axis=1),
        key="compare.table",
        hide_index=True,
        height="content",
        column_config={
            "Section": st.column_config.TextColumn(width=110),
            "Fact": st.column_config.TextColumn(width=150),
            "Differs": st.column_config.TextColumn(width=80, help="for figures: the highest over the lowest"),
        },
        alt="Settings, hyperparameters, hardware, energy, emissions, time and outcome of the compared runs",
    )
    st.caption(f"{DIFFERENT} differs, with the highest over the lowest · {BEST} best of the row")


def mark(row: pd.Series) -> list[str]:
    """Return the styles of a row's cells: bold, and on a tinted ground, where the runs differ."""
    style = "background-color: rgba(140, 107, 214, 0.16); font-weight: 600" if row["Differs"] else ""
    return [style] * len(row)


views.title_row("Compare", _PAGE)
show_page()
