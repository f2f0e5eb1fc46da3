"""Whether an unattended demo held together: the audit's word, and the emitters' own ledgers against the store."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattline_common import store

__all__ = ["Verdict", "judge"]

_MILLIJOULES_PER_KWH = 3.6e9


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an audit found, and all that does not fit."""

    audit: dict[str, Any]
    problems: list[str]

    @property
    def held(self) -> bool:
        """Whether everything fits."""
        return not self.problems

    def facts(self) -> dict[str, Any]:
        """Return the figures for the demo's one line."""
        runs, counts = self.audit.get("runs", []), self.audit.get("counts", {})
        return {
            "runs": len(runs),
            "events": self.audit.get("events_by_type", {}),
            "energy_kwh": math.fsum(run["energy_kwh"] for run in runs),
            "emissions_kg": math.fsum(run["emissions_kg"] for run in runs),
            "windows": counts.get(store.AGGREGATED_METRICS),
            "rejected": counts.get(store.REJECTED_EVENTS),
            "audit": "clean" if self.audit.get("clean") else "differs",
            "held": self.held,
        }


def judge(audit_json: str, ledgers: Iterable[Path]) -> Verdict:
    """Compare the store, as the audit tells it, with itself and with what the emitters say they emitted."""
    if not audit_json:
        return Verdict({}, ["the audit gave no answer"])
    audit = json.loads(audit_json)
    stored = {run["run_id"]: run for run in audit["runs"]}
    problems = [f"{run['run_id']}: {line}" for run in audit["runs"] for line in run["differences"] + run["pending"]]
    for ledger in ledgers:
        if not ledger.exists():
            problems.append(f"there is no ledger {ledger}: its emitter ended before it could write one")
            continue
        for run_id, events, energy_kwh in _emitted(json.loads(ledger.read_text(encoding="utf-8"))):
            problems += _differences(run_id, events, energy_kwh, stored.get(run_id))
    return Verdict(audit, problems)


def _emitted(ledger: dict[str, Any]) -> Iterator[tuple[str, int, float]]:
    """Yield run, events and energy of a ledger: one of a real run, or one of a simulated fleet."""
    if "runs" not in ledger:
        yield ledger["run_id"], ledger["events_emitted"], ledger["energy_kwh"]
        return
    for run_id, run in ledger["runs"].items():
        yield run_id, run["events"], run["energy_millijoules"] / _MILLIJOULES_PER_KWH


def _differences(run_id: str, events: int, energy_kwh: float, stored: dict[str, Any] | None) -> Iterator[str]:
    if stored is None:
        yield f"{run_id} is not in the store"
        return
    if stored["events"] != events:
        yield f"{run_id}: {stored['events']} events are stored, {events} were emitted"
    if not math.isclose(stored["energy_kwh"], energy_kwh, rel_tol=1e-9, abs_tol=1e-15):
        yield f"{run_id}: {stored['energy_kwh']!r} kWh are stored, {energy_kwh!r} were emitted"
    if stored["samples"] == 0:
        yield f"{run_id}: no sample is stored"
