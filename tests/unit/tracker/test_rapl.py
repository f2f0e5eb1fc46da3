"""The CPUs' counters, from a powercap tree on disk: each joule once, and never a silent zero."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.tracker.recorded_proc import TICKS_PER_S, RecordedProc
from wattline.meters.base import Reading
from wattline.meters.cpu import CpuModelMeter
from wattline.meters.cpu_models import CpuIdentity
from wattline.meters.detect import detect_host_meters
from wattline.meters.host import ProcHost
from wattline.meters.memory import MemoryModelMeter
from wattline.meters.rapl import find_rapl
from wattline.meters.rapl_meter import RaplMeter
from wattline.meters.tree import ProcessTree
from wattline_common.events import DeviceKind, Method

ROOT = 100
RANGE_UJ = 262_143_328_850
HASWELL = CpuIdentity("GenuineIntel", family=6, model=0x3F, product="a CPU")


def _zone(powercap: Path, zone: str, name: str, counter_uj: int = 0) -> Path:
    folder = powercap / zone
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in (("name", name), ("max_energy_range_uj", RANGE_UJ), ("energy_uj", counter_uj)):
        (folder / file).write_text(f"{text}\n", encoding="ascii")
    return folder / "energy_uj"


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    """Give the tree of a host with two sockets, with everything that must not be added."""
    root = tmp_path / "powercap"
    for socket in (0, 1):
        _zone(root, f"intel-rapl:{socket}", f"package-{socket}")
        _zone(root, f"intel-rapl:{socket}:0", "core")
        _zone(root, f"intel-rapl:{socket}:1", "uncore")
        _zone(root, f"intel-rapl:{socket}:2", "dram")
        _zone(root, f"intel-rapl-mmio:{socket}", f"package-{socket}")
    _zone(root, "intel-rapl:2", "psys")
    (root / "intel-rapl").mkdir()
    return root


@pytest.fixture
def proc(tmp_path: Path) -> RecordedProc:
    """Give a host of two CPUs with the run on it."""
    root = tmp_path / "proc"
    root.mkdir()
    made = RecordedProc(root)
    made.process(ROOT, 1, pages=1000)
    return made


def _host(proc: RecordedProc) -> ProcHost:
    return ProcHost(str(proc.root), ROOT, TICKS_PER_S)


def _meter(proc: RecordedProc, powercap: Path, cpu: CpuIdentity = HASWELL) -> RaplMeter:
    host = _host(proc)
    meter = RaplMeter(host, ProcessTree(host), find_rapl(powercap), cpu)
    assert {device.method for device in meter.start(0.0)} == {Method.COUNTER}
    return meter


def _one_socket(powercap: Path, counter_uj: int) -> Path:
    return _zone(powercap, "intel-rapl:0", "package-0", counter_uj)


def _read(meter: RaplMeter, at_s: float) -> list[Reading]:
    readings = meter.read(at_s)
    for reading in readings:
        assert 0 <= reading.energy_low_j <= reading.energy_j <= reading.energy_high_j
        assert 0 <= reading.share <= 1
    return readings


def test_each_package_and_its_dram_count_once(powercap: Path) -> None:
    """Cores and graphics are inside, psys contains them, MMIO is the same again: none of them is added."""
    found = find_rapl(powercap)
    assert [domain.name for domain in found.packages] == ["package-0", "package-1"]
    assert [domain.name for domain in found.drams] == ["package-0 dram", "package-1 dram"]
    assert not any("mmio" in domain.folder.name for domain in found.packages)
    assert (found.has_psys, found.hint) == (True, "")


def test_the_second_name_of_a_package_helps_where_the_first_cannot_be_read(powercap: Path) -> None:
    """What the registers do not tell, memory may."""
    (powercap / "intel-rapl:0/energy_uj").write_text("", encoding="ascii")
    found = find_rapl(powercap)
    assert {domain.folder.name for domain in found.packages} == {"intel-rapl-mmio:0", "intel-rapl:1"}


def test_half_a_host_is_no_measurement(powercap: Path) -> None:
    """One package that cannot be read takes all away, and the hint says what to do; one DRAM, the DRAMs."""
    (powercap / "intel-rapl:1:2/energy_uj").unlink()
    assert (len(find_rapl(powercap).packages), find_rapl(powercap).drams) == (2, ())
    for zone in ("intel-rapl:1", "intel-rapl-mmio:1"):
        (powercap / zone / "energy_uj").unlink()
    found = find_rapl(powercap)
    assert (found.packages, found.drams) == ((), ())
    assert "chmod a+r" in found.hint
    assert "package-1" in found.hint


def test_no_powercap_is_no_counter_and_no_noise(tmp_path: Path) -> None:
    """A virtual machine has none."""
    found = find_rapl(tmp_path / "nothing")
    assert (found.packages, found.drams, found.hint, found.has_psys) == ((), (), "", False)


def test_a_run_alone_on_a_full_host_is_charged_all(proc: RecordedProc, powercap: Path) -> None:
    """Both packages and both DRAMs, 100 J and 10 J each."""
    meter = _meter(proc, powercap)
    for socket in (0, 1):
        _zone(powercap, f"intel-rapl:{socket}", f"package-{socket}", 100_000_000)
        _zone(powercap, f"intel-rapl:{socket}:2", "dram", 10_000_000)
    proc.process(ROOT, 1, own=200, pages=1000)
    proc.cpu(user=200)
    readings = _read(meter, 1.0)
    assert [reading.energy_j for reading in readings] == pytest.approx([100, 100, 10, 10])
    assert [reading.kind for reading in readings] == [DeviceKind.CPU] * 2 + [DeviceKind.MEMORY] * 2
    assert len([reading for reading in readings if reading.memory_used_bytes]) == 1


def test_a_share_is_of_the_active_and_of_the_idle_part(proc: RecordedProc, tmp_path: Path) -> None:
    """Half the host busy, half of that the run's: half of the active 50 J and a quarter of the idle 50 J."""
    powercap = tmp_path / "one"
    _one_socket(powercap, 0)
    meter = _meter(proc, powercap)
    _one_socket(powercap, 100_000_000)
    proc.process(ROOT, 1, own=50)
    proc.cpu(user=100, idle=100)
    (reading,) = _read(meter, 1.0)
    assert reading.energy_j == pytest.approx(25 + 12.5)
    assert reading.energy_low_j == pytest.approx(25 * 0.95)
    assert reading.energy_high_j == pytest.approx(50 * 1.05)


