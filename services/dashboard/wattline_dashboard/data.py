"""What the pages ask for: the one client of the store, short caches, and each viewer's history of a run."""

from __future__ import annotations

import datetime
import time
import zoneinfo
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import pymongo
import streamlit as st
from pymongo.database import Database

from wattline_common.errors import StoreUnavailableError
from wattline_common.forecast import Forecast
from wattline_common.store import (
    DAY_S,
    HOUR_S,
    WINDOW_LENGTH_S,
    Document,
    RunSummary,
    WindowDocument,
    connect,
    event_id,
)
from wattline_dashboard import costs, queries
from wattline_dashboard.curves import Power, RunSeries
from wattline_dashboard.facts import RunState, seq_max, spans
from wattline_dashboard.history import MAX_HELD, RunHistory
from wattline_dashboard.series import by_device as series_by_device
from wattline_dashboard.series import from_events, from_windows
from wattline_dashboard.settings import DashboardSettings

__all__ = [
    "RETRY_S",
    "RunView",
    "ask",
    "ask_within",
    "latest_samples",
    "newest_run_id",
    "now",
    "run",
    "run_series",
    "run_state",
    "run_states",
    "run_view",
    "settings",
    "try_again",
    "viewer_zone",
]

RETRY_S = 5.0  # a store that failed is left alone for so long
_RAW_FOR_S = 3_600  # a longer run is drawn from its windows
_RAW_EVENTS = 16 * MAX_HELD  # so is one with more events than this
_WINDOWS_FOR_S = 2_000 * WINDOW_LENGTH_S  # and a longer one from its hours, or its days: at most 2,000 points
_HOURS_FOR_S = queries.MAX_ROLLUPS * HOUR_S
_FEW_HELD = 2_000  # events of a run that is drawn from windows: for what only steps tell
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
def _windows(run_id: str, length_s: int) -> list[WindowDocument]:
    if length_s > WINDOW_LENGTH_S and (found := ask(queries.rollups, run_id, length_s)):
        return found
    return ask(queries.windows, run_id)


@st.cache_data(ttl=1, max_entries=64, show_spinner=False)
def latest_samples(run_id: str, numbers: tuple[tuple[str, int], ...]) -> list[Document]:
    """Return the samples of the given sources and numbers, devices and all."""
    return ask(queries.samples, [event_id(run_id, source_id, seq) for source_id, seq in numbers[:_MAX_SOURCES]])


@dataclass(frozen=True, slots=True)
class RunView:
    """A run's curves, and what they say of its costs."""

    series: RunSeries
    learning: costs.LearningCost
    forecast: Forecast | None
    idle: costs.IdleEnergy
    device_power: Power | None = None  # where it is wanted, and raw events are drawn


def run_series(summary: RunSummary) -> RunSeries:
    """Return a run's curves: from raw events for an hour, from windows beyond, or when the raw events are gone."""
    return run_view(summary).series


def run_view(summary: RunSummary, *, by_device: bool = False, kept: RunHistory | None = None) -> RunView:
    """Return a run's curves and costs: from raw events for an hour, from windows and hours beyond.

    Raw events stay in ``kept``; without it, in the one place that a viewer's session has for the run looked at.
    """
    is_short = summary["duration_s"] <= _RAW_FOR_S and summary["events_expected"] <= _RAW_EVENTS
    has_raw = summary.get("raw_complete", True)
    history = RunHistory(summary["_id"])
    if has_raw:
        history = kept or _held(summary["_id"], MAX_HELD if is_short else _FEW_HELD)
        _fill(history, summary)
    samples, steps, thinning = history.samples, history.steps, history.thinning
    series = from_events(samples, steps, thinning=thinning) if is_short else RunSeries()
    device_power = None
    if series.is_empty:
        windows = _windows(summary["_id"], _grain_s(summary["duration_s"]))
        series = from_windows(windows, until=summary["last_event_at"], sources=spans(summary))
        idle = costs.idle_windows(windows)
    else:
        idle = costs.idle_energy(samples)
        if by_device:
            hosts = {key: source.get("context", {}).get("host") or "" for key, source in summary["sources"].items()}
            device_power = series_by_device(samples, hosts, thinning=thinning)
    return RunView(
        series=series,
        learning=costs.learning(summary, steps, series.energy_kwh, thinning=thinning),
        forecast=costs.forecast(summary, steps, series.energy_kwh, thinning=thinning),
        idle=idle,
        device_power=device_power,
    )


def _grain_s(duration_s: float) -> int:
    """Return the length of the windows that draw a run in at most 2,000 points."""
    if duration_s <= _WINDOWS_FOR_S:
        return WINDOW_LENGTH_S
    return HOUR_S if duration_s <= _HOURS_FOR_S else DAY_S


def run_state(summary: Mapping[str, Any]) -> RunState:
    """Judge where a run stands now."""
    return run_states([summary])[0]


def run_states(summaries: Sequence[Mapping[str, Any]]) -> list[RunState]:
    """Judge where runs stand now; those that look stalled are asked when their newest event came in."""
    moment, stale_s, stalled_s = now(), settings().stale_after_s, settings().stalled_after_s
    states = [RunState.at(summary, moment, stale_s, stalled_s) for summary in summaries]
    silent = [summary for summary, state in zip(summaries, states, strict=True) if state.is_stalled]
    if not silent:
        return states
    ingested = _arrivals().of(silent)
    return [
        RunState.at(summary, moment, stale_s, stalled_s, ingested.get(summary["_id"])) if state.is_stalled else state
        for summary, state in zip(summaries, states, strict=True)
    ]


class _Arrivals:
    """When the newest event of each silent run came in: asked once for each newest event."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[datetime.datetime, datetime.datetime | None]] = {}

    def of(self, summaries: Sequence[Mapping[str, Any]]) -> dict[str, datetime.datetime | None]:
        """Return the moments by run."""
        newest = {summary["_id"]: summary["last_event_at"] for summary in summaries}
        unknown = [run_id for run_id, at in newest.items() if self._known.get(run_id, (None,))[0] != at]
        if unknown:
            found = ask(queries.ingested_at, unknown)
            asked = unknown[: queries.MAX_ARRIVALS]
            self._known |= {run_id: (newest[run_id], found.get(run_id)) for run_id in asked}
        return {run_id: self._known[run_id][1] for run_id in newest if run_id in self._known}


@st.cache_resource(show_spinner=False)
def _arrivals() -> _Arrivals:
    return _Arrivals()


def viewer_zone() -> datetime.tzinfo:
    """Return the time zone of the viewer's browser, or UTC."""
    try:
        return zoneinfo.ZoneInfo(st.context.timezone or "UTC")
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):  # a folder's name, or one that is too long
        return datetime.UTC


def now() -> datetime.datetime:
    """Return the moment against which the age of data is told."""
    return datetime.datetime.now(datetime.UTC)


def _held(run_id: str, max_held: int) -> RunHistory:
    """Return what this viewer's session holds of a run; the one looked at before is let go."""
    held: RunHistory | None = st.session_state.get("run.history")
    if held is None or held.run_id != run_id or held.max_held != max_held:
        held = st.session_state["run.history"] = RunHistory(run_id, max_held=max_held)
    return held


def _fill(history: RunHistory, summary: RunSummary) -> None:
    missing: Sequence[str] = history.missing(seq_max(summary), limit=2 * history.max_held)
    for start in range(0, len(missing), queries.MAX_EVENTS):
        history.add(ask(queries.events, missing[start : start + queries.MAX_EVENTS]))
