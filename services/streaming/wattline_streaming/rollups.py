"""Hourly and daily rollups in the store: composed where windows were settled, rebuilt from and compared with all.

A rollup is replaced whole, by what its windows make at that time: repeating it, in any order, ends the same.
"""

from __future__ import annotations

import datetime
import heapq
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pymongo import ASCENDING, ReplaceOne
from pymongo.collection import Collection
from pymongo.database import Database

from wattline_common import store
from wattline_common.store import DAY_S, HOUR_S, Document, Rollup
from wattline_common.store_errors import answering
from wattline_streaming.compose import (
    GROUPS,
    RUN,
    all_rollups,
    floor,
    group_days,
    group_hours,
    is_whole,
    run_days,
    run_hours,
)

__all__ = ["differences", "rebuild", "roll_up"]

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_RELATIVE_TOLERANCE = 1e-9
_HOURS_TOGETHER = 8  # of runs, whose windows one question asks for: embedded stores compare each with each id in it

_RunHour = tuple[str, datetime.datetime]
_ById = dict[str, Rollup]


@dataclass(frozen=True, slots=True)
class _Change:
    """Rollups of one length and kind as they are known, which of them go, and what comes."""

    known: _ById
    stale: _ById
    fresh: _ById

    @property
    def now(self) -> list[Rollup]:
        """Return what is right after the change."""
        kept = (rollup for key, rollup in self.known.items() if key not in self.stale and key not in self.fresh)
        return [*kept, *self.fresh.values()]

    def write(self, collection: Collection[Document]) -> None:
        """Write what is fresh, then remove what has nothing in its place."""
        if self.fresh:
            writes = [
                ReplaceOne({"_id": key}, cast(Document, rollup), upsert=True) for key, rollup in self.fresh.items()
            ]
            collection.bulk_write(writes, ordered=False)
        gone = [key for key in self.stale if key not in self.fresh]
        if gone:
            collection.delete_many({"_id": {"$in": gone}})


def roll_up(database: Database[Document], windows: Iterable[tuple[str, int]]) -> None:
    """Compose anew what holds these windows (run and start in microseconds): a day at a time, each safe to repeat."""
    by_day: dict[datetime.datetime, set[_RunHour]] = defaultdict(set)
    for run_id, start_us in windows:
        start = _EPOCH + datetime.timedelta(microseconds=start_us)
        by_day[floor(start, DAY_S)].add((run_id, floor(start, HOUR_S)))
    for day in sorted(by_day):
        _roll_up_day(database, day, by_day[day])


def rebuild(database: Database[Document]) -> int:
    """Write every rollup that differs from its windows, remove those without any; return how many these were.

    What a settler writes at the very same moment could be overwritten by something older: compare again afterwards.
    Raises what `answering` raises; calling again goes on.
    """
    collection, mended = database[store.AGGREGATED_ROLLUPS], 0
    with answering():
        for made, stored in _days(database):
            wrong = {key: one for key, one in stored.items() if key not in made or any(_differing(one, made[key]))}
            right = {key: one for key, one in made.items() if key in wrong or key not in stored}
            _Change(stored, wrong, right).write(collection)
            mended += len(wrong.keys() | right.keys())
    return mended


def differences(database: Database[Document]) -> Iterator[str]:
    """Yield in words where a rollup is not what its windows make; one with a window still to be settled is left out."""
    unsettled = _unsettled(database)
    found = [pair for made, stored in _days(database) for pair in _differences_of_day(made, stored)]
    unsettled |= _unsettled(database)
    for rollup, text in found:
        run_id = rollup["key"] if rollup["dimension"] == RUN else None
        if (run_id, rollup["length_s"], rollup["window_start"]) not in unsettled:
            yield text


