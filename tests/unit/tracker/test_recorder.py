"""The recorder conserves: parts sum to samples, samples to totals, totals to the end; and it prices by the rule."""

from __future__ import annotations

import datetime
import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline.meters.base import Reading
from wattline.recorder import Context, Plan, Price, Recorder
from wattline.steps import Step
from wattline_common.carbon import GridIntensity, grid_intensity
from wattline_common.carbon.series import IntensitySeries
from wattline_common.codec import encode_body
from wattline_common.events import (
    DeviceKind,
    Event,
    GridIntensityKind,
    HardwareSampled,
    Method,
    RunFinished,
    RunStarted,
    RunStatus,
    StepCompleted,
)
from wattline_common.validate import validate

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
START_S = 1000.0
MEASURED = {Method.COUNTER, Method.SAMPLED_POWER}


def _recorder(emit_interval_s: float = 5.0, region: str = "FRA", pue: float = 1.5) -> Recorder:
    return Recorder(
        Context(run_id="r", source_id="s", model_name="m", region_iso=region),
        Price(grid_intensity(region), pue),
        lambda at_s: START + datetime.timedelta(seconds=at_s - START_S),
        start_s=START_S,
        emit_interval_s=emit_interval_s,
    )


def _reading(energy_j: float = 10.0, **changes: Any) -> Reading:
    values: dict[str, Any] = {
        "device_id": "cpu",
        "kind": DeviceKind.CPU,
        "interval_s": 1.0,
        "energy_j": energy_j,
        "energy_low_j": energy_j * 0.5,
        "energy_high_j": energy_j * 2.0,
        "method": Method.MODELLED,
        "model_name": "model",
    }
    return Reading(**{**values, **changes})


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    """Draw a sound reading of one of a few devices."""
    low, energy, high = sorted(draw(st.lists(st.floats(0, 1e6), min_size=3, max_size=3)))
    return _reading(
        energy,
        energy_low_j=low,
        energy_high_j=high,
        device_id=draw(st.sampled_from(["cpu", "gpu0", "gpu1", "memory"])),
        kind=draw(st.sampled_from(list(DeviceKind))),
        method=draw(st.sampled_from(list(Method))),
        share=draw(st.floats(0, 1)),
        utilization_pct=draw(st.none() | st.floats(0, 100)),
        interval_s=draw(st.floats(0, 2)),
    )


TICKS = st.lists(
    st.tuples(st.floats(0.001, 3.0), st.lists(readings(), max_size=4), st.none() | st.integers(0, 9)), max_size=15
)


def _play(recorder: Recorder, ticks: list[tuple[float, list[Reading], int | None]]) -> list[Event]:
    at_s = START_S
    events = [recorder.started(at_s, Plan(), [])]
    for pause_s, tick, epoch in ticks:
        at_s += pause_s
        if epoch is not None:
            events += recorder.step(at_s, Step(epoch=epoch, loss=1.0, samples=4))
        events += recorder.readings(at_s, tick)
    return events + recorder.finished(at_s + 0.01, RunStatus.COMPLETED, events_dropped=0)


@given(TICKS, st.floats(0.5, 10.0))
def test_energy_is_conserved(ticks: list[tuple[float, list[Reading], int | None]], emit_interval_s: float) -> None:
    """Readings, devices, samples, cumulative sums and the end all tell the same energy (1e-9)."""
    events = _play(_recorder(emit_interval_s), ticks)
    samples = [event for event in events if isinstance(event, HardwareSampled)]
    finished = events[-1]
    assert isinstance(finished, RunFinished)
    read_kwh = math.fsum(reading.energy_j for _, tick, _ in ticks for reading in tick) / 3.6e6
    assert math.fsum(sample.energy_kwh for sample in samples) == pytest.approx(read_kwh, rel=1e-9)
    assert finished.source_energy_kwh == pytest.approx(read_kwh, rel=1e-9)
    assert finished.source_emissions_kg == pytest.approx(math.fsum(s.emissions_kg for s in samples), rel=1e-9)
    for sample in samples:
        assert sample.energy_kwh == math.fsum(device.energy_kwh for device in sample.devices)
        assert sample.measured_energy_kwh == math.fsum(d.energy_kwh for d in sample.devices if d.method in MEASURED)
    if samples:
        assert finished.source_energy_kwh == samples[-1].cumulative_energy_kwh
        assert finished.source_emissions_kg == samples[-1].cumulative_emissions_kg


