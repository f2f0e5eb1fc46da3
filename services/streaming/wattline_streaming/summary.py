"""A run's summary: what each source said, gathered by minima and maxima, and what follows from that for the run.

Minima and maxima make the gathering indifferent to order, duplicates and replay; the run's own fields are a pure
function of what was gathered.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wattline_common.events import HardwareSampled, RunFinished, RunStarted, RunStatus, StepCompleted
from wattline_common.store import Document, SourceSummary, as_map, as_pairs
from wattline_common.sums import total
from wattline_streaming.typed import CONTEXT, UNKNOWN

__all__ = ["Gathered", "nested", "own_fields", "source_updates"]

RUNNING = "RUNNING"
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MOST_EVENTS = 2**63 - 1  # a document holds no more, whatever numbers sources have given themselves
_TOTALS = ("energy_kwh", "energy_low_kwh", "energy_high_kwh", "measured_energy_kwh", "emissions_kg")
_CUMULATIVE = {
    "energy_kwh": "cumulative_energy_kwh",
    "energy_low_kwh": "cumulative_energy_low_kwh",
    "energy_high_kwh": "cumulative_energy_high_kwh",
    "measured_energy_kwh": "cumulative_measured_energy_kwh",
    "emissions_kg": "cumulative_emissions_kg",
}
_CONTEXT = (*CONTEXT, "host", "rank", "simulated")
_MAPS = ("hyperparameters", "tags")
_LATEST_STEP = ("epoch", "step", "loss", "accuracy")
_LATEST_SAMPLE = ("power_avg_w", "grid_intensity_g_per_kwh", "grid_intensity_source", "pue", "cpu_utilization_pct")
_STARTED = ("planned_epochs", "planned_steps", "git_commit", "tracker_version", "hardware")
_FINISHED = (
    "status",
    "duration_s",
    "final_loss",
    "final_accuracy",
    "source_energy_kwh",
    "source_emissions_kg",
    "events_emitted",
    "events_dropped",
)


class _Paths(dict[str, str]):
    """Where a source's figures stand in its run's document, by name: each made once, for many events."""

    def __init__(self, source_id: str) -> None:
        super().__init__()
        self._source = f"sources.{source_id}."

    def __missing__(self, name: str) -> str:
        path = self[name] = self._source + name
        return path


_paths = functools.lru_cache(maxsize=10_000)(_Paths)


def source_updates(record_name: str, fields: Mapping[str, Any], timestamp_us: int) -> tuple[Document, Document]:
    """Return what an event raises (`$max`) and lowers (`$min`) in its run's document, by path."""
    at = _paths(fields["source_id"])
    seq = fields["seq"]
    raised: Document = {
        at["seq_max"]: seq,
        at["last_timestamp_us"]: timestamp_us,
        at["context"]: {name: fields.get(name) for name in _CONTEXT},
    }
    match record_name:
        case HardwareSampled.__name__:
            for name, source in _CUMULATIVE.items():
                raised[at[name]] = fields[source]
            for device in fields["devices"]:
                raised[at[f"methods.{device['method']}"]] = 1
            raised[at["latest_sample"]] = {"seq": seq} | {name: fields.get(name) for name in _LATEST_SAMPLE}
        case StepCompleted.__name__:
            told = [name for name in _LATEST_STEP if fields.get(name) is not None]
            raised |= {at[f"latest_{name}"]: {"seq": seq, name: fields[name]} for name in told}
        case RunStarted.__name__:
            maps = {name: as_pairs(fields[name]) for name in _MAPS}
            facts = {name: fields.get(name) for name in _STARTED}
            raised[at["started"]] = {"seq": seq, "timestamp_us": timestamp_us} | maps | facts
        case RunFinished.__name__:
            facts = {name: fields.get(name) for name in _FINISHED}
            raised[at["finished"]] = {"seq": seq, "timestamp_us": timestamp_us} | facts
    return raised, {at["first_timestamp_us"]: timestamp_us}


def nested(figures: Mapping[str, Any]) -> dict[str, SourceSummary]:
    """Return the sources map that raised and lowered figures, given by path, make of an empty one."""
    document: dict[str, Any] = {"sources": {}}
    for path, value in figures.items():
        *way, key = path.split(".")
        place = document
        for part in way:
            place = place.setdefault(part, {})
        place[key] = value
    sources: dict[str, SourceSummary] = document["sources"]
    return sources


