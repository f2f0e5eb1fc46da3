"""The CPU meter charges by the model it names, inside its band, whatever the counters say."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.tracker.recorded_proc import CPUINFO_EPYC_3, TICKS_PER_S, RecordedProc
from wattline.interval import Interval
from wattline.meters.base import Reading
from wattline.meters.cpu import CpuModelMeter
from wattline.meters.cpu_charge import cpu_model
from wattline.meters.cpu_models import AWS_MEAN, FAMILIES, CpuIdentity, band_j, power_model, read_identity
from wattline.meters.host import ProcHost
from wattline.meters.tree import ProcessTree
from wattline_common.events import DeviceKind, Method

ROOT = 100
EPYC_3 = CpuIdentity(vendor="AuthenticAMD", family=25, model=1, stepping=1, product="AMD EPYC 7B13")


@pytest.fixture
def proc(tmp_path: Path) -> RecordedProc:
    """Give a host of two CPUs with the root process on it."""
    made = RecordedProc(tmp_path)
    made.process(ROOT, 1)
    return made


def _meter(
    proc: RecordedProc, cpu: CpuIdentity = EPYC_3, name: str = "ccf", tdp_w: float | None = None
) -> CpuModelMeter:
    host = ProcHost(str(proc.root), ROOT, TICKS_PER_S)
    meter = CpuModelMeter(
        host,
        ProcessTree(host),
        cpu_model(name, cpu, host.logical_cpus, tdp_w),
        product=cpu.product,
        cpus_allocated=2.0,
    )
    (device,) = meter.start(0.0)
    assert (device.kind, device.count, device.model_name) == (DeviceKind.CPU, 2, cpu.product)
    return meter


def _read(meter: CpuModelMeter, at_s: float) -> Reading:
    (reading,) = meter.read(at_s)
    assert 0 <= reading.energy_low_j <= reading.energy_j <= reading.energy_high_j
    return reading


def test_a_full_cpu_is_charged_at_full_power(proc: RecordedProc) -> None:
    """One CPU of two, used in full by the run for 10 s: 10 s at the family's full power, and half the host's use."""
    meter = _meter(proc)
    proc.process(ROOT, 1, own=1000)
    proc.cpu(user=900, system=100, idle=900, iowait=100)
    reading = _read(meter, 10.0)
    power = FAMILIES["epyc-3"]
    assert reading.energy_j == pytest.approx(10 * power.full_w)
    assert reading.utilization_pct == pytest.approx(50.0)
    assert reading.share == pytest.approx(power.full_w / (power.full_w + power.idle_w))
    assert (reading.method, reading.model_name) == (Method.MODELLED, "CCF AMD EPYC 3rd Gen")
    assert reading.power_w == pytest.approx(power.full_w)


def test_stolen_time_is_told_and_is_no_use(proc: RecordedProc) -> None:
    """What the hypervisor gave to others is a percentage of all time, charged to nobody."""
    meter = _meter(proc)
    proc.process(ROOT, 1, own=500)
    proc.cpu(user=500, idle=1000, steal=500)
    reading = _read(meter, 10.0)
    assert reading.steal_pct == pytest.approx(25.0)
    assert reading.utilization_pct == pytest.approx(25.0)
    interval = Interval(0.0)
    interval.add(10.0, [reading])
    assert interval.cpu_steal_pct == pytest.approx(25.0)
    assert Interval(0.0).cpu_steal_pct is None


def test_the_band_is_that_of_the_fields_other_models(proc: RecordedProc) -> None:
    """For half a host: from no idle power at all to use over 0.65 of full power."""
    meter = _meter(proc)
    proc.process(ROOT, 1, own=1000)
    proc.cpu(user=1000, idle=1000)
    reading = _read(meter, 10.0)
    power = FAMILIES["epyc-3"]
    assert reading.energy_low_j == pytest.approx(20 * power.full_w * (0.1 + 0.9 * 0.5**3))
    assert reading.energy_high_j == pytest.approx(10 * power.full_w / 0.65)


def test_what_others_do_does_not_change_the_charge(proc: RecordedProc) -> None:
    """The same CPU time costs the same on a busy host; only share and band differ."""
    meter = _meter(proc)
    proc.process(ROOT, 1, own=100)
    proc.cpu(user=100, idle=100)
    alone = _read(meter, 1.0)
    proc.process(ROOT, 1, own=200)
    proc.cpu(user=300, idle=100)
    crowded = _read(meter, 2.0)
    assert crowded.energy_j == pytest.approx(alone.energy_j)
    assert crowded.share < alone.share
    assert (alone.utilization_pct, crowded.utilization_pct) == (50.0, 100.0)


def test_doing_nothing_costs_nothing(proc: RecordedProc) -> None:
    """A run that used no CPU time is charged none, in the band too."""
    meter = _meter(proc)
    proc.cpu(user=50, idle=150)
    reading = _read(meter, 1.0)
    assert (reading.energy_j, reading.energy_low_j, reading.energy_high_j) == (0.0, 0.0, 0.0)


def test_ticks_that_come_late_are_carried_over_not_lost(proc: RecordedProc) -> None:
    """No reading is above what the CPUs can draw, and in the end all CPU time is charged."""
    meter = _meter(proc)
    proc.process(ROOT, 1, own=10)
    first = _read(meter, 0.01)
    second = _read(meter, 1.0)
    full_w = FAMILIES["epyc-3"].full_w
    assert first.power_w == pytest.approx(2 * full_w)
    assert first.energy_j + second.energy_j == pytest.approx(0.1 * full_w)


def test_an_unknown_family_gets_the_mean_a_wide_band_and_a_flag(proc: RecordedProc) -> None:
    """The band then spans every family of the table, and the reading says why."""
    meter = _meter(proc, CpuIdentity(vendor="GenuineIntel", family=6, model=200, product="a new one"))
    proc.process(ROOT, 1, own=100)
    proc.cpu(user=100, idle=100)
    reading = _read(meter, 1.0)
    assert reading.energy_j == pytest.approx(AWS_MEAN.full_w)
    assert "cpu_family_unknown" in reading.flags
    assert reading.model_name == AWS_MEAN.name
    assert reading.energy_low_j < FAMILIES["epyc-2"].full_w < FAMILIES["skylake"].full_w < reading.energy_high_j


SECONDS = st.floats(0, 1e4)


@given(SECONDS, SECONDS, st.floats(1e-3, 1e4), st.floats(0, 1))
def test_the_charge_lies_in_its_own_families_band(own_s: float, others_s: float, capacity_s: float, of: float) -> None:
    """For any use the model's own value is between the lowest and the highest of the field."""
    own_s = min(own_s, capacity_s)
    for power in FAMILIES.values():
        low_j, high_j = band_j(
            [power],
            own_s=own_s,
            busy_s=min(own_s + others_s, capacity_s),
            capacity_s=capacity_s,
            allocated_s=of * capacity_s,
        )
        assert 0 <= low_j <= power.full_w * own_s <= high_j * (1 + 1e-12)