@given(TICKS)
def test_bands_prices_and_sums_are_in_order(ticks: list[tuple[float, list[Reading], int | None]]) -> None:
    """Low <= value <= high, measured <= value, emissions by the rule, and no cumulative sum ever falls."""
    samples = [event for event in _play(_recorder(), ticks) if isinstance(event, HardwareSampled)]
    for sample in samples:
        assert 0 <= sample.energy_low_kwh <= sample.energy_kwh <= sample.energy_high_kwh
        assert 0 <= sample.measured_energy_kwh <= sample.energy_kwh
        assert sample.cumulative_energy_low_kwh <= sample.cumulative_energy_kwh <= sample.cumulative_energy_high_kwh
        assert sample.cumulative_measured_energy_kwh <= sample.cumulative_energy_kwh
        assert sample.emissions_kg == sample.energy_kwh * sample.pue * sample.grid_intensity_g_per_kwh / 1000
        assert sample.power_max_w >= sample.power_avg_w
        assert sample.interval_s > 0
        for device in sample.devices:
            assert device.energy_low_kwh <= device.energy_kwh <= device.energy_high_kwh
            assert 0 <= device.share <= 1
    for name in ("energy_kwh", "emissions_kg", "energy_low_kwh", "energy_high_kwh", "measured_energy_kwh"):
        sums = [getattr(sample, f"cumulative_{name}") for sample in samples]
        assert sums == sorted(sums)


@given(TICKS)
def test_seq_and_time_only_go_forward(ticks: list[tuple[float, list[Reading], int | None]]) -> None:
    """Events are numbered from 0, their times never go back, the last counts them all, and each is accepted."""
    events = _play(_recorder(), ticks)
    assert [event.seq for event in events] == list(range(len(events)))
    assert all(before.timestamp <= after.timestamp for before, after in itertools.pairwise(events))
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunFinished)
    assert events[-1].events_emitted == len(events)
    for event in events:
        assert encode_body(event)
        validate(type(event).__name__, event.to_avro())


@given(TICKS)
def test_intervals_touch(ticks: list[tuple[float, list[Reading], int | None]]) -> None:
    """Samples cover the time from the start to the last reading, without gap or overlap."""
    samples = [event for event in _play(_recorder(), ticks) if isinstance(event, HardwareSampled)]
    covered_s = math.fsum(sample.interval_s for sample in samples)
    assert covered_s == pytest.approx(math.fsum(pause_s for pause_s, _, _ in ticks), abs=1e-6)


def test_a_sample_is_due_at_multiples_of_the_interval() -> None:
    """One sample every emit interval, however late a tick came before."""
    recorder = _recorder(emit_interval_s=2.0)
    due = [bool(recorder.readings(START_S + at_s, [_reading()])) for at_s in (1.0, 2.3, 3.0, 4.0, 5.0, 6.0, 9.5, 10.0)]
    assert due == [False, True, False, True, False, True, True, True]


def test_power_is_energy_over_time_and_its_highest_reading() -> None:
    """The average is energy over the interval; the highest is the sum of all devices in one second."""
    recorder = _recorder(emit_interval_s=3.0)
    sample = None
    for second, (cpu_j, gpu_j) in enumerate([(10.0, 100.0), (30.0, 300.0), (20.0, 200.0)], start=1):
        tick = [_reading(cpu_j), _reading(gpu_j, device_id="gpu0", kind=DeviceKind.GPU, method=Method.COUNTER)]
        for event in recorder.readings(START_S + second, tick):
            sample = event
    assert isinstance(sample, HardwareSampled)
    assert sample.power_avg_w == pytest.approx(220.0)
    assert sample.power_max_w == pytest.approx(330.0)
    assert sample.measured_energy_kwh == pytest.approx(600 / 3.6e6)
    assert sample.energy_kwh == pytest.approx(660 / 3.6e6)


def test_a_method_that_changes_within_an_interval_makes_two_parts() -> None:
    """What was counted and what was polled of one device stay apart, so the measured part is exact."""
    recorder = _recorder(emit_interval_s=2.0)
    gpu = {"device_id": "gpu0", "kind": DeviceKind.GPU}
    recorder.readings(START_S + 1, [_reading(10.0, method=Method.COUNTER, **gpu)])
    (sample,) = recorder.readings(START_S + 2, [_reading(5.0, method=Method.UNKNOWN, flags=("lost",), **gpu)])
    assert isinstance(sample, HardwareSampled)
    assert [(d.method, d.flags) for d in sample.devices] == [(Method.COUNTER, []), (Method.UNKNOWN, ["lost"])]
    assert sample.measured_energy_kwh == pytest.approx(10 / 3.6e6)