@dataclass(slots=True)
class Gathered:
    """What several events of a run raise and lower together, by path: as `$max` and `$min` would, one after another."""

    raised: Document = field(default_factory=dict)
    lowered: Document = field(default_factory=dict)

    def add(self, record_name: str, fields: Mapping[str, Any], timestamp_us: int) -> None:
        """Add an event."""
        raised, lowered = source_updates(record_name, fields, timestamp_us)
        _merge(self.raised, raised, _higher)
        _merge(self.lowered, lowered, min)

    def add_raw(self, event: Mapping[str, Any]) -> None:
        """Add an event as the store has it, its maps as pairs."""
        maps = {name: as_map(event[name]) for name in _MAPS if name in event}
        self.add(event["event_type"], {**event, **maps}, event["timestamp_us"])

    def sources(self) -> dict[str, SourceSummary]:
        """Return the sources map that they make of an empty one."""
        return nested(self.raised | self.lowered)


def own_fields(run_id: str, sources: Mapping[str, SourceSummary]) -> Document:
    """Return the run's own fields: what its sources say of it, the first that says it; sums of their totals; status."""
    in_order = [sources[key] for key in sorted(sources, key=lambda key: (sources[key]["first_timestamp_us"], key))]
    first_us = min(source["first_timestamp_us"] for source in in_order)
    last_us = max(source["last_timestamp_us"] for source in in_order)
    status = _status(in_order)
    return {
        "run_id": run_id,
        "status": status,
        **{name: _said([source["context"].get(name) for source in in_order]) for name in CONTEXT},
        "simulated": any(source["context"].get("simulated") for source in in_order),
        "hosts": sorted({source["context"].get("host") or "unknown" for source in in_order}),
        "methods": sorted({method for source in in_order for method in source.get("methods", {})}),
        "started_at": _date(first_us),
        "last_event_at": _date(last_us),
        "finished_at": None if status == RUNNING else _date(last_us),
        "duration_s": (last_us - first_us) / 1e6,
        **{name: total(source.get(name, 0.0) for source in in_order) for name in _TOTALS},  # type: ignore[misc]
        "events_expected": min(sum(_expected(source) for source in in_order), _MOST_EVENTS),
        **_progress(in_order),
        "power_w": _power_w(in_order) if status == RUNNING else None,
    }


def _said(values: list[str | None]) -> str | None:
    """Return the first value that says something: `wattline run` knows no model, the script inside it may."""
    return next((value for value in values if value not in {None, UNKNOWN}), values[0])


def _status(sources: Iterable[SourceSummary]) -> str:
    """Return RUNNING while a source has not finished, else the worst end of any."""
    ends = {source["finished"]["status"] if "finished" in source else RUNNING for source in sources}
    worst_first = (RUNNING, RunStatus.FAILED, RunStatus.STOPPED, RunStatus.UNKNOWN, RunStatus.COMPLETED)
    return next(str(status) for status in worst_first if status in ends)


def _expected(source: SourceSummary) -> int:
    emitted = source["finished"]["events_emitted"] if "finished" in source else 0
    return max(emitted, source["seq_max"] + 1)


def _progress(sources: list[SourceSummary]) -> Document:
    """Return each training figure as the source that spoke last gave it last; it may stand for an earlier step."""
    figures: Document = dict.fromkeys(_LATEST_STEP)
    for source in sorted(sources, key=lambda source: source["last_timestamp_us"]):
        latest = {name: source.get(f"latest_{name}") for name in _LATEST_STEP}
        figures |= {name: told[name] for name, told in latest.items() if isinstance(told, dict)}
    return figures


def _power_w(sources: Iterable[SourceSummary]) -> float | None:
    live = [s["latest_sample"]["power_avg_w"] for s in sources if "latest_sample" in s and "finished" not in s]
    return total(live) if live else None


def _date(timestamp_us: int) -> datetime.datetime:
    return _EPOCH + datetime.timedelta(microseconds=timestamp_us)


def _merge(into: Document, more: Document, better: Callable[[Any, Any], Any]) -> None:
    for path, value in more.items():
        known = into.get(path)
        if known is None:
            into[path] = value
        elif value != known:  # most say again what is known: a run's context, a method
            into[path] = better(known, value)


def _higher(one: Any, other: Any) -> Any:  # noqa: ANN401  # numbers, or flat documents
    """Return the higher value as `$max` sees it: documents compare field by field, and null is lowest."""
    if not isinstance(one, dict):
        return other if other > one else one
    if one.get("seq") != other.get("seq"):  # where there is one it stands first, and so decides
        return other if other["seq"] > one["seq"] else one
    return one if one == other else max(one, other, key=_rank)


def _rank(document: Document) -> list[tuple[bool, Any]]:
    return [(value is not None, value) for value in document.values() if not isinstance(value, list)]
