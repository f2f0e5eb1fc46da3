"""In which words, and where, what is stored of a run differs from its raw events, or from itself."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from wattline_common.store import Document
from wattline_common.sums import total
from wattline_streaming.recount import TOTALS, RunCount, SourceCount, WindowCount, close
from wattline_streaming.summary import own_fields

__all__ = ["closed_differences", "mark_differences", "own_differences", "summary_differences", "window_differences"]

_HOUR = datetime.timedelta(hours=1)
_MARK = {"run_id": str, "window_start_us": int, "due_at": datetime.datetime, "mark": str}


def window_differences(
    run: RunCount, windows: Mapping[str, Document], keep: Callable[[str], bool]
) -> Iterator[tuple[str, str]]:
    """Yield id and difference of the windows to ``keep`` that differ from raw."""
    for key in filter(keep, sorted(run.windows.keys() | windows.keys())):
        counted, aggregate = run.windows.get(key, WindowCount()), windows.get(key)
        raw = f"raw {counted.events} and {total(counted.sampled['energy_kwh'])!r}"
        if aggregate is None:
            yield key, f"window {key} is missing; raw has {counted.events} events"
        elif not isinstance(aggregate.get("revision"), int):
            yield key, f"window {key} has no figures with a revision; {raw}"
        elif not counted.agrees(aggregate):
            figures = f"{aggregate.get('events')} events and {aggregate.get('energy_kwh')!r} kWh"
            yield key, f"window {key} has {figures}, {raw}"


def summary_differences(run: RunCount, summary: Document | None, *, settled: bool) -> Iterator[str]:
    """Yield where a summary differs from raw and from itself; what it states of its windows once they are settled."""
    if summary is None:
        yield "there is no summary"
        return
    if set(summary["sources"]) != set(run.sources):
        yield f"the summary knows sources {sorted(summary['sources'])}, raw {sorted(run.sources)}"
        return
    for source_id, source in run.sources.items():
        for difference in _source_differences(source, summary["sources"][source_id]):
            yield f"source {source_id}: {difference}"
    yield from own_differences(summary)
    if settled and summary.get("finished_at") is not None:
        yield from _statement_differences(summary, run.total("energy_kwh"), "raw says")


def closed_differences(
    run: RunCount, summary: Document, windows: Mapping[str, Document], *, settled: bool
) -> Iterator[str]:
    """Yield where what is left of a run whose raw events are deleted disagrees with itself."""
    retention = summary["retention"]
    events = sum(aggregate.get("events", 0) for aggregate in windows.values())
    if events != retention["events"]:
        yield f"its windows count {events} events, it had {retention['events']} when its raw events were deleted"
    known = {source_id: source["seq_max"] for source_id, source in retention["sources"].items()}
    told = {source_id: source.get("seq_max") for source_id, source in summary["sources"].items()}
    if told != known:
        yield f"the summary's highest seqs are {told}, when its raw events were deleted they were {known}"
    if run.events and not retention["deleting"]:
        yield f"{run.events} raw events are there, though all were deleted"
    yield from own_differences(summary)
    if settled:
        parts = total(aggregate.get("energy_kwh", 0.0) for aggregate in windows.values())
        yield from _statement_differences(summary, parts, "its windows say")


def own_differences(summary: Document) -> Iterator[str]:
    """Yield where a summary's own fields are not what follows from its sources."""
    try:
        fields = own_fields(summary["_id"], summary["sources"])
    except (KeyError, TypeError, ValueError) as error:
        yield f"the summary's sources lack {error}"
        return
    for name, value in fields.items():
        stored = summary.get(name)
        if not _same(stored, value):
            says = "sum to" if name in TOTALS else "say"
            yield f"the summary's {name} is {stored!r}, its sources {says} {value!r}"


def mark_differences(mark: Mapping[str, Any], now: datetime.datetime, *, is_needed: bool) -> Iterator[str]:
    """Yield what is wrong with a mark: it can never be due, or there is neither window nor event that needs it."""
    wrong = [name for name, kind in _MARK.items() if not isinstance(mark.get(name), kind)]
    if wrong:
        yield f"the mark of window {mark['_id']} has no good {', '.join(wrong)}"
    elif not is_needed and mark["due_at"] < now - _HOUR:
        yield f"the mark of window {mark['_id']} is an hour overdue, and there is neither a window nor an event"


def _source_differences(source: SourceCount, stored: Document) -> Iterator[str]:
    if stored.get("seq_max") != source.seq_max:
        yield f"the summary's highest seq is {stored.get('seq_max')}, raw has {source.seq_max}"
    span = (stored.get("first_timestamp_us"), stored.get("last_timestamp_us"))
    if span != (source.first_us, source.last_us):
        yield f"the summary has it from {span[0]} to {span[1]}, raw from {source.first_us} to {source.last_us}"
    if ("finished" in stored) != (source.finished is not None):
        yield f"the summary has {'an' if 'finished' in stored else 'no'} end of it, raw not so"
    for name in TOTALS:
        value, highest = stored.get(name, 0.0), source.cumulative[name]
        if source.complete and not close(value, source.total(name)):
            yield f"the summary says {name}={value!r}, its samples sum to {source.total(name)!r}"
        elif not close(value, highest):
            yield f"the summary says {name}={value!r}, its highest running total in raw is {highest!r}"
    yield from source.contradictions()


def _statement_differences(summary: Document, parts_kwh: float, who: str) -> Iterator[str]:
    stated, found = summary.get("settled", {}).get("difference_kwh"), summary.get("energy_kwh", 0.0) - parts_kwh
    if stated is None or not math.isclose(stated, found, rel_tol=1e-6, abs_tol=1e-12):
        yield f"the summary states a difference of {stated!r} kWh to its windows, {who} {found!r}"


def _same(stored: Any, value: Any) -> bool:  # noqa: ANN401  # any field's
    if isinstance(value, float) and isinstance(stored, (int, float)):
        return close(stored, value)
    if isinstance(value, datetime.datetime):  # the store has milliseconds
        return bool(stored == value.replace(microsecond=value.microsecond // 1000 * 1000))
    return bool(stored == value)
