"""Each check of the doctor tells what is there, what is not and why, and raises nothing."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from wattline.doctor_checks import ask_servers, grid_now, look_at_spool, measure
from wattline.guard import Problems
from wattline.meters.base import Meter, Reading
from wattline.settings import Settings
from wattline.testing import ReplayMeter
from wattline_common.carbon import grid_intensity
from wattline_common.carbon.settings import GridSettings
from wattline_common.errors import ConfigurationError, WattlineError
from wattline_common.settings import Endpoints


def test_a_meter_reads_over_a_period() -> None:
    """Power, band and product of a device of known watts."""
    (device,) = measure(lambda _: [ReplayMeter([50.0])], period_s=0.1).devices
    assert (device.device_id, device.kind, device.method) == ("replay", "CPU", "SAMPLED_POWER")
    assert [device.power_low_w, device.power_w, device.power_high_w] == pytest.approx([45.0, 50.0, 55.0])


def test_meters_that_fail_are_told() -> None:
    """One that fails is flagged and unknown, and the others are read; without any the problem is what is left."""
    broken, sound = ReplayMeter([OSError("gone")], device_id="broken"), ReplayMeter([50.0])
    found = measure(lambda _: [broken, sound], period_s=0.1)
    assert {device.device_id: device.method for device in found.devices} == {
        "broken": "UNKNOWN",
        "replay": "SAMPLED_POWER",
    }
    assert "gone" in found.problems[0]

    def none(problems: Problems) -> list[Meter]:
        raise RuntimeError("no meters at all")

    nothing = measure(none, period_s=0.1)
    assert nothing.devices == ()
    assert "no meters at all" in nothing.problems[0]


class _Hanging(ReplayMeter):
    """Answers once it is let go."""

    def __init__(self) -> None:
        super().__init__([1.0])
        self.let_go = threading.Event()

    def read(self, at_s: float) -> list[Reading]:
        self.let_go.wait()
        return super().read(at_s)


def test_a_meter_that_hangs_is_left_alone() -> None:
    """The doctor ends, and says so."""
    hanging = _Hanging()
    found = measure(lambda _: [hanging], period_s=0.1, patience_s=0.2)
    hanging.let_go.set()
    assert found.devices == ()
    assert "did not answer" in found.problems[0]


def test_a_spool_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    """Where it is or would be; what is in the way is told."""
    good = look_at_spool(tmp_path / "a" / "b")
    assert (good.is_writable, good.sources_waiting) == (True, 0)
    assert (good.free_bytes or 0) > 0
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "spool" / "gone-1-x").mkdir(parents=True)
    assert look_at_spool(tmp_path).sources_waiting == 1
    (tmp_path / "file").touch()
    bad = look_at_spool(tmp_path / "file" / "spool")
    assert not bad.is_writable
    assert bad.reason


def test_servers_are_asked_for_a_short_time() -> None:
    """None whose settings are wrong; an address that is none is told, not raised."""
    assert ask_servers(None) == ()
    began_s = time.monotonic()
    servers = ask_servers(Endpoints("127.0.0.1:1", "http://ada:secret@[::1"), timeout_s=0.2)
    assert time.monotonic() - began_s < 15
    assert [server.is_ready for server in servers] == [False, False]
    assert all(server.reason for server in servers)
    assert not any("secret" in f"{server.address} {server.reason}" for server in servers)


def test_the_grid_is_that_of_the_moment() -> None:
    """The region's, in any case of letters; one's own factor; and a region that is none is a wrong setting."""
    problems: list[WattlineError] = []
    assert grid_now(Settings(region_iso="fra"), problems.append) == grid_intensity("FRA")
    assert grid_now(Settings(grid=GridSettings(own_g_per_kwh=12.0)), problems.append).g_per_kwh == 12.0
    assert problems == []
    grid_now(Settings(region_iso="ATLANTIS"), problems.append)
    assert isinstance(problems[0], ConfigurationError)
