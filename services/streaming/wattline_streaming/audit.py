"""Do the three collections agree? Recounts every run from its raw events and names each difference."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pymongo.database import Database
from pymongo.errors import PyMongoError

from wattline_common import store
from wattline_common.errors import StoreUnavailableError
from wattline_common.events import HardwareSampled, RunFinished
from wattline_common.store import Document

__all__ = ["Audit", "RunAudit", "audit"]

_RELATIVE_TOLERANCE = 1e-9
_COUNTED = (
    store.TRAINING_METRICS,
    store.TRAINING_RUN_SUMMARY,
    store.AGGREGATED_METRICS,
    store.REJECTED_EVENTS,
)
_READ_EVENTS = 10_000  # at a time: without it the embedded store sends all at once, more than a message may have
_RAW_FIELDS = dict.fromkeys(
    (
        "run_id",
        "source_id",
        "seq",
        "event_type",
        "timestamp_us",
        "energy_kwh",
        "emissions_kg",
        "source_energy_kwh",
        "source_emissions_kg",
        "events_emitted",
    ),
    1,
)


@dataclass(slots=True)
class _Source:
    """What the raw events of one source add up to."""

    events: int = 0
    seq_max: int = -1
    energies_kwh: list[float] = field(default_factory=list)
    emissions_kg: list[float] = field(default_factory=list)
    finished: Document | None = None

    @property
    def complete(self) -> bool:
        """Whether no seq is missing between 0 and the highest known."""
        emitted = self.finished["events_emitted"] if self.finished else 0
        return self.events == max(self.seq_max + 1, emitted)


@dataclass(slots=True)
class _Run:
    """What the raw events of one run add up to."""

    sources: dict[str, _Source] = field(default_factory=lambda: defaultdict(_Source))
    windows: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # id -> energy of each event


@dataclass(frozen=True, slots=True)
class RunAudit:
    """One run's counts and differences.

    ``moving`` when events came in during the audit; ``pending`` are differences that settling is still to mend.
    """

    run_id: str
    status: str
    events: int
    samples: int
    windows: int
    energy_kwh: float
    emissions_kg: float
    missing_events: int
    moving: bool
    differences: list[str]
    pending: list[str]


@dataclass(frozen=True, slots=True)
class Audit:
    """The whole comparison; ``clean`` when nothing differs."""

    counts: dict[str, int]
    events_by_type: dict[str, int]
    open_windows: int
    runs: list[RunAudit]

    @property
    def clean(self) -> bool:
        """Whether no run has a difference."""
        return not any(run.differences for run in self.runs)

    def as_json(self) -> Document:
        """Return it as plain data."""
        return {"clean": self.clean, **dataclasses.asdict(self)}

    def as_counts(self) -> str:
        """Return the collections' counts and, per run, what was expected, what is stored, and OK or the difference."""
        lines = [f"{name:<24}{count:>9}" for name, count in self.counts.items()]
        width = max((len(run.run_id) for run in self.runs), default=6)
        lines.append(f"\n{'run':<{width}}  expected    stored")
        for run in self.runs:
            off = "; ".join(run.differences) or (f"{run.missing_events} missing" if run.missing_events else "OK")
            lines.append(f"{run.run_id:<{width}}  {run.events + run.missing_events:>8}  {run.events:>8}  {off}")
        complete = self.clean and not any(run.missing_events for run in self.runs)
        return "\n".join([*lines, "OK" if complete else "NOT OK"])

    def as_text(self) -> str:
        """Return it as lines for a person."""
        lines = [f"{name}: {count}" for name, count in self.counts.items()]
        lines.append(f"windows still open: {self.open_windows}")
        for run in self.runs:
            moving = ", moving" if run.moving else ""
            gap = f", {run.missing_events} events missing" if run.missing_events else ""
            lines.append(
                f"{run.run_id} ({run.status}{moving}{gap}): {run.events} events, {run.samples} samples, "
                f"{run.windows} windows, {run.energy_kwh:.9f} kWh, {run.emissions_kg:.9f} kg CO2e"
            )
            lines += [f"  DIFFERS: {difference}" for difference in run.differences]
            lines += [f"  not settled yet: {difference}" for difference in run.pending]
        return "\n".join([*lines, "OK" if self.clean else "NOT OK"])


def audit(database: Database[Document]) -> Audit:
    """Recount everything from the raw events; raise `StoreUnavailableError`.

    What differs in a window that still waits to be settled is pending. A run that moves meanwhile has its windows
    compared, not its totals.
    """
    try:
        open_windows = {mark["_id"] for mark in database[store.DIRTY_WINDOWS].find({}, {"_id": 1})}
        runs, by_type = _recount(database)
        summaries = {run["_id"]: run for run in database[store.TRAINING_RUN_SUMMARY].find()}
        windows = _windows_by_run(database)
        open_windows |= {mark["_id"] for mark in database[store.DIRTY_WINDOWS].find({}, {"_id": 1})}
        audits = [
            _audit_run(run_id, runs.get(run_id, _Run()), summaries.get(run_id), windows.get(run_id, {}), open_windows)
            for run_id in sorted(runs.keys() | summaries.keys() | windows.keys())
        ]
        counts = {name: database[name].count_documents({}) for name in _COUNTED}
    except PyMongoError as error:
        raise StoreUnavailableError(f"no good answer from the store at MONGODB_URI: {error}") from error
    return Audit(counts, dict(sorted(by_type.items())), len(open_windows), audits)


