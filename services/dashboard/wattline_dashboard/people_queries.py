"""Why the page People is empty: the questions about hours and days of users, projects and models, and of runs.

Rollups answer them, so a year costs hundreds of documents a group; only where a month begins inside an hour, as by
clocks that are not whole hours from UTC, are its minutes added up. Bounded, projected; text is only compared.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pymongo.database import Database

from wattline_common.store import (
    AGGREGATED_METRICS,
    AGGREGATED_ROLLUPS,
    DAY_S,
    HOUR_S,
    ROLLUP_DIMENSIONS,
    WINDOW_LENGTH_S,
    Document,
)
from wattline_dashboard.queries import translated
from wattline_dashboard.spans import pieces

__all__ = ["MAX_ROWS", "SUMS", "course", "group_sums", "run_sums"]

MAX_ROWS = 20_000  # of one answer
SUMS = ("energy_kwh", "energy_low_kwh", "energy_high_kwh", "measured_energy_kwh", "emissions_kg")

_RUN = ROLLUP_DIMENSIONS[0]
_ADDED = {name: {"$sum": f"$aggregate.{name}"} for name in SUMS}


@translated
def group_sums(
    database: Database[Document],
    dimension: str,
    before: datetime.datetime,
    since: datetime.datetime,
    until: datetime.datetime,
) -> list[Document]:
    """Return the sums of each user, project or model: of the span that begins at ``since``, and of the one before.

    `_id` has key, simulated, and is_current: not of the span before. A key may come more than once.
    """
    identity = {
        "key": "$key",
        "simulated": "$simulated",
        "is_current": {"$gte": ["$window_start", since]},
    }
    return _added(database, dimension, {}, identity, (before, since, until))


@translated
def course(
    database: Database[Document],
    dimension: str,
    key: str | None,
    boundaries: Sequence[datetime.datetime],
    *,
    of_all: bool = False,
) -> list[Document]:
    """Return the sums of one group over time, or of all, by days and around the boundaries by hours.

    `_id` has start, length_s and simulated; no boundary is inside any.
    """
    condition: Document = {} if of_all else {"key": {"$eq": key}}
    identity = {"start": "$window_start", "length_s": "$length_s", "simulated": "$simulated"}
    return _added(database, dimension, condition, identity, boundaries)


@translated
def run_sums(
    database: Database[Document], dimension: str, since: datetime.datetime, until: datetime.datetime
) -> list[Document]:
    """Return the sums of each run in a span; `_id` has key (the run), simulated, and of: the groups it counts in."""
    identity = {"key": "$key", "simulated": "$simulated", "of": f"$keys.{dimension}"}
    return _added(database, _RUN, {}, identity, (since, until), group_of_run=dimension)


def _added(
    database: Database[Document],
    dimension: str,
    condition: Document,
    identity: Document,
    boundaries: Sequence[datetime.datetime],
    group_of_run: str | None = None,
) -> list[Document]:
    found: list[Document] = []
    for length_s, times in _rollup_times(boundaries):
        match = {"dimension": dimension, "length_s": length_s, "window_start": times, **condition}
        found += _grouped(database, AGGREGATED_ROLLUPS, match, identity)
    for since, until in pieces(boundaries).minutes:
        match = {"length_s": WINDOW_LENGTH_S, "window_start": {"$gte": since, "$lt": until}}
        named = _of_windows(dimension, group_of_run)
        if condition:
            match[named["key"][1:]] = condition["key"]
        of_window = {name: named.get(name, expression) for name, expression in identity.items()}
        found += _grouped(database, AGGREGATED_METRICS, match, of_window)
    return found


def _rollup_times(boundaries: Sequence[datetime.datetime]) -> Iterator[tuple[int, Document]]:
    parts = pieces(boundaries)
    since, until = parts.days
    if since < until:
        times: Document = {"$gte": since, "$lt": until}
        yield DAY_S, times | ({"$nin": list(parts.cut_days)} if parts.cut_days else {})
    if parts.hours:
        yield HOUR_S, {"$in": list(parts.hours)}


def _of_windows(dimension: str, group_of_run: str | None) -> Mapping[str, Any]:
    """Return where a window has what a rollup has under another name."""
    context = "$aggregate.context."
    return {
        "key": "$run_id" if dimension == _RUN else f"{context}{dimension}",
        "simulated": f"{context}simulated",
        "of": f"{context}{group_of_run}",
    }


def _grouped(database: Database[Document], collection: str, match: Document, identity: Document) -> list[Document]:
    pipeline: list[Document] = [{"$match": match}, {"$group": {"_id": identity, **_ADDED}}, {"$limit": MAX_ROWS}]
    return list(database[collection].aggregate(pipeline))
