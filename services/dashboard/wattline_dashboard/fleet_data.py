"""What the pages about many runs ask for, by way of `data`: each answer serves all viewers for some seconds."""

from __future__ import annotations

import datetime
import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import streamlit as st

from wattline_common.errors import StoreUnavailableError
from wattline_common.store import HOUR_S, Document
from wattline_dashboard import data, fleet_queries, queries
from wattline_dashboard.filters import Filters
from wattline_dashboard.fleet import Fleet, FleetRow, fold
from wattline_dashboard.periods import PERIODS, Period, grain_s, open_stretches
from wattline_dashboard.sparks import sparks

__all__ = ["count_runs", "fleet", "power_curves", "recent_runs", "running_runs"]

_PATIENCE = 10  # times the usual wait: months of windows take long to add up
_CURVES_REFRESH_S = 30
_WINDOWS_REFRESH_S = 15  # adding up a day of a fleet costs the embedded store a second
_WINDOWS_LAST_S = 60
_MOST_STRETCHES = 50  # of windows in one question; beyond it, all between the first and the last
_AHEAD = datetime.timedelta(hours=1)  # a clock may be ahead of ours
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


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
    answer = _held().answer(period.key, grain)
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


class _Held:
    """The last answer for each period: one that is getting old is still given, while a new one is fetched beside it.

    So only the first viewer of a period ever waits for the store to add its windows up.
    """

    def __init__(self) -> None:
        self._answers: dict[tuple[str, int], _Answer] = {}
        self._fetched: dict[tuple[str, int], threading.Thread] = {}
        self._lock = threading.Lock()

    def answer(self, period_key: str, grain: int) -> _Answer:
        """Return a period's windows, at most `_WINDOWS_LAST_S` old."""
        key = (period_key, grain)
        with self._lock:
            held = self._answers.get(key)
            age_s = (data.now() - held.read_at).total_seconds() if held else math.inf
            if held and age_s <= _WINDOWS_LAST_S:
                if age_s > _WINDOWS_REFRESH_S and not self._is_fetched(key):
                    self._fetched[key] = threading.Thread(target=self._fetch_beside, args=key, daemon=True)
                    self._fetched[key].start()
                return held
        return self._fetch(*key)

    def _is_fetched(self, key: tuple[str, int]) -> bool:
        return key in self._fetched and self._fetched[key].is_alive()

    def _fetch(self, period_key: str, grain: int) -> _Answer:
        answer = _ask_for(period_key, grain)
        with self._lock:
            self._answers[(period_key, grain)] = answer
        return answer

    def _fetch_beside(self, period_key: str, grain: int) -> None:
        with suppress(StoreUnavailableError):  # the next viewer is told, by the quick question
            self._fetch(period_key, grain)


@st.cache_resource(show_spinner=False)
def _held() -> _Held:
    return _Held()


def _ask_for(period_key: str, grain: int) -> _Answer:
    period, now = PERIODS[period_key], data.now()
    found = _rows(period, grain, now)
    rows = [FleetRow.of(document) for document in found]
    known = data.ask_within(_wait_s(), fleet_queries.summaries, {row.run_id for row in rows})
    return _Answer(now, rows, {summary["_id"]: summary for summary in known})


def _rows(period: Period, grain: int, now: datetime.datetime) -> list[Document]:
    """Return the sums of all runs by ``grain`` seconds, of the period and of the one before it.

    Which hours are unsettled is asked first: what is settled meanwhile is still right in its windows.
    """
    since = period.since(now)
    begin = since - period.length if since is not None and period.length is not None else None
    unsettled = data.ask(fleet_queries.unsettled_hours) if grain == HOUR_S else None
    if unsettled is None:
        all_of_it = [(begin or _EPOCH, now + _AHEAD)]
        return data.ask_within(_wait_s(), fleet_queries.window_rows, all_of_it, since, grain)
    stretches = open_stretches(begin, since, now, unsettled)
    if len(stretches) > _MOST_STRETCHES:
        stretches = [(stretches[0][0], stretches[-1][1])]
    hours = data.ask_within(_wait_s(), fleet_queries.hour_rows, begin or _EPOCH, since)
    settled = [row for row in hours if not any(first <= row["_id"]["start"] < last for first, last in stretches)]
    return settled + data.ask_within(_wait_s(), fleet_queries.window_rows, stretches, since, grain)
