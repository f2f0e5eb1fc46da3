"""The bench of trackers measures what it says."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

import bench.tracker.job as job
from bench.tracker.agreement import Beside
from wattline_common.errors import ResourceError


def test_the_energy_of_a_span_is_the_sum_of_its_parts() -> None:
    """Read once a second, told for any span inside; a span outside is no agreement but an error."""
    with Beside() as beside:
        from_s = time.monotonic()
        middle_s, to_s = from_s + 0.4, from_s + 1.2
        while time.monotonic() < to_s:
            pass
    whole_kwh = beside.kwh(from_s, to_s)
    assert whole_kwh > 0
    assert whole_kwh == pytest.approx(beside.kwh(from_s, middle_s) + beside.kwh(middle_s, to_s))
    with pytest.raises(ResourceError, match="not inside ours"):
        beside.kwh(from_s - 60, to_s)


def test_a_trial_tells_every_figure() -> None:
    """One process of the job, short: all that the table needs, on the last line."""
    arguments = ["Wattline, no delivery", "--products", "2", "--idle-s", "0.5"]
    done = subprocess.run([sys.executable, job.__file__, *arguments], check=True, capture_output=True, timeout=60)
    trial = json.loads(done.stdout.splitlines()[-1])
    assert trial["tracker"] == "Wattline, no delivery"
    assert trial["memory_mib"] > 0
    assert 0 <= trial["cpu_pct"] < 100
    assert 0 < trial["setup_s"] < 60
