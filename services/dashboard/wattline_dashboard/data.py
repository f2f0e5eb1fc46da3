"""What the pages ask for: the one client of the store, short caches, and each viewer's history of a run."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec, TypeVar

import pymongo
import streamlit as st
from pymongo.database import Database

from wattline_common.store import Document, RunSummary, WindowDocument, connect, event_id
from wattline_dashboard import queries
from wattline_dashboard.curves import RunSeries
from wattline_dashboard.facts import seq_max
from wattline_dashboard.history import MAX_HELD, RunHistory
from wattline_dashboard.series import from_events, from_windows
from wattline_dashboard.settings import DashboardSettings

__all__ = [
    "latest_samples",
    "newest_run_id",
    "now",
    "recent_runs",
    "run",
    "run_series",
    "settings",
    "viewer_zone",
]

_RAW_FOR_S = 3_600  # a longer run is drawn from its windows
_MAX_SOURCES = 64  # whose devices are listed

P = ParamSpec("P")
R = TypeVar("R")


@st.cache_resource(show_spinner=False)
def settings() -> DashboardSettings:
    """Return the settings of this server."""
    return DashboardSettings.from_environment()


@st.cache_resource(show_spinner=False)
def _database() -> Database[Document]:
    return connect(settings().mongodb_uri, timeout_ms=round(settings().store_timeout_s * 1000))


def _ask(query: Callable[Concatenate[Database[Document], P], R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Ask the store within the time a viewer may be kept waiting."""
    with pymongo.timeout(settings().store_timeout_s):
        return query(_database(), *args, **kwargs)


@st.cache_data(ttl=1, max_entries=1, show_spinner=False)
def recent_runs() -> list[Document]:
    """Return the newest runs, without their sources."""
    return _ask(queries.recent_runs)


@st.cache_data(ttl=1, max_entries=1, show_spinner=False)
def newest_run_id() -> str | None:
    """Return the run to show when none is named."""
    return _ask(queries.newest_run_id)


@st.cache_data(ttl=1, max_entries=64, show_spinner=False)
def run(run_id: str) -> RunSummary | None:
    """Return a run's summary, or none."""
    return _ask(queries.run, run_id)


@st.cache_data(ttl=10, max_entries=16, show_spinner=False)
def _windows(run_id: str) -> list[WindowDocument]:
    return _ask(queries.windows, run_id)


@st.cache_data(ttl=1, max_entries=64, show_spinner=False)
def latest_samples(run_id: str, numbers: tuple[tuple[str, int], ...]) -> list[Document]:
    """Return the samples of the given sources and numbers, devices and all."""
    return _ask(queries.samples, [event_id(run_id, source_id, seq) for source_id, seq in numbers[:_MAX_SOURCES]])


def run_series(summary: RunSummary) -> RunSeries:
    """Return a run's curves: from raw events for an hour, from windows beyond, or when the raw events are gone."""
    if summary["duration_s"] <= _RAW_FOR_S and summary.get("raw_complete", True):
        history = _history(summary["_id"])
        _fill(history, summary)
        series = from_events(history.samples, history.steps, thinning=history.thinning)
        if not series.is_empty:
            return series
    return from_windows(_windows(summary["_id"]), until=summary["last_event_at"])


def viewer_zone() -> datetime.tzinfo:
    """Return the time zone of the viewer's browser, or UTC."""
    try:
        return zoneinfo.ZoneInfo(st.context.timezone or "UTC")
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        return datetime.UTC


def now() -> datetime.datetime:
    """Return the moment against which the age of data is told."""
    return datetime.datetime.now(datetime.UTC)


def _history(run_id: str) -> RunHistory:
    """Return what this viewer's session holds of a run; the one looked at before is let go."""
    held: RunHistory | None = st.session_state.get("run.history")
    if held is None or held.run_id != run_id:
        held = st.session_state["run.history"] = RunHistory(run_id)
    return held


def _fill(history: RunHistory, summary: RunSummary) -> None:
    numbers = seq_max(summary)
    missing: Sequence[str] = history.missing(numbers, limit=2 * MAX_HELD)
    for start in range(0, len(missing), queries.MAX_EVENTS):
        history.add(_ask(queries.events, missing[start : start + queries.MAX_EVENTS]))
