"""The doctor's advice: what is amiss has a way to make it better, and what is well has none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from wattline.doctor_advice import advice_on_meters, advice_on_surroundings
from wattline.doctor_checks import Device, Server, SpoolState
from wattline.job import read_job
from wattline.settings import Settings
from wattline_common.carbon import grid_intensity
from wattline_common.environment import Environment
from wattline_common.events import DeviceKind

DEVICE = Device(
    device_id="d",
    kind="CPU",
    product="p",
    method="MODELLED",
    model_name="m",
    power_w=1.0,
    power_low_w=0.5,
    power_high_w=2.0,
    share=1.0,
    utilization_pct=None,
    flags=(),
)
SPOOL = SpoolState(folder="/spool", is_writable=True, free_bytes=10**12)


@pytest.mark.parametrize(
    ("flag", "advice"),
    [
        ("cpu_family_unknown", "WATTLINE_CPU_TDP_W"),
        ("share_unknown", "process ids"),
        ("no_energy_counter", "polled"),
        ("mig_whole_card", "CUDA_VISIBLE_DEVICES"),
        ("meter_failed", "not counted"),
    ],
)
def test_a_remark_on_a_reading_has_its_advice(flag: str, advice: str, tmp_path: Path) -> None:
    """Which is not there without it."""
    plain = list(advice_on_meters(Settings(), [DEVICE], tmp_path))
    more = [
        line for line in advice_on_meters(Settings(), [replace(DEVICE, flags=(flag,))], tmp_path) if line not in plain
    ]
    assert len(more) == 1
    assert advice in more[0]


def test_counters_that_cannot_be_read_or_are_not_used_have_advice(tmp_path: Path) -> None:
    """The command that makes them readable; or the setting that stands above them; or that there are none."""
    assert "virtual machines" in next(advice_on_meters(Settings(), [DEVICE], tmp_path))
    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    (zone / "name").write_text("package-0", encoding="ascii")
    assert "chmod a+r" in next(advice_on_meters(Settings(), [DEVICE], tmp_path))
    for file in ("energy_uj", "max_energy_range_uj"):
        (zone / file).write_text("1000", encoding="ascii")
    assert "WATTLINE_CPU_MODEL" in next(advice_on_meters(Settings(cpu_model="tdp-linear"), [DEVICE], tmp_path))
    assert not any("RAPL" in line for line in advice_on_meters(Settings(), [DEVICE], tmp_path))


def test_a_gpu_that_is_read_needs_no_advice_on_drivers(tmp_path: Path) -> None:
    """A machine without one is told what one would need."""
    gpu = replace(DEVICE, kind=DeviceKind.GPU.value)
    plain, without = (list(advice_on_meters(Settings(), [each], tmp_path)) for each in (gpu, DEVICE))
    assert [line for line in plain if "NVIDIA" in line or "pynvml" in line] == []
    assert len(without) >= len(plain)


def test_the_surroundings_have_advice() -> None:
    """Of region, PUE, spool, servers and pod, each where it is amiss only."""
    pod = read_job(Environment({"KUBERNETES_SERVICE_HOST": "h"}))
    away = Server(name="kafka", address="k", is_ready=False, reason="away")
    amiss = list(
        advice_on_surroundings(
            Settings(job=pod), grid_intensity("unknown"), replace(SPOOL, free_bytes=1, sources_waiting=3), [away]
        )
    )
    for word in ("WATTLINE_REGION", "WATTLINE_PUE", "WATTLINE_SPOOL_MB", "3 sources", "wattline report", "NODE_NAME"):
        assert [line for line in amiss if word in line], word
    good = Settings(region_iso="FRA", pue=1.3)
    assert list(advice_on_surroundings(good, grid_intensity("FRA"), SPOOL, [replace(away, is_ready=True)])) == []
    unwritable = replace(SPOOL, is_writable=False, free_bytes=None)
    (line,) = advice_on_surroundings(good, grid_intensity("FRA"), unwritable, [])
    assert "WATTLINE_SPOOL_DIR" in line