def _roll_up_day(database: Database[Document], day: datetime.datetime, touched: set[_RunHour]) -> None:
    """Compose anew the touched hours of runs, their days, and the groups that they are in or were in."""
    collection = database[store.AGGREGATED_ROLLUPS]
    hours = _hours_of_runs(database, day, touched)
    days = _days_of_runs(collection, day, hours, {run_id for run_id, _ in touched})
    announced = {key: _in_groups_of(hour, hours.stale.get(key)) for key, hour in hours.fresh.items()}
    _Change({}, {}, announced).write(collection)  # first, so that after a crash they tell all groups that have them
    for change in (*_of_groups(collection, day, hours, days), days):
        change.write(collection)
    moved = {key: hour for key, hour in hours.fresh.items() if hour["keys"] != announced[key]["keys"]}
    emptied = {key: hour for key, hour in hours.stale.items() if key not in hours.fresh}
    _Change({}, emptied, moved).write(collection)


def _in_groups_of(hour: Rollup, before: Rollup | None) -> Rollup:
    """Return the hour of a run as one of its groups and of those that it was in before."""
    if before is None or before["keys"] == hour["keys"]:
        return hour
    return {**hour, "keys": {name: [*{*keys, *before["keys"][name]}] for name, keys in hour["keys"].items()}}


def _hours_of_runs(database: Database[Document], day: datetime.datetime, touched: set[_RunHour]) -> _Change:
    """Compose the touched hours; known are all hours of their runs that day, and of all runs in the same hours."""
    collection = database[store.AGGREGATED_ROLLUPS]
    of_runs = {"dimension": RUN, "length_s": HOUR_S}
    run_ids, starts = (sorted(set(parts)) for parts in zip(*touched, strict=True))
    known = _found(collection, {**of_runs, "window_start": {"$in": starts}})
    known |= _found(collection, {**of_runs, "window_start": _within(day), "key": {"$in": run_ids}})
    stale = {key: hour for key, hour in known.items() if (hour["key"], hour["window_start"]) in touched}
    return _Change(known, stale, _composed_hours(database[store.AGGREGATED_METRICS], touched))


