"""What the pages about many runs ask for, by way of `data`: each answer serves all viewers for some seconds."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from wattline_common.store import Document
from wattline_dashboard import data, fleet_queries, queries
from wattline_dashboard.filters import Filters
from wattline_dashboard.fleet import Fleet, FleetRow, fold
from wattline_dashboard.periods import PERIODS, grain_s
from wattline_dashboard.sparks import sparks

__all__ = ["count_runs", "fleet", "power_curves", "recent_runs", "running_runs"]

_PATIENCE = 10  # times the usual wait: months of windows take long to add up
_CURVES_REFRESH_S = 30
_WINDOWS_REFRESH_S = 20  # adding up a day of a fleet costs the embedded store a second


@dataclass(frozen=True, slots=True)
class _Answer:
    """The windows of a period as they were at a moment."""

    read_at: datetime.datetime
    rows: Sequence[FleetRow]
    summaries: Mapping[str, Document]


@st.cache_data(ttl=1, max_entries=1, show_spinner=False)
def recent_runs() -> list[Document]:
    """Return the newest runs, without their sources."""
    return data.ask(queries.recent_runs)


@st.cache_data(ttl=10, max_entries=1, show_spinner=False)
def count_runs() -> int:
    """Return about how many runs there are."""
    return data.ask(queries.count_runs)


@st.cache_data(ttl=1, max_entries=1, show_spinner=False)
def running_runs() -> list[Document]:
    """Return the runs that have not ended."""
    return data.ask(fleet_queries.running)


def fleet(filters: Filters) -> tuple[Fleet, bool]:
    """Return a period of the fleet as the filters want it, and whether the period has more than can be added up."""
    period, zone, now = filters.length, data.viewer_zone(), data.now()
    running_runs()  # a quick question: a store that is away is told at once
    grain = grain_s(period.bar, zone, now, period.since(now) or now)
    answer = _answer(period.key, grain)
    made = fold(answer.rows, answer.summaries, filters, period.since(answer.read_at), now, zone)
    return made, len(answer.rows) >= fleet_queries.MAX_ROWS


def power_curves(run_ids: Iterable[str]) -> dict[str, list[float]]:
    """Return a few points of each run's power, from its windows."""
    return _curves(tuple(sorted(run_ids)))


@st.cache_data(ttl=_CURVES_REFRESH_S, max_entries=8, show_spinner=False)
def _curves(run_ids: tuple[str, ...]) -> dict[str, list[float]]:
    return sparks(data.ask_within(_wait_s(), fleet_queries.power_windows, run_ids))


def _wait_s() -> float:
    return data.settings().store_timeout_s * _PATIENCE


@st.cache_data(ttl=_WINDOWS_REFRESH_S, max_entries=16, show_spinner="Adding up the windows …")
def _answer(period_key: str, grain: int) -> _Answer:
    period, now = PERIODS[period_key], data.now()
    found = data.ask_within(_wait_s(), fleet_queries.period_rows, period.since(now), period.length, grain)
    rows = [FleetRow.of(document) for document in found]
    known = data.ask_within(_wait_s(), fleet_queries.summaries, {row.run_id for row in rows})
    return _Answer(now, rows, {summary["_id"]: summary for summary in known})