@pytest.mark.parametrize(
    ("cpu", "family"),
    [
        (EPYC_3, "epyc-3"),
        (CpuIdentity(vendor="AuthenticAMD", family=23, model=49), "epyc-2"),
        (CpuIdentity(vendor="GenuineIntel", family=6, model=85, stepping=4), "skylake"),
        (CpuIdentity(vendor="GenuineIntel", family=6, model=85, stepping=7), "cascade-lake"),
        (CpuIdentity(vendor="GenuineIntel", family=6, model=85, stepping=11), None),
        (CpuIdentity(vendor="AuthenticAMD", family=25, model=0x21), None),
        (CpuIdentity(), None),
    ],
)
def test_families_are_told_by_vendor_family_model_and_stepping(cpu: CpuIdentity, family: str | None) -> None:
    """The same Intel model number is three families; a desktop's CPU is none of the table."""
    assert power_model(cpu) == (FAMILIES[family] if family else None)


def test_identity_comes_from_the_first_cpu(tmp_path: Path) -> None:
    """/proc/cpuinfo's first block counts; without the file the identity is unknown."""
    file = tmp_path / "cpuinfo"
    file.write_text(CPUINFO_EPYC_3, encoding="utf-8")
    assert read_identity(file) == EPYC_3
    assert read_identity(tmp_path / "nothing") == CpuIdentity()


def test_codecarbon_compatible_is_its_curve_over_the_whole_host(proc: RecordedProc) -> None:
    """TDP times (0.1 + 0.9 use cubed), however little of it is the run's own; the reading says both."""
    meter = _meter(proc, name="codecarbon-compatible", tdp_w=100.0)
    proc.process(ROOT, 1, own=10)
    proc.cpu(user=1000, idle=1000)
    reading = _read(meter, 10.0)
    assert reading.energy_j == pytest.approx(100 * (0.1 + 0.9 / 8) * 10)
    assert "codecarbon-compatible" in reading.model_name
    assert (reading.share, reading.flags) == (1.0, ("whole_host",))


def test_tdp_linear_is_the_tdp_by_own_use(proc: RecordedProc) -> None:
    """A quarter of the CPUs' time costs a quarter of the TDP; without one it is 4 W a logical CPU."""
    meter = _meter(proc, name="tdp-linear")
    proc.process(ROOT, 1, own=500)
    proc.cpu(user=1000, idle=1000)
    reading = _read(meter, 10.0)
    assert reading.energy_j == pytest.approx(2 * 4.0 * 0.25 * 10)
    assert "tdp-linear" in reading.model_name
    assert reading.share == pytest.approx(0.5)
