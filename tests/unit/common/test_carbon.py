"""Grams of CO2e by region: known values, the order of fallbacks, and the one formula."""

from __future__ import annotations

import re
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline_common import carbon

STATES = """AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND
OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY"""


@pytest.mark.parametrize(
    ("region", "zone", "g_per_kwh", "year", "source"),
    [
        ("FRA", "FRA", 56.039, 2023, "Our World in Data / Ember"),
        ("DEU", "DEU", 380.95, 2023, "Our World in Data / Ember"),
        ("USA", "USA", 369.473, 2023, "Our World in Data / Ember"),
        ("SWE", "SWE", 40.695, 2023, "Our World in Data / Ember"),
        ("US-CA", "US-CA", 179.064, 2023, "EPA"),
        ("WORLD", "WORLD", 445.0, 2024, "IEA"),
    ],
)
def test_known_regions(region: str, zone: str, g_per_kwh: float, year: int, source: str) -> None:
    """A figure of the packaged table changes only when somebody means it, with its year and source."""
    found = carbon.grid_intensity(region)
    assert (found.zone, found.g_per_kwh, found.year) == (zone, g_per_kwh, year)
    assert source in found.source
    assert found.label == f"{zone}: {found.source} {year}"


@pytest.mark.parametrize("region", ["fra", " FRA ", "Fra", "\tfra\n"])
def test_case_and_blanks_do_not_matter(region: str) -> None:
    """A region is found however it is typed."""
    assert carbon.grid_intensity(region).zone == "FRA"


@pytest.mark.parametrize("region", ["US-XX", "us-zz", "US-GU"])
def test_an_unknown_part_of_the_usa_is_the_usa(region: str) -> None:
    """A state that the table lacks gets its country's mean."""
    assert carbon.grid_intensity(region) == carbon.grid_intensity("USA")


@pytest.mark.parametrize(
    ("region", "country"), [("FR-IDF", "FRA"), ("de-by", "DEU"), ("CA-QC", "CAN"), ("FR", "FRA"), ("US", "USA")]
)
def test_a_part_of_a_country_is_its_country(region: str, country: str) -> None:
    """The table has no other states than those of the USA; eight times as much, the world's mean, would be wrong."""
    assert carbon.grid_intensity(region) is carbon.zones()[country]


def test_every_country_of_the_table_has_its_two_letters() -> None:
    """So that none of their parts is priced as the world."""
    countries = [code for code in carbon.zones() if re.fullmatch(r"[A-Z]{3}", code)]
    assert sorted(carbon._countries().values()) == sorted(countries)


@pytest.mark.parametrize("region", ["", "unknown", "XX", "XX-BY", "XXX", "FRAU", "Earth", "../etc", "\0"])
def test_anything_else_is_the_world(region: str) -> None:
    """No region stays without an intensity, and `zone` says that it is the world's."""
    assert carbon.grid_intensity(region) is carbon.zones()[carbon.WORLD]


@given(region=st.text())
def test_any_text_gives_an_intensity(region: str) -> None:
    """The look-up never raises: no typing error may cost a training run its events."""
    assert carbon.grid_intensity(region).g_per_kwh >= 0


def test_the_table_is_sound() -> None:
    """Every zone is of a standard form, its figure possible, its year and source stated."""
    table = carbon.zones()
    assert len(table) > 200
    for code, zone in table.items():
        assert code == zone.zone
        assert code == carbon.WORLD or re.fullmatch(r"[A-Z]{3}|[A-Z]{2}-[A-Z0-9]{1,3}", code), code
        assert 0 <= zone.g_per_kwh < 1500, code
        assert 2000 <= (zone.year or 0) <= 2026, code
        assert zone.name
        assert zone.source


def test_all_states_of_the_usa_are_there() -> None:
    """Fifty states and the capital."""
    states = {f"US-{code}" for code in STATES.split()}
    assert len(states) == 51
    assert states <= set(carbon.zones())


def test_the_look_up_opens_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table travels with the package: a cold look-up works where every socket is refused."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    carbon.zones.cache_clear()
    assert carbon.grid_intensity("FRA").zone == "FRA"


def test_emissions_are_energy_times_pue_times_intensity() -> None:
    """2 kWh at PUE 1.5 and 100 g/kWh are 0.3 kg."""
    assert carbon.emissions_kg(2.0, pue=1.5, grid_intensity_g_per_kwh=100.0) == pytest.approx(0.3, rel=1e-15)
    assert carbon.emissions_kg(0.0, pue=1.5, grid_intensity_g_per_kwh=100.0) == 0.0


@given(
    energies=st.lists(st.floats(0, 1e6), min_size=1, max_size=20),
    pue=st.floats(1, 3),
    intensity=st.floats(0, 1500),
)
def test_emissions_of_parts_sum_to_those_of_the_whole(energies: list[float], pue: float, intensity: float) -> None:
    """Pricing each interval or their sum is the same, to 1e-9."""
    parts = sum(carbon.emissions_kg(each, pue=pue, grid_intensity_g_per_kwh=intensity) for each in energies)
    whole = carbon.emissions_kg(sum(energies), pue=pue, grid_intensity_g_per_kwh=intensity)
    assert parts == pytest.approx(whole, rel=1e-9, abs=1e-300)