def _recount(database: Database[Document]) -> tuple[dict[str, _Run], dict[str, int]]:
    runs: dict[str, _Run] = defaultdict(_Run)
    by_type: dict[str, int] = defaultdict(int)
    for event in database[store.TRAINING_METRICS].find({}, _RAW_FIELDS, batch_size=_READ_EVENTS):
        by_type[event["event_type"]] += 1
        run = runs[event["run_id"]]
        source = run.sources[event["source_id"]]
        source.events += 1
        source.seq_max = max(source.seq_max, event["seq"])
        sampled = event["event_type"] == HardwareSampled.__name__
        if sampled:
            source.energies_kwh.append(event["energy_kwh"])
            source.emissions_kg.append(event["emissions_kg"])
        elif event["event_type"] == RunFinished.__name__:
            source.finished = event
        window = store.window_id(event["run_id"], store.window_start_us(event["timestamp_us"]))
        run.windows[window].append(event["energy_kwh"] if sampled else 0.0)
    return runs, by_type


def _windows_by_run(database: Database[Document]) -> dict[str, dict[str, Document]]:
    windows: dict[str, dict[str, Document]] = defaultdict(dict)
    for window in database[store.AGGREGATED_METRICS].find(
        {}, {"run_id": 1, "aggregate.events": 1, "aggregate.energy_kwh": 1}
    ):
        windows[window["run_id"]][window["_id"]] = window["aggregate"]
    return windows


def _audit_run(
    run_id: str, run: _Run, summary: Document | None, windows: Mapping[str, Document], open_windows: set[str]
) -> RunAudit:
    moving = summary is not None and any(
        summary["sources"].get(source_id, {}).get("seq_max", -1) > source.seq_max
        for source_id, source in run.sources.items()
    )
    differences = list(_window_differences(run, windows, keep=lambda key: key not in open_windows))
    pending = list(_window_differences(run, windows, keep=lambda key: key in open_windows))
    if not moving:
        settled = open_windows.isdisjoint(run.windows)
        differences += _summary_differences(run, summary, settled=settled)
    sources = run.sources.values()
    events = sum(source.events for source in sources)
    return RunAudit(
        run_id=run_id,
        status=summary["status"] if summary else "no summary",
        events=events,
        samples=sum(len(source.energies_kwh) for source in sources),
        windows=len(windows),
        energy_kwh=math.fsum(energy for source in sources for energy in source.energies_kwh),
        emissions_kg=math.fsum(kg for source in sources for kg in source.emissions_kg),
        missing_events=0 if moving or summary is None else summary["events_expected"] - events,
        moving=moving,
        differences=differences,
        pending=pending,
    )


def _window_differences(run: _Run, windows: Mapping[str, Document], keep: Callable[[str], bool]) -> Iterator[str]:
    for key in filter(keep, sorted(run.windows.keys() | windows.keys())):
        energies, aggregate = run.windows.get(key, []), windows.get(key)
        if aggregate is None:
            yield f"window {key} is missing; raw has {len(energies)} events"
        elif aggregate["events"] != len(energies) or not _close(aggregate["energy_kwh"], math.fsum(energies)):
            yield (
                f"window {key} has {aggregate['events']} events and {aggregate['energy_kwh']!r} kWh, "
                f"raw {len(energies)} and {math.fsum(energies)!r}"
            )


def _summary_differences(run: _Run, summary: Document | None, *, settled: bool) -> Iterator[str]:
    if summary is None:
        yield "there is no summary"
        return
    if set(summary["sources"]) != set(run.sources):
        yield f"the summary knows sources {sorted(summary['sources'])}, raw {sorted(run.sources)}"
        return
    for source_id, source in run.sources.items():
        yield from _source_differences(source_id, source, summary["sources"][source_id])
    for name in ("energy_kwh", "emissions_kg"):
        total = math.fsum(source.get(name, 0.0) for source in summary["sources"].values())
        if not _close(summary[name], total):
            yield f"the summary's {name} is {summary[name]!r}, its sources sum to {total!r}"
    if settled and summary["finished_at"] is not None:
        raw_kwh = math.fsum(energy for source in run.sources.values() for energy in source.energies_kwh)
        stated, found = summary.get("settled", {}).get("difference_kwh"), summary["energy_kwh"] - raw_kwh
        if stated is None or not math.isclose(stated, found, rel_tol=1e-6, abs_tol=1e-12):
            yield f"the summary states a difference of {stated!r} kWh to its windows, raw says {found!r}"


def _source_differences(source_id: str, source: _Source, stored: Document) -> Iterator[str]:
    if stored["seq_max"] != source.seq_max:
        yield f"source {source_id}: the summary's highest seq is {stored['seq_max']}, raw has {source.seq_max}"
    if not source.complete:
        return  # with events missing the source's own word stands, and the summary states the difference
    sums = {"energy_kwh": math.fsum(source.energies_kwh), "emissions_kg": math.fsum(source.emissions_kg)}
    for name, total in sums.items():
        said: dict[str, Any] = {"the summary": stored.get(name, 0.0)}
        if source.finished:
            said["its last event"] = source.finished[f"source_{name}"]
        for who, value in said.items():
            if not _close(value, total):
                yield f"source {source_id}: {who} says {name}={value!r}, its samples sum to {total!r}"


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_RELATIVE_TOLERANCE, abs_tol=1e-15)
