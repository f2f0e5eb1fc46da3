"""What the page Compare asks for, by way of `data`: the runs that a URL names, each with its curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from wattline_dashboard import data
from wattline_dashboard.comparison import LETTERS, Compared
from wattline_dashboard.history import RunHistory
from wattline_dashboard.palette import run_colours

__all__ = ["compared", "compared_anew"]

_HELD = "compare.histories"
_MAX_HELD = 2_000  # raw events of each run in one viewer's session: a curve has no more points than half of that


def compared(run_ids: Sequence[str]) -> tuple[list[Compared], list[str]]:
    """Return the runs that there are, in the given order, and the identities that no run has."""
    held: dict[str, RunHistory] = st.session_state.get(_HELD, {})
    runs, held = _compared(run_ids, held)
    st.session_state[_HELD] = held
    return runs, [run_id for run_id in run_ids if run_id not in held]


def compared_anew(run_ids: Sequence[str]) -> list[Compared]:
    """Return the runs that there are as they stand now; needs no viewer's session, so any thread may ask."""
    return _compared(run_ids, {})[0]


def _compared(run_ids: Sequence[str], known: Mapping[str, RunHistory]) -> tuple[list[Compared], dict[str, RunHistory]]:
    summaries = {run_id: summary for run_id in run_ids if (summary := data.run(run_id)) is not None}
    held = {run_id: known.get(run_id) or RunHistory(run_id, max_held=_MAX_HELD) for run_id in summaries}
    colours = run_colours(summaries)
    runs = []
    for letter, (run_id, summary) in zip(LETTERS, summaries.items(), strict=False):
        view = data.run_view(summary, kept=held[run_id])
        runs.append(Compared(letter, colours[run_id], summary, view.series, view.learning, view.idle.share))
    return runs, held