@pytest.mark.parametrize(
    ("cpu", "package_band"),
    [
        (HASWELL, 0.05),
        (CpuIdentity("GenuineIntel", family=6, model=0x8F), 0.05),
        (CpuIdentity("GenuineIntel", family=6, model=0x3E), 0.15),
        (CpuIdentity("AuthenticAMD", family=0x17, model=0x31), 0.15),
        (CpuIdentity(), 0.15),
    ],
)
def test_a_counter_that_estimates_has_a_wider_band(
    proc: RecordedProc, powercap: Path, cpu: CpuIdentity, package_band: float
) -> None:
    """Intel's measure the package since Haswell, AMD's and older ones model it; DRAM is least certain."""
    meter = _meter(proc, powercap, cpu)
    for socket in (0, 1):
        _zone(powercap, f"intel-rapl:{socket}", f"package-{socket}", 100_000_000)
        _zone(powercap, f"intel-rapl:{socket}:2", "dram", 10_000_000)
    _busy(proc, 1)
    for reading in _read(meter, 1.0):
        band = package_band if reading.kind is DeviceKind.CPU else 0.3
        assert reading.energy_low_j == pytest.approx(reading.energy_j * (1 - band))
        assert reading.energy_high_j == pytest.approx(reading.energy_j * (1 + band))


def _busy(proc: RecordedProc, seconds: int) -> None:
    proc.process(ROOT, 1, own=200 * seconds)
    proc.cpu(user=200 * seconds)


