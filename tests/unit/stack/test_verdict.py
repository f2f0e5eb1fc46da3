"""Promises of the demo's verdict: it holds only when the store agrees with itself and with every ledger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wattline_stack.verdict import judge

REAL = {"run_id": "real", "events_emitted": 12, "energy_kwh": 1.5e-5}
FLEET = {"runs": {"sim": {"events": 7, "energy_millijoules": 3_600_000}}}


def audit(**changes: Any) -> str:
    """Return the audit of a store that holds both runs, with changes to the real one."""
    same = {"differences": [], "pending": [], "emissions_kg": 0.0}
    real = {"run_id": "real", "events": 12, "samples": 5, "energy_kwh": 1.5e-5, **same, **changes}
    simulated = {"run_id": "sim", "events": 7, "samples": 3, "energy_kwh": 0.001, **same}
    counts = {"aggregated_metrics": 2, "rejected_events": 0}
    clean = not real["differences"]
    return json.dumps({"clean": clean, "counts": counts, "events_by_type": {}, "runs": [real, simulated]})


@pytest.fixture
def ledgers(tmp_path: Path) -> list[Path]:
    """Write the two ledgers."""
    paths = [tmp_path / "real.json", tmp_path / "fleet.json"]
    for path, content in zip(paths, (REAL, FLEET), strict=True):
        path.write_text(json.dumps(content))
    return paths


def test_it_holds_when_everything_agrees(ledgers: list[Path]) -> None:
    """Equal counts and energies, and a clean audit: no problem."""
    verdict = judge(audit(), ledgers)
    assert verdict.held, verdict.problems
    assert verdict.facts()["runs"] == 2


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"events": 11}, "11 events are stored, 12 were emitted"),
        ({"energy_kwh": 1.6e-5}, "kWh are stored"),
        ({"samples": 0}, "no sample"),
        ({"differences": ["window w is missing"]}, "window w is missing"),
        ({"pending": ["window w has 3 events"]}, "window w has 3 events"),
        ({"run_id": "other"}, "real is not in the store"),
    ],
)
def test_any_difference_is_told(ledgers: list[Path], changes: dict[str, Any], told: str) -> None:
    """Whatever does not fit is named, and the verdict does not hold."""
    verdict = judge(audit(**changes), ledgers)
    assert not verdict.held
    assert told in " ".join(verdict.problems)


def test_silence_is_no_agreement(ledgers: list[Path], tmp_path: Path) -> None:
    """An audit without an answer, or a ledger that was never written, does not hold."""
    assert not judge("", ledgers).held
    assert not judge(audit(), [*ledgers, tmp_path / "never.json"]).held