def _composed_hours(windows: Collection[Document], touched: set[_RunHour]) -> _ById:
    """Return the hours that their windows make, reading those of some hours at a time."""
    fresh: _ById = {}
    pending = iter(sorted(touched))
    while together := list(itertools.islice(pending, _HOURS_TOGETHER)):
        ids = [
            store.window_id(run_id, first_us + minute * store.WINDOW_LENGTH_S * 1_000_000)
            for run_id, hour in together
            for first_us in [round(hour.timestamp()) * 1_000_000]
            for minute in range(HOUR_S // store.WINDOW_LENGTH_S)
        ]
        fresh |= _by_id(run_hours(windows.find({"_id": {"$in": ids}})))
    return fresh


def _days_of_runs(
    collection: Collection[Document], day: datetime.datetime, hours: _Change, run_ids: set[str]
) -> _Change:
    """Compose the day of the runs; known are the days of all runs, without their figures."""
    known = _found(collection, {"dimension": RUN, "length_s": DAY_S, "window_start": day}, {"aggregate": 0})
    stale = {key: rollup for key, rollup in known.items() if rollup["key"] in run_ids}
    return _Change(known, stale, _by_id(run_days(hour for hour in hours.now if hour["key"] in run_ids)))


def _of_groups(
    collection: Collection[Document], day: datetime.datetime, hours: _Change, days: _Change
) -> tuple[_Change, _Change]:
    """Compose hours and day of the groups that the changed hours of runs were in, or are in now."""
    changed = (*hours.stale.values(), *hours.fresh.values())
    starts = {hour["window_start"] for hour in changed}
    groups = {(name, key) for hour in changed for name, keys in hour["keys"].items() for key in keys}
    found = _found(
        collection,
        {
            "dimension": {"$in": list(GROUPS)},
            "length_s": {"$in": [HOUR_S, DAY_S]},
            "window_start": _within(day),
            "key": {"$in": list({key for _, key in groups})},
        },
    )
    known = {key: rollup for key, rollup in found.items() if (rollup["dimension"], rollup["key"]) in groups}
    known_hours = {key: rollup for key, rollup in known.items() if rollup["length_s"] == HOUR_S}
    composed = group_hours(hour for hour in hours.now if hour["window_start"] in starts)
    new_hours = _Change(
        known_hours,
        {key: rollup for key, rollup in known_hours.items() if rollup["window_start"] in starts},
        _by_id(rollup for rollup in composed if (rollup["dimension"], rollup["key"]) in groups),
    )
    known_days = {key: rollup for key, rollup in known.items() if rollup["length_s"] == DAY_S}
    return new_hours, _Change(known_days, known_days, _by_id(group_days(new_hours.now, days.now)))


def _days(database: Database[Document]) -> Iterator[tuple[_ById, _ById]]:
    """Yield by day what its windows make and what is stored; in memory are an hour's windows and a day's rollups."""
    all_windows, all_rollups_kept = (
        database[name].find(batch_size=store.READ_TOGETHER).sort("window_start", ASCENDING)
        for name in (store.AGGREGATED_METRICS, store.AGGREGATED_ROLLUPS)
    )
    both = heapq.merge(filter(is_whole, all_windows), all_rollups_kept, key=_start)
    for _, of_day in itertools.groupby(both, key=lambda document: floor(_start(document), DAY_S)):
        hours: list[Rollup] = []
        stored: _ById = {}
        for _, of_hour in itertools.groupby(of_day, key=lambda document: floor(_start(document), HOUR_S)):
            documents = list(of_hour)
            stored |= _by_id(cast(Rollup, document) for document in documents if "dimension" in document)
            hours += run_hours(document for document in documents if "dimension" not in document)
        yield _by_id(all_rollups(hours)), stored


def _differences_of_day(made: _ById, stored: _ById) -> Iterator[tuple[Rollup, str]]:
    """Yield each rollup that is not as its windows make it, and how it differs."""
    for key in sorted(made.keys() | stored.keys()):
        right, kept = made.get(key), stored.get(key)
        if right is None:
            yield stored[key], f"rollup {key} has no windows"
        elif kept is None:
            yield right, f"rollup {key} is missing; its windows hold {right['aggregate']['events']} events"
        elif wrong := list(_differing(kept, right)):
            said = ", ".join(f"{name} {one!r} and its windows {other!r}" for name, one, other in wrong)
            yield right, f"rollup {key} has {said}"


def _differing(one: Rollup, other: Rollup) -> Iterator[tuple[str, Any, Any]]:
    """Yield name and both values of what differs by more than rounding."""
    figures: Mapping[str, Any] = one["aggregate"]
    for name, right in other["aggregate"].items():
        if not _same(figures.get(name), right):
            yield name, figures.get(name), right
    if one.get("keys") != other.get("keys"):
        yield "groups", one.get("keys"), other.get("keys")


def _same(one: Any, other: Any) -> bool:  # noqa: ANN401  # numbers, or null
    if not isinstance(one, float) or not isinstance(other, float):
        return bool(one == other)
    both_nan = math.isnan(one) and math.isnan(other)
    return both_nan or math.isclose(one, other, rel_tol=_RELATIVE_TOLERANCE, abs_tol=1e-15)


def _unsettled(database: Database[Document]) -> set[tuple[str | None, int, datetime.datetime]]:
    """Return the rollups with a window still to be settled: the run, or none for all groups; length and start."""
    unsettled: set[tuple[str | None, int, datetime.datetime]] = set()
    for mark in database[store.DIRTY_WINDOWS].find(
        {"window_start_us": {"$ne": None}}, {"run_id": 1, "window_start_us": 1}
    ):
        start = _EPOCH + datetime.timedelta(microseconds=mark["window_start_us"])
        for length_s in (HOUR_S, DAY_S):
            unsettled |= {(key, length_s, floor(start, length_s)) for key in (mark.get("run_id"), None)}
    return unsettled


def _found(collection: Collection[Document], condition: Document, fields: Mapping[str, int] | None = None) -> _ById:
    return _by_id(cast(Rollup, document) for document in collection.find(condition, fields))


def _by_id(rollups: Iterable[Rollup]) -> _ById:
    return {rollup["_id"]: rollup for rollup in rollups}


def _within(day: datetime.datetime) -> Document:
    return {"$gte": day, "$lt": day + datetime.timedelta(days=1)}


def _start(document: Mapping[str, Any]) -> datetime.datetime:
    return cast(datetime.datetime, document["window_start"])
