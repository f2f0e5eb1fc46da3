"""Pieces that pages share: what is shown when there is nothing to show, badges, and the guard around the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import wraps
from typing import Any, ParamSpec

import pandas as pd
import streamlit as st
from streamlit.elements.lib.column_config_utils import ColumnConfigMappingInput

from wattline_common.errors import ConfigurationError, StoreUnavailableError
from wattline_dashboard import data
from wattline_dashboard.facts import METHOD_COLOURS, RunState, method_labels
from wattline_dashboard.follow import open_run
from wattline_dashboard.formats import MISSING, age, percent, visible

__all__ = [
    "as_shown",
    "guarded",
    "held_order",
    "is_paused",
    "live",
    "method_badges",
    "no_sample",
    "nothing_yet",
    "run_links",
    "run_not_found",
    "status_badge",
    "title_row",
]

_ROWS_IN_SIGHT = 16
_TABLE_PX = 600
_STATUS_COLOURS = {"RUNNING": "blue", "COMPLETED": "green", "FAILED": "red", "STOPPED": "orange"}

P = ParamSpec("P")


def guarded(render: Callable[P, None]) -> Callable[P, None]:
    """Show in words, not as a stack trace, that the store is away; the next refresh tries again."""

    @wraps(render)
    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            render(*args, **kwargs)
        except StoreUnavailableError:
            _store_away()
        except ConfigurationError as error:
            st.error(f"**A setting is wrong.** {error}")

    return call


def title_row(title: str, page: str) -> None:
    """Show a page's title, and beside it the switch that stops its live panels."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.title(title, anchor=False, width="content")
        st.toggle("Pause", key=_paused_key(page), help="Keep what is shown: nothing refreshes until this is off.")


def live(panel: Callable[[], None], every_s: float, page: str) -> None:
    """Show a panel that alone is drawn anew every so many seconds, unless the viewer has paused the page."""
    st.fragment(panel, run_every=None if is_paused(page) else every_s)()


def is_paused(page: str) -> bool:
    """Say whether the viewer has paused a page."""
    return bool(st.session_state.get(_paused_key(page)))


def _paused_key(page: str) -> str:
    return f"{page}.paused"


def nothing_yet() -> None:
    """Tell a new user how the first run comes about."""
    st.info(
        "**No training has been recorded yet.** Start one, and it appears here within seconds:\n\n"
        "    python -m wattline_trainer digits\n\n"
        "or add two lines to a script of your own:\n\n"
        '    with wattline.track(model_name="resnet50", dataset_name="cifar10") as run:\n'
        "        run.step(epoch=1, step=10, loss=0.4, accuracy=0.8)\n"
    )


def no_sample(state: RunState) -> None:
    """Say why there is nothing to draw."""
    if state.is_running:
        st.info("**No sample has arrived yet.** The first comes within seconds of the start.")
    else:
        st.info("**This run ended without a sample**, so there is nothing to draw.")


def run_not_found(run_id: str) -> None:
    """Say that there is no such run; its name is shown as text only."""
    st.warning("**There is no such run.** It may not have arrived yet, or the link is wrong.")
    st.text(visible(run_id[:256]))
    st.page_link("app_pages/runs.py", label="All runs")


def as_shown(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table in which what steers or hides in users' texts, and in its headings, is seen (`visible`)."""
    shown = table.rename(columns=visible)
    for name in shown.columns:
        if any(isinstance(value, str) for value in shown[name]):
            shown[name] = [visible(value) if isinstance(value, str) else value for value in shown[name]]
    return shown


def run_links(
    table: pd.DataFrame,
    formats: Mapping[str, Callable[[Any], str]],
    columns: ColumnConfigMappingInput,
    page: str,
    alt: str,
    *,
    ticks_of: str | None = None,
) -> list[str]:
    """Show a table whose column Run names runs; open the run whose row was clicked.

    With ``ticks_of``, which names what the table shows, rows can be ticked instead: return the runs of those that are.
    """
    key = f"{page}.shown"  # the rows as the viewer last saw them: a click names a row by its number
    shown_before = st.session_state.get(key, list(table["Run"]))
    picked = st.dataframe(
        as_shown(table).style.format(dict(formats), na_rep=MISSING),
        key=f"{page}.table" if ticks_of is None else _tickable(page, ticks_of),
        hide_index=True,
        placeholder=MISSING,
        on_select="rerun",
        selection_mode=["single-row" if ticks_of is None else "multi-row", "single-cell"],
        column_config=columns,
        height="content" if len(table) <= _ROWS_IN_SIGHT else _TABLE_PX,
        alt=alt,
    )
    st.session_state[key] = list(table["Run"])
    ticked = [] if ticks_of is None else picked.selection.rows
    clicked = [*(picked.selection.rows if ticks_of is None else ()), *(row for row, _ in picked.selection.cells)]
    if clicked and clicked[0] < len(shown_before):
        open_run(shown_before[clicked[0]])
    return [shown_before[row] for row in ticked if row < len(shown_before)]


def held_order(page: str, ticks_of: str) -> list[str]:
    """Return the runs as the table has them while any is ticked: a tick names a row by its number, so none may move."""
    table = st.session_state.get(_tickable(page, ticks_of))
    return list(st.session_state.get(f"{page}.shown", ())) if table and table.selection.rows else []


def _tickable(page: str, ticks_of: str) -> str:
    return f"{page}.table.{ticks_of}"  # another choice of runs is another table, with nothing ticked


def status_badge(state: RunState) -> None:
    """Show a run's status, and since when it is silent if it should not be."""
    st.badge(state.status.lower(), color=_STATUS_COLOURS.get(state.status, "gray"))  # type: ignore[arg-type]  # of a table of ours
    if state.is_arriving:
        st.badge(f"events of {age(state.age_s)} are arriving", color="blue")
    elif state.is_stale:
        st.badge(f"{'stalled' if state.is_stalled else 'stale'}: last heard of {age(state.age_s)}", color="red")


def method_badges(summary: Mapping[str, Any]) -> None:
    """Show how the energy was got, and how much of it was measured where that is only a part."""
    labels = method_labels(summary)
    for label in labels:
        st.badge(label, color=METHOD_COLOURS[label])  # type: ignore[arg-type]  # of a table of ours
    if "measured" in labels and len(labels) > 1 and summary["energy_kwh"]:
        st.caption(f"{percent(summary['measured_energy_kwh'] / summary['energy_kwh'])} of the energy was measured")


def _come_back() -> None:
    """Show the whole page again once the store answers."""
    with suppress(StoreUnavailableError):
        data.newest_run_id()
        st.rerun()


def _store_away() -> None:
    host = data.settings().store_host
    st.error(
        f"**The store at `{host}` does not answer.** This page tries again every {data.RETRY_S:g} s. "
        "If it stays away: is it running, and does `MONGODB_URI` name it?"
    )
    st.button("Try again now", key="store.retry", on_click=data.try_again)
    st.fragment(_come_back, run_every=data.RETRY_S)()
