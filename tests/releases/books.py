"""What a store holds at one moment, compared with what the producers of a release's runs say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pymongo.database import Database

from tests.collections_equal import Contents, contents
from tests.releases.kept import RunKept
from wattline_common import store
from wattline_common.store import Document
from wattline_streaming.audit import Audit, audit

__all__ = ["Books"]


@dataclass
class Books:
    """What a store held at one moment, and what the audit found."""

    contents: Contents
    audit: Audit
    rejected: dict[str, int]

    @classmethod
    def of(cls, database: Database[Document]) -> Books:
        """Read them."""
        rejected = Counter(each["reason"] for each in database[store.REJECTED_EVENTS].find({}, {"reason": 1}))
        return cls(contents(database, same_topic=False), audit(database), dict(rejected))

    def events(self, run_id: str) -> list[Mapping[str, Any]]:
        """Return a run's raw events."""
        return [event for event in self.contents[store.TRAINING_METRICS].values() if event["run_id"] == run_id]

    def differences(self, run_id: str, run: RunKept) -> list[str]:
        """Return where summary, raw events and windows are not what the run's producer says, to 1e-9."""
        summary = self.contents[store.TRAINING_RUN_SUMMARY][run_id]
        windows = [w for w in self.contents[store.AGGREGATED_METRICS].values() if w["run_id"] == run_id]
        (audited,) = [found for found in self.audit.runs if found.run_id == run_id]
        parts_kwh = run.energy_kwh - run.lost_energy_kwh
        compared = {
            "status": (summary["status"], run.status),
            "events expected": (summary["events_expected"], run.events),
            "raw events": (len(self.events(run_id)), run.events - run.lost_events),
            "events missing": (audited.missing_events, run.lost_events),
            "windows' events": (sum(w["aggregate"]["events"] for w in windows), run.events - run.lost_events),
        }
        close = {
            "energy, kWh": (summary["energy_kwh"], run.energy_kwh),
            "emissions, kg": (summary["emissions_kg"], run.emissions_kg),
            "raw energy, kWh": (audited.energy_kwh, parts_kwh),
            "windows' energy, kWh": (math.fsum(w["aggregate"]["energy_kwh"] for w in windows), parts_kwh),
            "stated difference, kWh": (parts_kwh + summary["settled"]["difference_kwh"], run.energy_kwh),
        }
        differing = [name for name, (found, wanted) in compared.items() if found != wanted]
        differing += [name for name, (found, wanted) in close.items() if not math.isclose(found, wanted, rel_tol=1e-9)]
        return [f"{run_id}: {name}: {({**compared, **close})[name]}" for name in differing]
