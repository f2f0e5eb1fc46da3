"""The memory meter charges resident memory by watts per GB, inside its band."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.tracker.recorded_proc import TICKS_PER_S, RecordedProc
from wattline.meters.cgroup import Cgroup
from wattline.meters.host import ProcHost
from wattline.meters.memory import MemoryModelMeter
from wattline.meters.tree import ProcessTree
from wattline_common.events import DeviceKind, Method

ROOT = 100
PAGES_PER_GB = 1e9 / os.sysconf("SC_PAGE_SIZE")


def _meter(proc: RecordedProc) -> MemoryModelMeter:
    host = ProcHost(str(proc.root), ROOT, TICKS_PER_S)
    return MemoryModelMeter(host, ProcessTree(host))


def test_a_gigabyte_for_ten_seconds(tmp_path: Path) -> None:
    """1 GB over 10 s at 0.392 W per GB, with the band of the other rules."""
    proc = RecordedProc(tmp_path)
    proc.process(ROOT, 1, pages=round(PAGES_PER_GB))
    meter = _meter(proc)
    (device,) = meter.start(0.0)
    (reading,) = meter.read(10.0)
    assert reading.energy_j == pytest.approx(3.92, rel=1e-5)
    assert reading.energy_low_j == pytest.approx(3.75, rel=1e-5)
    assert reading.energy_high_j == pytest.approx(7.93, rel=1e-5)
    assert reading.memory_used_bytes == pytest.approx(1e9, rel=1e-5)
    assert (reading.kind, reading.method) == (DeviceKind.MEMORY, Method.MODELLED)
    assert device.memory_total_bytes == 8_000_000 * 1024
    assert reading.utilization_pct == pytest.approx(100 * 1e9 / (8_000_000 * 1024), rel=1e-5)


def test_memory_that_grows_is_charged_by_its_mean(tmp_path: Path) -> None:
    """Between two reads the mean of both ends counts."""
    proc = RecordedProc(tmp_path)
    proc.process(ROOT, 1, pages=0)
    meter = _meter(proc)
    meter.start(0.0)
    proc.process(ROOT, 1, pages=round(2 * PAGES_PER_GB))
    (reading,) = meter.read(1.0)
    assert reading.energy_j == pytest.approx(0.392, rel=1e-5)


def test_shared_pages_widen_the_band_downwards_and_never_exceed_the_host(tmp_path: Path) -> None:
    """Forked processes each show the same pages: the low end counts the largest only; the host's memory is the cap."""
    proc = RecordedProc(tmp_path, memory_kb=2_000_000)
    for pid in range(ROOT, ROOT + 4):
        proc.process(pid, 1 if pid == ROOT else ROOT, pages=round(PAGES_PER_GB))
    meter = _meter(proc)
    meter.start(0.0)
    (reading,) = meter.read(1.0)
    assert reading.memory_used_bytes == 2_000_000 * 1024
    assert reading.energy_low_j == pytest.approx(0.375, rel=1e-5)
    assert reading.energy_low_j <= reading.energy_j <= reading.energy_high_j
    assert reading.share == 1.0


def test_a_groups_limit_is_an_allocation_shared_by_use(tmp_path: Path) -> None:
    """Of a limit of 4 GB the run is charged half when half of the group's memory is its own."""
    (tmp_path / "group").mkdir()
    for name, size in (("memory.max", 4_000_000_000), ("memory.current", 2_000_000_000)):
        (tmp_path / "group" / name).write_text(f"{size}\n", encoding="ascii")
    proc = RecordedProc(tmp_path)
    proc.process(ROOT, 1, pages=round(PAGES_PER_GB))
    host = ProcHost(str(proc.root), ROOT, TICKS_PER_S)
    meter = MemoryModelMeter(host, ProcessTree(host), Cgroup(memory=(tmp_path / "group",)))
    meter.start(0.0)
    (reading,) = meter.read(10.0)
    assert reading.energy_j == pytest.approx(2 * 3.92, rel=1e-5)
    assert reading.energy_low_j == pytest.approx(3.75, rel=1e-5)
    assert "by_allocation" in reading.flags


def test_what_only_the_scheduler_allocated_is_the_upper_end(tmp_path: Path) -> None:
    """Other processes of the job may share it, so it is not charged."""
    proc = RecordedProc(tmp_path)
    proc.process(ROOT, 1, pages=round(PAGES_PER_GB))
    host = ProcHost(str(proc.root), ROOT, TICKS_PER_S)
    meter = MemoryModelMeter(host, ProcessTree(host), allocated_bytes=2_000_000_000)
    meter.start(0.0)
    (reading,) = meter.read(10.0)
    assert reading.energy_j == pytest.approx(3.92, rel=1e-5)
    assert reading.energy_high_j == pytest.approx(2 * 7.93, rel=1e-5)
