"""What the pages ask for: the one client of the store, short caches, and each viewer's history of a run."""

from __future__ import annotations

import datetime
import time
import zoneinfo
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import pymongo
import streamlit as st
from pymongo.database import Database

from wattline_common.errors import StoreUnavailableError
from wattline_common.store import Document, RunSummary, WindowDocument, connect, event_id
from wattline_dashboard import queries
from wattline_dashboard.curves import RunSeries
from wattline_dashboard.facts import RunState, seq_max
from wattline_dashboard.history import MAX_HELD, RunHistory
from wattline_dashboard.series import from_events, from_windows
from wattline_dashboard.settings import DashboardSettings

__all__ = [
    "RETRY_S",
    "ask",
    "ask_within",
    "latest_samples",
    "newest_run_id",
    "now",
    "run",
    "run_series",
    "run_state",
    "settings",
    "try_again",
    "viewer_zone",
]

RETRY_S = 5.0  # a store that failed is left alone for so long
_RAW_FOR_S = 3_600  # a longer run is drawn from its windows
_RAW_EVENTS = 16 * MAX_HELD  # so is one with more events than this
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


class _Outage:
    """When the store last failed: until it is worth another try, viewers are told at once instead of kept waiting."""

    def __init__(self) -> None:
        self.began_s: float | None = None  # of the monotonic clock

    def is_fresh(self) -> bool:
        return self.began_s is not None and time.monotonic() - self.began_s < RETRY_S


@st.cache_resource(show_spinner=False)
def _outage() -> _Outage:
    return _Outage()


def try_again() -> None:
    """Ask the store at the next occasion, even though it failed a moment ago."""
    _outage().began_s = None


def ask(query: Callable[Concatenate[Database[Document], P], R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Ask the store within the time a viewer may be kept waiting."""
    return ask_within(settings().store_timeout_s, query, *args, **kwargs)


def ask_within(
    seconds: float, query: Callable[Concatenate[Database[Document], P], R], *args: P.args, **kwargs: P.kwargs
) -> R:
    """Ask the store for something that may take longer; that it is there at all, a quick question tells first."""
    outage = _outage()
    if outage.is_fresh():
        raise StoreUnavailableError("the store at MONGODB_URI failed a moment ago")
    try:
        with pymongo.timeout(seconds):
            found = query(_database(), *args, **kwargs)
    except StoreUnavailableError:
        outage.began_s = time.monotonic()
        raise
    outage.began_s = None
    return found


@st.cache_data(ttl=1, max_entries=1, show_spinner=False)
def newest_run_id() -> str | None:
    """Return the run to show when none is named."""
    return ask(queries.newest_run_id)


@st.cache_data(ttl=1, max_entries=64, show_spinner=False)
def run(run_id: str) -> RunSummary | None:
    """Return a run's summary, or none."""
    return ask(queries.run, run_id)


@st.cache_data(ttl=10, max_entries=16, show_spinner=False)
def _windows(run_id: str) -> list[WindowDocument]:
    return ask(queries.windows, run_id)


@st.cache_data(ttl=1, max_entries=64, show_spinner=False)
def latest_samples(run_id: str, numbers: tuple[tuple[str, int], ...]) -> list[Document]:
    """Return the samples of the given sources and numbers, devices and all."""
    return ask(queries.samples, [event_id(run_id, source_id, seq) for source_id, seq in numbers[:_MAX_SOURCES]])


def run_series(summary: RunSummary) -> RunSeries:
    """Return a run's curves: from raw events for an hour, from windows beyond, or when the raw events are gone."""
    is_short = summary["duration_s"] <= _RAW_FOR_S and summary["events_expected"] <= _RAW_EVENTS
    if is_short and summary.get("raw_complete", True):
        history = _history(summary["_id"])
        _fill(history, summary)
        series = from_events(history.samples, history.steps, thinning=history.thinning)
        if not series.is_empty:
            return series
    return from_windows(_windows(summary["_id"]), until=summary["last_event_at"])


def run_state(summary: Mapping[str, Any]) -> RunState:
    """Judge where a run stands now."""
    return RunState.at(summary, now(), settings().stale_after_s, settings().stalled_after_s)


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
        history.add(ask(queries.events, missing[start : start + queries.MAX_EVENTS]))
