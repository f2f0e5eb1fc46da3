"""The forecast: exact where epochs are equal, honest about its band where not, and never below what is spent."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline_common.forecast import Forecast, Forecaster, Spent

COSTS = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=20)


def _spent(energy_kwh: float, band: float = 0.0, kg_per_kwh: float = 0.4) -> Spent:
    return Spent(
        energy_kwh=energy_kwh,
        energy_low_kwh=energy_kwh * (1 - band),
        energy_high_kwh=energy_kwh * (1 + band),
        emissions_kg=energy_kwh * kg_per_kwh,
        kg_per_kwh=kg_per_kwh,
    )


def _forecast(costs: list[float], planned: float, *, band: float = 0.0, more_kwh: float = 0.0) -> Forecast:
    forecaster, total = Forecaster("epochs", planned), 0.0
    for done, cost in enumerate(costs, start=1):
        total += cost
        forecaster.mark(done, total)
    found = forecaster.forecast(_spent(total + more_kwh, band))
    assert found is not None
    return found


@given(cost=st.floats(1e-6, 1e3), done=st.integers(2, 30), more=st.integers(0, 100))
def test_equal_epochs_are_forecast_exactly(cost: float, done: int, more: int) -> None:
    """Linear cost has no spread: the value is the product, and the band closes around it."""
    found = _forecast([cost] * done, done + more)
    expected = cost * (done + more)
    assert found.energy_kwh == pytest.approx(expected, rel=1e-9)
    assert found.energy_low_kwh == pytest.approx(expected, rel=1e-4)
    assert found.energy_high_kwh == pytest.approx(expected, rel=1e-4)
    assert found.emissions_kg == pytest.approx(expected * 0.4, rel=1e-9)


@given(costs=COSTS, more=st.integers(0, 50), band=st.floats(0, 0.9), further=st.floats(0, 1e3))
def test_low_is_below_value_is_below_high_and_nothing_is_below_what_is_spent(
    costs: list[float], more: int, band: float, further: float
) -> None:
    """Whatever the epochs, and however far the next one has come."""
    found = _forecast(costs, len(costs) + more, band=band, more_kwh=further)
    spent = _spent(sum(costs) + further, band)
    assert found.energy_low_kwh <= found.energy_kwh <= found.energy_high_kwh
    assert found.emissions_low_kg <= found.emissions_kg * (1 + 1e-9)
    assert found.emissions_kg <= found.emissions_high_kg * (1 + 1e-9)
    assert found.energy_kwh >= spent.energy_kwh * (1 - 1e-9)
    assert found.energy_low_kwh >= spent.energy_low_kwh * (1 - 1e-9)


@given(costs=COSTS, scale=st.sampled_from([1e-3, 2.0, 1e3]), more=st.integers(0, 50))
def test_the_unit_of_energy_does_not_matter(costs: list[float], scale: float, more: int) -> None:
    """A thousand times the energy is a thousand times the forecast and its band."""
    one = _forecast(costs, len(costs) + more)
    other = _forecast([cost * scale for cost in costs], len(costs) + more)
    assert other.energy_kwh == pytest.approx(one.energy_kwh * scale, rel=1e-6)
    assert other.energy_high_kwh == pytest.approx(one.energy_high_kwh * scale, rel=1e-6)


@given(costs=COSTS, band=st.floats(0, 0.9))
def test_at_the_planned_end_it_is_what_was_spent(costs: list[float], band: float) -> None:
    """Nothing is left to guess but what the meters do not know."""
    found, spent = _forecast(costs, len(costs), band=band), _spent(sum(costs), band)
    assert found.energy_kwh == pytest.approx(spent.energy_kwh)
    assert found.energy_low_kwh == pytest.approx(spent.energy_low_kwh)
    assert found.energy_high_kwh == pytest.approx(spent.energy_high_kwh)


def test_the_band_holds_what_it_says() -> None:
    """Of a thousand runs with noisy epochs, about 95 % end within their band; the band is no excuse for any value."""
    chance = random.Random(1)
    within = 0
    for _ in range(1000):
        costs = [max(0.0, chance.gauss(1.0, 0.2)) for _ in range(30)]
        done = chance.randint(4, 20)
        found = _forecast(costs[:done], 30)
        within += found.energy_low_kwh <= sum(costs) <= found.energy_high_kwh
        if done >= 10:
            assert found.energy_high_kwh - found.energy_low_kwh < 15
    assert 930 <= within <= 970


def test_a_warm_up_is_spent_but_not_repeated() -> None:
    """A first epoch of ten times the cost is in the total once."""
    found = _forecast([10.0, 1.0, 1.0], 10)
    assert found.energy_kwh == pytest.approx(19.0)
    assert found.energy_high_kwh == pytest.approx(19.0)


def test_of_one_epoch_the_band_is_half_to_twice() -> None:
    """One value has no spread, so the band is by convention."""
    found = _forecast([2.0], 11)
    assert (found.energy_low_kwh, found.energy_kwh, found.energy_high_kwh) == (12.0, 22.0, 42.0)


def test_blocks_of_steps_count_by_their_steps() -> None:
    """A block of 30 steps weighs three times one of 10; equal steps give an exact forecast."""
    forecaster = Forecaster("steps", 100)
    for done in (10, 40, 45):
        forecaster.mark(done, done * 0.5)
    found = forecaster.forecast(_spent(22.5))
    assert found is not None
    assert found.energy_kwh == pytest.approx(50.0)
    assert (found.unit, found.done) == ("steps", 45)
    assert found.energy_high_kwh == pytest.approx(50.0)


def test_without_anything_done_there_is_no_forecast() -> None:
    """And marks that go back, or are no numbers, are no marks."""
    forecaster = Forecaster("epochs", 5)
    assert forecaster.forecast(_spent(1.0)) is None
    for done, energy_kwh in ((0, 1.0), (-1, 1.0), (float("nan"), 1.0), (1, float("inf")), (1, -1.0)):
        forecaster.mark(done, energy_kwh)
    assert forecaster.forecast(_spent(1.0)) is None
    forecaster.mark(1, 1.0)
    assert forecaster.forecast(_spent(0.0)) is None
    assert forecaster.forecast(_spent(1.0)) is not None
