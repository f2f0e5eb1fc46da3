"""What a bench states of its trials."""

from __future__ import annotations

import json
from pathlib import Path

from bench.contestants import PLAIN_LOOP, WATTLINE
from bench.report import Report
from bench.speed import Pass, SpeedTrial


def _trial(contestant: str, repeat: int, seconds: float) -> SpeedTrial:
    done = Pass(100_000, seconds, {"store": 2.0, "process": 3.0})
    return SpeedTrial(contestant, "50", repeat, done, done, 1.5)


def test_a_ratio_is_made_within_a_repeat(tmp_path: Path) -> None:
    """A slow minute of the machine hits both sides of a ratio, so it is median, lowest and highest of the pairs."""
    report = Report(tmp_path / "results" / "x.json")
    for repeat, (ours_s, theirs_s) in enumerate([(10.0, 20.0), (40.0, 60.0), (10.0, 30.0)]):
        report.add(_trial(PLAIN_LOOP, repeat, theirs_s))
        report.add(_trial(WATTLINE, repeat, ours_s))
    (row,) = (line for line in report.as_text().splitlines() if line.startswith(f"| {PLAIN_LOOP} | 3,333"))
    assert "| 2.00 (1.50 to 3.00) |" in row
    assert "| 5.0 (5.0 to 5.0) |" in row


def test_everything_measured_is_kept_after_each_trial(tmp_path: Path) -> None:
    """A bench that is interrupted leaves what it has measured, with versions and machine."""
    report = Report(tmp_path / "x.json")
    report.add(_trial(WATTLINE, 0, 10.0))
    kept = json.loads(report.path.read_text(encoding="utf-8"))
    assert kept["speed"][0]["warm"]["seconds"] == 10.0
    assert kept["versions"]["quixstreams"]
