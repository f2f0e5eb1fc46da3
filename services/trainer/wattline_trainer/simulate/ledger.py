"""What the fleet has emitted, run by run, to compare the collections with: whole counts and whole millijoules."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wattline_common.events import Event, HardwareSampled, RunFinished, RunStatus
from wattline_trainer.ledger import replace_text
from wattline_trainer.simulate.plan import RunPlan

__all__ = ["FleetLedger"]

_MJ_PER_KWH = 3.6e9
# A run is as its processes are: the worst end stands, and it runs while one of them does.
_WORST_FIRST = ("RUNNING", RunStatus.FAILED, RunStatus.STOPPED, RunStatus.UNKNOWN, RunStatus.COMPLETED)


@dataclass(slots=True)
class _SourceEntry:
    events_by_type: Counter[str] = field(default_factory=Counter)
    energy_millijoules: int = 0
    energy_kwh: float = 0.0
    emissions_kg: float = 0.0
    status: str = "RUNNING"

    def as_json(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "events_emitted": sum(self.events_by_type.values()),
            "energy_millijoules": self.energy_millijoules,
            "energy_kwh": self.energy_kwh,
            "emissions_kg": self.emissions_kg,
        }


@dataclass(slots=True)
class _RunEntry:
    to_come: int
    facts: dict[str, Any]
    sources: dict[str, _SourceEntry] = field(default_factory=dict)

    def status(self) -> str:
        ends = {source.status for source in self.sources.values()} | ({"RUNNING"} if self.to_come else set())
        return next(str(status) for status in _WORST_FIRST if status in ends)

    def as_json(self) -> dict[str, Any]:
        sources = self.sources.values()
        counts: Counter[str] = sum((source.events_by_type for source in sources), Counter())
        return {
            **self.facts,
            "status": self.status(),
            "events": counts.total(),
            "events_by_type": dict(sorted(counts.items())),
            "energy_millijoules": sum(source.energy_millijoules for source in sources),
            "energy_kwh": math.fsum(source.energy_kwh for source in sources),
            "emissions_kg": math.fsum(source.emissions_kg for source in sources),
            "sources": {source_id: source.as_json() for source_id, source in self.sources.items()},
        }


class FleetLedger:
    """Counts every event once, however often it is sent."""

    def __init__(self, seed: int, arguments: Mapping[str, Any]) -> None:
        self._head = {"seed": seed, "arguments": dict(arguments)}
        self._runs: dict[str, _RunEntry] = {}
        self.events = 0

    def __len__(self) -> int:
        return len(self._runs)

    def open_run(self, run: RunPlan) -> None:
        """Begin the entry of a run."""
        about = run.sources[0].context
        names = ("user_id", "project", "model_name", "dataset_name", "environment", "region_iso")
        self._runs[run.run_id] = _RunEntry(len(run.sources), {name: getattr(about, name) for name in names})

    def knows(self, run_id: str) -> bool:
        """Say whether a run was opened."""
        return run_id in self._runs

    def add(self, event: Event) -> None:
        """Count an event of a run that was opened."""
        self.events += 1
        run = self._runs[event.run_id]
        source = run.sources.get(event.source_id)
        if source is None:
            run.to_come -= 1
            source = run.sources[event.source_id] = _SourceEntry()
        source.events_by_type[type(event).__name__] += 1
        if isinstance(event, HardwareSampled):
            source.energy_millijoules += round(event.energy_kwh * _MJ_PER_KWH)
            source.energy_kwh = event.cumulative_energy_kwh
            source.emissions_kg = event.cumulative_emissions_kg
        elif isinstance(event, RunFinished):
            source.status = event.status.value

    def expect_no_more(self, run_id: str) -> None:
        """Remember that one more process of a run will never start."""
        self._runs[run_id].to_come -= 1

    def as_json(self, *, complete: bool, delivered: int) -> dict[str, Any]:
        """Return the ledger as plain data; runs by run_id, in order of their starts."""
        runs = {run_id: run.as_json() for run_id, run in self._runs.items() if run.sources}
        counts: Counter[str] = sum((Counter(run["events_by_type"]) for run in runs.values()), Counter())
        return {
            **self._head,
            "complete": complete,
            "totals": {
                "runs": len(runs),
                "events": counts.total(),
                "events_by_type": dict(sorted(counts.items())),
                "messages_delivered": delivered,
                "energy_millijoules": sum(run["energy_millijoules"] for run in runs.values()),
                "energy_kwh": math.fsum(run["energy_kwh"] for run in runs.values()),
                "emissions_kg": math.fsum(run["emissions_kg"] for run in runs.values()),
            },
            "runs": runs,
        }

    def write(self, path: Path, *, complete: bool, delivered: int) -> None:
        """Write it as JSON with a run a line, whole or not at all."""
        head = self.as_json(complete=complete, delivered=delivered)
        # By parts: json.dumps with an indent is pure Python, and of 500 runs takes 0.2 s.
        runs = ",\n".join(f"  {json.dumps(run_id)}: {json.dumps(run)}" for run_id, run in head.pop("runs").items())
        lines = [f"{json.dumps(name)}: {json.dumps(value)},\n" for name, value in head.items()]
        replace_text(path, "{" + "".join(lines) + f'"runs": {{\n{runs}\n}}}}\n')
