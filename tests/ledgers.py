"""What producers say they emitted, and what the store made of it: run by run, to the millijoule."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pymongo.database import Database

from wattline_common import store
from wattline_common.events import Event, HardwareSampled, RunFinished
from wattline_common.store import Document
from wattline_streaming.audit import Audit

__all__ = ["RunFigures", "event_figures", "fleet_figures", "ledger_differences", "millijoules"]

_MILLIJOULES_PER_KWH = 3.6e9


@dataclass(frozen=True)
class RunFigures:
    """What a run emitted."""

    events: int
    energy_millijoules: int
    status: str


def fleet_figures(ledger: Mapping[str, Any]) -> dict[str, RunFigures]:
    """Return the figures of each run in the simulator's ledger."""
    return {
        run_id: RunFigures(run["events"], run["energy_millijoules"], run["status"])
        for run_id, run in ledger["runs"].items()
    }


def event_figures(events: Iterable[Event]) -> dict[str, RunFigures]:
    """Return the figures of each run of events, every one of which has a single source."""
    by_run: dict[str, list[Event]] = {}
    for event in events:
        by_run.setdefault(event.run_id, []).append(event)
    found = {}
    for run_id, own in by_run.items():
        ends = [event.status.value for event in own if isinstance(event, RunFinished)]
        energies_kwh = [event.energy_kwh for event in own if isinstance(event, HardwareSampled)]
        found[run_id] = RunFigures(len(own), millijoules(energies_kwh), ends[0] if ends else "RUNNING")
    return found


def ledger_differences(database: Database[Document], found: Audit, expected: Mapping[str, RunFigures]) -> list[str]:
    """Return where raw events, summaries or windows differ from what was emitted; other runs do not matter."""
    raw = {run.run_id: (run.events, millijoules([run.energy_kwh])) for run in found.runs}
    summaries = {run["_id"]: run for run in database[store.TRAINING_RUN_SUMMARY].find()}
    windows: dict[str, list[Document]] = {}
    for window in database[store.AGGREGATED_METRICS].find({}, {"run_id": 1, "aggregate": 1}):
        windows.setdefault(window["run_id"], []).append(window["aggregate"])
    return [
        f"{run_id}: the ledger has {figure!r}, {where} {stored!r}"
        for run_id, run in expected.items()
        for where, figure, stored in _compared(run, raw.get(run_id), summaries.get(run_id), windows.get(run_id, []))
        if figure != stored
    ]


def _compared(
    run: RunFigures, raw: tuple[int, int] | None, summary: Document | None, windows: list[Document]
) -> Iterator[tuple[str, object, object]]:
    """Yield each place, what the ledger says and what stands there."""
    figures = (run.events, run.energy_millijoules)
    yield "raw", figures, raw
    yield "windows", figures, (sum(w["events"] for w in windows), millijoules(w["energy_kwh"] for w in windows))
    told = summary and (summary["events_expected"], millijoules([summary["energy_kwh"]]), summary["status"])
    yield "summary", (*figures, run.status), told


def millijoules(energies_kwh: Iterable[float]) -> int:
    """Return the sum of energies in kWh, in whole millijoules."""
    return round(math.fsum(energies_kwh) * _MILLIJOULES_PER_KWH)
