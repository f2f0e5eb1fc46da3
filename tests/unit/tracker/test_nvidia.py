"""GPUs: the counter first, polled power beside it, and never a silent zero."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from wattline.meters.base import Reading
from wattline.meters.nvidia import NoGpuMeter, NvidiaMeter, detect_nvidia
from wattline.meters.nvidia_devices import find_nvml
from wattline_common.events import Method


class _NvmlError(Exception):
    """NVML's error, with its code."""

    def __init__(self, value: int = 3) -> None:
        super().__init__(f"NVML error {value}")
        self.value = value


class _Nvml:
    """The module `pynvml` with one or two GPUs that a test sets; what is None there is not supported."""

    NVMLError = _NvmlError
    NVML_ERROR_DRIVER_NOT_LOADED = 9
    NVML_ERROR_LIBRARY_NOT_FOUND = 12
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, gpus: int = 1, init_error: int | None = None) -> None:
        self.counter_mj: int | None = 1_000_000
        self.power_mw: int | None = 100_000
        self.limit_mw: int | None = 300_000
        self.mig: tuple[int, int] | None = None
        self.shut_down = False
        self._gpus = gpus
        self._init_error = init_error

    def _given(self, value: Any) -> Any:
        if value is None:
            raise _NvmlError
        return value

    def nvmlInit(self) -> None:  # noqa: N802  # NVML's names
        if self._init_error is not None:
            raise _NvmlError(self._init_error)

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.shut_down = True

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return self._gpus

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:  # noqa: N802
        if uuid.startswith("MIG-"):
            return 100
        return int(uuid[4])

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, _: int) -> int:  # noqa: N802
        return 1

    def nvmlDeviceGetAttributes(self, _: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(gpuInstanceSliceCount=3)

    def nvmlDeviceGetProcessUtilization(self, _: int, __: int) -> list[Any]:  # noqa: N802
        raise _NvmlError

    def nvmlDeviceGetUUID(self, handle: int) -> bytes:  # noqa: N802
        return f"GPU-{handle}abc".encode()

    def nvmlDeviceGetName(self, _: int) -> str:  # noqa: N802
        return "NVIDIA A100"

    def nvmlDeviceGetMemoryInfo(self, _: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(total=80 * 2**30, used=2**30)

    def nvmlDeviceGetUtilizationRates(self, _: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(gpu=75, memory=10)

    def nvmlDeviceGetTemperature(self, _: int, __: int) -> int:  # noqa: N802
        return 61

    def nvmlDeviceGetEnforcedPowerLimit(self, _: int) -> int:  # noqa: N802
        return int(self._given(self.limit_mw))

    def nvmlDeviceGetMigMode(self, _: int) -> Any:  # noqa: N802
        return self._given(self.mig)

    def nvmlDeviceGetTotalEnergyConsumption(self, _: int) -> int:  # noqa: N802
        return int(self._given(self.counter_mj))

    def nvmlDeviceGetPowerUsage(self, _: int) -> int:  # noqa: N802
        return int(self._given(self.power_mw))


def _read(meter: NvidiaMeter, at_s: float) -> Reading:
    (reading,) = meter.read(at_s)
    assert 0 <= reading.energy_low_j <= reading.energy_j <= reading.energy_high_j
    return reading


def test_energy_is_the_counters_difference_with_the_integral_beside_it() -> None:
    """The counter counts; polled power is integrated by trapezoids and stands beside it."""
    nvml = _Nvml()
    meter = NvidiaMeter(nvml)
    (device,) = meter.start(0.0)
    nvml.counter_mj, nvml.power_mw = 1_250_000, 140_000
    reading = _read(meter, 2.0)
    assert (device.device_id, device.method, device.model_name) == ("GPU-0abc", Method.COUNTER, "NVIDIA A100")
    assert reading.method is Method.COUNTER
    assert reading.energy_j == pytest.approx(250.0)
    assert reading.energy_integrated_j == pytest.approx(240.0)
    assert (reading.utilization_pct, reading.memory_used_bytes, reading.temperature_c) == (75.0, 2**30, 61.0)
    assert reading.flags == ("whole_device",)


def test_without_a_counter_polled_power_counts_and_is_flagged() -> None:
    """A GPU older than Volta, or a virtual one, is measured by its polled power, with the wider band."""
    nvml = _Nvml()
    nvml.counter_mj = None
    meter = NvidiaMeter(nvml)
    (device,) = meter.start(0.0)
    reading = _read(meter, 2.0)
    assert (device.method, reading.method) == (Method.SAMPLED_POWER, Method.SAMPLED_POWER)
    assert reading.energy_j == pytest.approx(200.0)
    assert reading.energy_high_j == pytest.approx(270.0)
    assert "no_energy_counter" in reading.flags


def test_a_counter_that_goes_back_is_a_reset() -> None:
    """The interval of the reset is measured by polled power; from there the counter counts again."""
    nvml = _Nvml()
    meter = NvidiaMeter(nvml)
    meter.start(0.0)
    nvml.counter_mj = 5_000
    reset = _read(meter, 1.0)
    nvml.counter_mj = 105_000
    after = _read(meter, 2.0)
    assert reset.method is Method.SAMPLED_POWER
    assert reset.energy_j == pytest.approx(100.0)
    assert "counter_reset" in reset.flags
    assert after.method is Method.COUNTER
    assert after.energy_j == pytest.approx(100.0)


def test_a_gpu_that_says_nothing_is_no_silent_zero() -> None:
    """Without counter and power the energy is unknown: flagged, with the power limit as the upper end."""
    nvml = _Nvml()
    nvml.counter_mj = nvml.power_mw = None
    meter = NvidiaMeter(nvml)
    meter.start(0.0)
    reading = _read(meter, 2.0)
    assert (reading.method, reading.energy_j, reading.energy_high_j) == (Method.UNKNOWN, 0.0, 600.0)
    assert "no_power_reading" in reading.flags


def test_counter_and_integral_that_drift_apart_are_flagged() -> None:
    """When polled power tells quite another energy than the counter over the run, the readings say so."""
    nvml = _Nvml()
    meter = NvidiaMeter(nvml)
    meter.start(0.0)
    nvml.counter_mj = 1_000_000 + 187_000
    nvml.power_mw = 30_800  # (100 + 30.8) / 2 * 5 s = 327 J
    assert "counter_and_integral_differ" in _read(meter, 5.0).flags


def test_a_card_cut_into_instances_is_read_whole_and_says_so() -> None:
    """NVML gives one reading for the whole card."""
    nvml = _Nvml()
    nvml.mig = (1, 1)
    meter = NvidiaMeter(nvml)
    meter.start(0.0)
    nvml.counter_mj = 1_100_000
    assert "mig_whole_card" in _read(meter, 1.0).flags


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        (None, ["GPU-0abc", "GPU-1abc"]),
        ((), []),
        (("1", "-1", "0"), ["GPU-1abc"]),
        (("1",), ["GPU-1abc"]),
        (("GPU-0a",), ["GPU-0abc"]),
        (("-1",), []),
    ],
)
def test_only_visible_gpus_are_measured(visible: tuple[str, ...] | None, found: list[str]) -> None:
    """CUDA_VISIBLE_DEVICES names them by index or by the start of their UUID; the first wrong name ends the list."""
    meter = NvidiaMeter(_Nvml(gpus=2), visible)
    assert [device.device_id for device in meter.start(0.0)] == found
    assert [reading.device_id for reading in meter.read(1.0)] == found


def test_each_local_rank_has_a_card_where_none_is_named() -> None:
    """Two ranks on a host of four cards are never charged for all."""
    meter = NvidiaMeter(_Nvml(gpus=4), None, 2)
    assert [device.device_id for device in meter.start(0.0)] == ["GPU-0abc", "GPU-1abc"]


@pytest.mark.parametrize(("name", "share"), [("MIG-5c89", 3 / 7), ("MIG-GPU-1abc/1/0", 1.0)])
def test_an_instance_is_its_cards_slices(name: str, share: float) -> None:
    """A card has one counter: an instance gets its part of the slices, and the band goes up to the whole card."""
    nvml = _Nvml(gpus=2)
    nvml.mig = (1, 1)
    meter = NvidiaMeter(nvml, (name,))
    (device,) = meter.start(0.0)
    nvml.counter_mj = 1_070_000
    reading = _read(meter, 1.0)
    assert device.device_id == "GPU-1abc"
    assert reading.energy_j == pytest.approx(70 * share)
    assert reading.energy_high_j == pytest.approx(70 * 1.05)
    assert {"mig_share", "mig_whole_card"} & set(reading.flags)


def test_instances_of_several_ranks_on_one_card_add_up() -> None:
    """Each instance counts once, however many ranks name it, and together never more than the card."""
    nvml = _Nvml(gpus=2)
    nvml.mig = (1, 1)
    others: list[tuple[str, ...] | None] = [("MIG-a",), ("MIG-b",)]
    meter = NvidiaMeter(nvml, ("MIG-a",), others=lambda: others)
    meter.start(0.0)
    nvml.counter_mj = 1_070_000
    assert _read(meter, 1.0).energy_j == pytest.approx(60.0)
    others.append(("MIG-c",))
    nvml.counter_mj = 1_140_000
    assert _read(meter, 2.0).energy_j == pytest.approx(70.0)


def test_no_gpu_is_a_meter_of_nothing() -> None:
    """Without the module, the library or the driver there is no device and no noise; who asks hears what is missing."""

    def missing() -> Any:
        raise ImportError

    hints = []
    for load in (missing, lambda: _Nvml(init_error=9), lambda: _Nvml(init_error=12)):
        meter = detect_nvidia(load=load)
        assert isinstance(meter, NoGpuMeter)
        assert meter.start(0.0) == []
        assert meter.read(1.0) == []
        hints.append(find_nvml(load).hint)
        meter.close()
    assert ["pynvml" in hints[0], *("driver" in hint for hint in hints[1:])] == [True] * 3


def test_a_driver_that_does_not_answer_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """A GPU that is there but cannot be asked must not look like no GPU."""
    with caplog.at_level(logging.WARNING):
        assert isinstance(detect_nvidia(load=lambda: _Nvml(init_error=18)), NoGpuMeter)
    assert "GPUs are not measured" in caplog.text


def test_closing_shuts_nvml_down() -> None:
    """What was initialised is given back."""
    nvml = _Nvml()
    meter = detect_nvidia(load=lambda: nvml)
    meter.close()
    assert nvml.shut_down