@given(st.integers(1, 100_000_000), st.integers(0, RANGE_UJ))
def test_a_counter_that_wraps_loses_nothing(tmp_path_factory: pytest.TempPathFactory, used_uj: int, at_uj: int) -> None:
    """Wherever the counter stands, the difference is what was used."""
    folder = tmp_path_factory.mktemp("wrap")
    (folder / "proc").mkdir()
    proc, powercap = RecordedProc(folder / "proc"), folder / "powercap"
    proc.process(ROOT, 1)
    _one_socket(powercap, at_uj)
    meter = _meter(proc, powercap)
    _one_socket(powercap, (at_uj + used_uj) % RANGE_UJ)
    _busy(proc, 1)
    (reading,) = _read(meter, 1.0)
    assert reading.energy_j == pytest.approx(used_uj / 1e6, abs=2e-6)
    assert reading.method is Method.COUNTER


def test_a_counter_that_vanishes_is_told_and_its_gap_is_not_lost(proc: RecordedProc, tmp_path: Path) -> None:
    """While it is away each reading is unknown, with an upper end; once it is back, the difference covers the gap."""
    powercap = tmp_path / "one"
    file = _one_socket(powercap, 0)
    meter = _meter(proc, powercap)
    file.unlink()
    _busy(proc, 1)
    (away,) = _read(meter, 1.0)
    assert (away.method, away.energy_j) == (Method.UNKNOWN, 0.0)
    assert away.energy_high_j > 0
    assert "rapl_unreadable" in away.flags
    _one_socket(powercap, 70_000_000)
    _busy(proc, 2)
    (back,) = _read(meter, 2.0)
    assert back.energy_j == pytest.approx(70.0)
    assert back.interval_s == 2.0


def test_a_stuck_counter_is_no_silent_zero(proc: RecordedProc, tmp_path: Path) -> None:
    """No package draws nothing for a second."""
    powercap = tmp_path / "one"
    _one_socket(powercap, 5)
    meter = _meter(proc, powercap)
    _busy(proc, 1)
    (reading,) = _read(meter, 1.0)
    assert (reading.method, reading.energy_j) == (Method.UNKNOWN, 0.0)
    assert reading.energy_high_j > 0
    assert "counter_stuck" in reading.flags


def test_a_counter_that_starts_anew_is_no_wrap(proc: RecordedProc, tmp_path: Path) -> None:
    """Back from the middle to near 0 would be more power than any package has: a reset, told and not charged."""
    powercap = tmp_path / "one"
    _one_socket(powercap, RANGE_UJ // 2)
    meter = _meter(proc, powercap)
    _one_socket(powercap, 1_000_000)
    _busy(proc, 1)
    (reset,) = _read(meter, 1.0)
    assert (reset.method, reset.energy_j) == (Method.UNKNOWN, 0.0)
    assert "counter_reset" in reset.flags
    _one_socket(powercap, 51_000_000)
    _busy(proc, 2)
    assert _read(meter, 2.0)[0].energy_j == pytest.approx(50.0)


def test_a_host_with_counters_has_no_model_beside_them(proc: RecordedProc, powercap: Path) -> None:
    """Packages and DRAM measured: nothing is counted twice; a model that is asked for stands alone."""
    host = _host(proc)
    assert [type(meter) for meter in detect_host_meters(powercap=powercap, host=host)] == [RaplMeter]
    modelled = detect_host_meters(powercap=powercap, host=host, model="ccf")
    assert [type(meter) for meter in modelled] == [CpuModelMeter, MemoryModelMeter]


def test_counters_that_cannot_be_read_leave_their_flag_on_the_model(proc: RecordedProc, tmp_path: Path) -> None:
    """The reading itself says why it is modelled."""
    _one_socket(tmp_path / "one", 0).unlink()
    meter, _ = detect_host_meters(powercap=tmp_path / "one", host=_host(proc))
    meter.start(0.0)
    assert "rapl_unreadable" in meter.read(1.0)[0].flags
