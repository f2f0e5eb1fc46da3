"""The readings between two samples: what is of a device is said once, however its method changed meanwhile."""

from __future__ import annotations

import pytest

from wattline.interval import Interval
from wattline.meters.base import Reading
from wattline_common.events import DeviceKind, Method


def _reading(
    kind: DeviceKind, method: Method, interval_s: float = 1.0, device_id: str = "d0", **more: float
) -> Reading:
    return Reading(
        device_id=device_id,
        kind=kind,
        interval_s=interval_s,
        energy_j=1.0,
        energy_low_j=1.0,
        energy_high_j=1.0,
        method=method,
        model_name="m",
        **more,  # type: ignore[arg-type]
    )


def test_memory_is_each_devices_last_word() -> None:
    """A counter that fails for a tick does not double what is in use; two devices add up."""
    interval = Interval(0.0)
    assert interval.memory_bytes() is None
    interval.add(1.0, [_reading(DeviceKind.MEMORY, Method.COUNTER, memory_used_bytes=4_000_000_000)])
    interval.add(2.0, [_reading(DeviceKind.MEMORY, Method.UNKNOWN, memory_used_bytes=4_000_000_000)])
    assert len(interval.devices()) == 2
    assert interval.memory_bytes() == 4_000_000_000
    interval.add(3.0, [_reading(DeviceKind.MEMORY, Method.COUNTER, device_id="d1", memory_used_bytes=1)])
    assert interval.memory_bytes() == 4_000_000_001


def test_use_is_a_mean_over_time_and_then_over_devices() -> None:
    """Four seconds at 100 % and one at 0 % are 80 %, by whichever method; an idle second device halves it."""
    interval = Interval(0.0)
    assert interval.mean_use_pct(DeviceKind.GPU) is None
    interval.add(4.0, [_reading(DeviceKind.GPU, Method.COUNTER, 4.0, utilization_pct=100.0)])
    interval.add(5.0, [_reading(DeviceKind.GPU, Method.SAMPLED_POWER, 1.0, utilization_pct=0.0)])
    assert interval.mean_use_pct(DeviceKind.GPU) == pytest.approx(80.0)
    interval.add(5.0, [_reading(DeviceKind.GPU, Method.COUNTER, 5.0, device_id="d1", utilization_pct=0.0)])
    assert interval.mean_use_pct(DeviceKind.GPU) == pytest.approx(40.0)
    assert interval.mean_use_pct(DeviceKind.CPU) is None
