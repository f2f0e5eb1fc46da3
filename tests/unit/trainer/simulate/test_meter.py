"""Simulated power is plausible and follows the training; energies are whole millijoules."""

from __future__ import annotations

import math

import pytest

from wattline_common import carbon
from wattline_common.events import DeviceKind, Method
from wattline_trainer.simulate.catalog import POOLS, TEAMS
from wattline_trainer.simulate.chance import seeded
from wattline_trainer.simulate.meter import SimulatedMeter, devices_of
from wattline_trainer.simulate.schedule import Schedule

SCHEDULE = Schedule(warm_up_s=60, train_s=600, evaluate_s=60, epochs=2, steps_per_epoch=100, stalls=((300.0, 60.0),))


@pytest.mark.parametrize("name", POOLS)
def test_power_is_plausible_on_every_kind_of_host(name: str) -> None:
    """GPUs 50 to 700 W, hosts 100 to 6000 W, in every phase, with all GPUs; each reading can be true."""
    pool = POOLS[name]
    meter = SimulatedMeter(devices_of(pool, pool.gpus, 0.5), SCHEDULE, seeded("meter", name))
    assert [device.method for device in meter.start(0.0)] == [Method.SIMULATED] * (2 + pool.gpus)
    for tick in range(1, 140):
        readings = meter.read(tick * 10.0)
        assert 100 <= math.fsum(reading.power_w for reading in readings) <= 6000
        for reading in readings:
            assert reading.energy_low_j <= reading.energy_j <= reading.energy_high_j
            assert round(reading.energy_j * 1000) / 1000 == reading.energy_j
            assert reading.kind is not DeviceKind.GPU or 50 <= reading.power_w <= 700
            assert reading.utilization_pct is None or 0 <= reading.utilization_pct <= 100


def test_power_dips_in_warm_up_stall_and_evaluation() -> None:
    """Training draws most, an evaluation less, a stall and the warm-up least."""
    meter = SimulatedMeter(devices_of(POOLS["sto-h100"], 8, 0.5), SCHEDULE, seeded("dips"))
    meter.start(0.0)
    power = [math.fsum(r.power_w for r in meter.read(tick * 60.0)) for tick in range(1, 14)]
    warm_up, training, stall, evaluation = power[0], power[2], power[5], power[12]
    assert max(warm_up, stall) < 0.5 * training
    assert stall < evaluation < 0.9 * training


def test_no_time_no_reading() -> None:
    """A second read at the same moment adds nothing."""
    meter = SimulatedMeter(devices_of(POOLS["par-cpu"], 0, 0.5), SCHEDULE, seeded("twice"))
    meter.start(0.0)
    assert meter.read(5.0)
    assert meter.read(5.0) == []


def test_every_team_has_a_pool_for_each_of_its_families() -> None:
    """Enough GPUs for each family's least; every region is in the packaged table under its own name."""
    for team in TEAMS:
        for family in team.families:
            assert any(POOLS[name].gpus >= family.gpus[0] for name in team.pools), (team.project, family)
    for pool in POOLS.values():
        assert carbon.grid_intensity(pool.region_iso).zone == pool.region_iso