@pytest.mark.parametrize(
    "broken",
    [
        _reading(math.nan),
        _reading(math.inf),
        _reading(-1.0),
        _reading(10.0, energy_low_j=11.0),
        _reading(10.0, energy_high_j=9.0),
    ],
)
def test_a_reading_that_cannot_be_true_is_left_out(broken: Reading) -> None:
    """It is counted, and does not spoil the sums."""
    recorder = _recorder(emit_interval_s=1.0)
    (sample,) = recorder.readings(START_S + 1, [broken, _reading(3.6)])
    assert isinstance(sample, HardwareSampled)
    assert sample.energy_kwh == pytest.approx(1e-6)
    assert recorder.unsound_readings == 1


def test_a_region_is_priced_by_its_own_grid_and_says_so() -> None:
    """France is priced as France with its source and year; a region nobody knows as the world."""
    (french,) = _recorder(1.0, "FRA", pue=1.2).readings(START_S + 1, [_reading(3.6e6)])
    (unknown,) = _recorder(1.0, "unknown", pue=1.0).readings(START_S + 1, [_reading(3.6e6)])
    assert isinstance(french, HardwareSampled)
    assert isinstance(unknown, HardwareSampled)
    assert french.emissions_kg == pytest.approx(1.2 * grid_intensity("FRA").g_per_kwh / 1000)
    assert french.grid_intensity_source.startswith("FRA: ")
    assert french.grid_intensity_kind is GridIntensityKind.LIFECYCLE
    assert unknown.grid_intensity_kind is GridIntensityKind.DIRECT
    assert unknown.emissions_kg == pytest.approx(grid_intensity("WORLD").g_per_kwh / 1000)
    assert unknown.grid_intensity_source.startswith("WORLD: ")


def test_steps_carry_the_last_completed_sample_and_the_end_the_last_values() -> None:
    """A step tells the energy as of the last sample; the end tells the last loss and accuracy reported."""
    recorder = _recorder(emit_interval_s=1.0)
    (first,) = recorder.step(START_S + 0.5, Step(epoch=1, loss=0.9, accuracy=0.1))
    recorder.readings(START_S + 1, [_reading(3.6e6)])
    (second,) = recorder.step(START_S + 1.6, Step(epoch=1, loss=0.8))
    assert isinstance(first, StepCompleted)
    assert isinstance(second, StepCompleted)
    assert (first.cumulative_energy_kwh, second.cumulative_energy_kwh) == (0.0, 1.0)
    finished = recorder.finished(START_S + 2, RunStatus.STOPPED, events_dropped=3)[-1]
    assert isinstance(finished, RunFinished)
    assert (finished.final_loss, finished.final_accuracy, finished.events_dropped) == (0.8, 0.1, 3)
    assert (finished.status, finished.duration_s) == (RunStatus.STOPPED, 2.0)


def test_each_sample_is_priced_at_its_own_moment() -> None:
    """Over the turn of an hour the totals are the sum of the priced parts, not energy by a mean factor."""
    change = START + datetime.timedelta(seconds=5)
    dear = GridIntensity(zone="FRA", name="FRA", g_per_kwh=400.0, year=2026, source="mine")
    cheap = GridIntensity(zone="FRA", name="FRA", g_per_kwh=100.0, year=2026, source="mine too")
    source = IntensitySeries([START, change], [dear, cheap], grid_intensity("FRA"))
    recorder = Recorder(
        Context(run_id="r", source_id="s"),
        Price(source, 2.0),
        lambda at_s: START + datetime.timedelta(seconds=at_s - START_S),
        start_s=START_S,
        emit_interval_s=5.0,
    )
    events = [event for at_s in range(1, 11) for event in recorder.readings(START_S + at_s, [_reading(3.6e6 * at_s)])]
    samples = [event for event in events if isinstance(event, HardwareSampled)]
    assert [sample.grid_intensity_g_per_kwh for sample in samples] == [400.0, 100.0]
    assert [sample.grid_intensity_source for sample in samples] == [dear.label, cheap.label]
    assert recorder.totals.emissions_kg == pytest.approx((15 * 400 + 40 * 100) * 2.0 / 1000)
    assert list(recorder.grids) == [dear.label, cheap.label]
