"""A replayed card's energy is known: the meter is right within 1 %, or it says what was wrong. Every time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline.meters.base import Reading
from wattline.meters.nvidia import NvidiaMeter
from wattline.testing import ManualClock, ReplayGpu, ReplayNvml
from wattline_common.events import Method

OWN_PID = 42
PLAIN = {"whole_device", "process_share", "counter_and_integral_differ"}
# At both ends the counter may be a tenth of a second old, so a trace is long against that.
TRACES = st.lists(st.floats(60, 300), min_size=60, max_size=80)
SPANS = st.tuples(st.floats(3, 40), st.floats(2, 15)).map(lambda span: (span[0], span[0] + span[1]))
FAULTS = st.fixed_dictionaries(
    {},
    optional={
        "has_counter": st.just(False),
        "has_power": st.just(False),
        "reset_s": st.floats(2, 50),
        "stuck_s": SPANS,
        "lost_s": SPANS,
        "is_mig": st.just(True),
        "sm_use": st.sampled_from([{OWN_PID: 80}, {OWN_PID: 30, 7: 60}, {7: 60}]),
    },
)


def _play(gpu: ReplayGpu, ticks_s: list[float]) -> list[Reading]:
    clock = ManualClock()
    meter = NvidiaMeter(ReplayNvml([gpu], clock.monotonic_s), own_pids=lambda: {OWN_PID})
    meter.start(0.0)
    readings = []
    for tick_s in ticks_s:
        clock.advance(tick_s - clock.monotonic_s())
        (reading,) = meter.read(tick_s)
        assert 0 <= reading.energy_low_j <= reading.energy_j <= reading.energy_high_j
        assert 0 <= reading.share <= 1
        readings.append(reading)
    meter.close()
    return readings


def _flags(readings: list[Reading]) -> set[str]:
    return {flag for reading in readings for flag in reading.flags}


def _ticks(jitter_s: list[float]) -> list[float]:
    return [second + late_s for second, late_s in enumerate(jitter_s, 1)]


TICKS = st.lists(st.floats(0, 0.3), min_size=60, max_size=60).map(_ticks)


@given(TRACES, TICKS)
def test_a_sound_card_is_right_and_raises_no_flag(powers_w: list[float], ticks_s: list[float]) -> None:
    """Whatever it draws and however late the reads are: within 1 % by its counter, with no remark on its quality."""
    gpu = ReplayGpu(powers_w=powers_w)
    readings = _play(gpu, ticks_s)
    assert sum(reading.energy_j for reading in readings) == pytest.approx(gpu.joules(0, ticks_s[-1]), rel=0.01)
    assert {reading.method for reading in readings} == {Method.COUNTER}
    assert _flags(readings) <= PLAIN


@given(TRACES, TICKS, FAULTS)
def test_any_card_is_right_or_flagged(powers_w: list[float], ticks_s: list[float], faults: dict[str, object]) -> None:
    """Any faults together: what is off by more than 1 % carries a flag, and no reading is a silent zero."""
    gpu = replace(ReplayGpu(powers_w=powers_w), **faults)  # type: ignore[arg-type]  # drawn by name
    readings = _play(gpu, ticks_s)
    use = gpu.sm_use
    truth_j = gpu.joules(0, ticks_s[-1]) * (use.get(OWN_PID, 0) / sum(use.values()) if use else 1.0)
    found_j = sum(reading.energy_j for reading in readings)
    assert found_j == pytest.approx(truth_j, rel=0.01) or _flags(readings) - PLAIN
    for reading in readings:
        if reading.energy_j == 0.0:
            assert reading.method is Method.UNKNOWN
            assert reading.energy_high_j > 0
            assert set(reading.flags) - PLAIN


def test_a_card_that_is_lost_and_comes_back_loses_no_energy() -> None:
    """While it is away each second is unknown; its counter went on, so the first read after covers the gap."""
    gpu = ReplayGpu(powers_w=[100.0] * 20, lost_s=(4.5, 8.5))
    readings = _play(gpu, [float(second) for second in range(1, 21)])
    away = readings[4:8]
    assert {reading.method for reading in away} == {Method.UNKNOWN}
    assert all("no_power_reading" in reading.flags and reading.energy_high_j == 400.0 for reading in away)
    assert "device_back" in readings[8].flags
    assert readings[8].energy_j == pytest.approx(500.0, rel=0.01)
    assert sum(reading.energy_j for reading in readings) == pytest.approx(2000.0, rel=0.01)


def test_a_counter_that_stands_while_power_flows_is_replaced_and_told() -> None:
    """Polled power stands in; when the counter catches up, what was charged is not charged again."""
    gpu = ReplayGpu(powers_w=[100.0] * 20, stuck_s=(4.0, 8.0))
    readings = _play(gpu, [float(second) for second in range(1, 21)])
    stood = [reading for reading in readings if reading.method is Method.SAMPLED_POWER]
    assert len(stood) == 3
    assert all("counter_stuck" in reading.flags for reading in stood)
    assert sum(reading.energy_j for reading in readings) == pytest.approx(2000.0, rel=0.01)


def test_a_card_that_says_zero_is_no_silent_zero() -> None:
    """No card draws nothing: a counter and a power of 0 are flagged, with the limit as the upper end."""
    readings = _play(ReplayGpu(powers_w=[0.0] * 3), [1.0, 2.0])
    assert all(reading.method is Method.UNKNOWN and "zero_power" in reading.flags for reading in readings)
    assert [reading.energy_high_j for reading in readings] == [400.0, 400.0]


def test_two_runs_on_a_card_add_up_to_it() -> None:
    """By SM use, idle energy by the same part, so nothing is counted twice."""
    gpu = ReplayGpu(powers_w=[300.0], sm_use={OWN_PID: 30, 7: 60})
    readings = _play(gpu, [1.0, 2.0])
    assert sum(reading.energy_j for reading in readings) == pytest.approx(200.0)
    assert readings[0].share == pytest.approx(1 / 3)
    assert "process_share" in readings[0].flags


def test_process_ids_that_cannot_be_told_apart_are_said() -> None:
    """In a container NVML may name the host's ids: then the card is charged in full, and the band goes down to 0."""
    (reading,) = _play(ReplayGpu(powers_w=[300.0], sm_use={7: 60}), [1.0])
    assert reading.share == 1.0
    assert "share_unknown" in reading.flags
    assert reading.energy_low_j == 0.0
