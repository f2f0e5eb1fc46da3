"""Promises of the value contract: what a good event may hold, and the reason each bad one is refused for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.events import run_events, sample
from wattline_common.errors import ContractError
from wattline_common.validate import validate


def refusal(record_name: str, fields: dict[str, Any]) -> str:
    """Return the reason for which the fields are refused; empty when they are not."""
    try:
        validate(record_name, fields)
    except ContractError as error:
        return error.reason
    return ""


def test_a_well_told_run_is_accepted() -> None:
    """Every event of a consistent run passes."""
    for event in run_events("run", samples=5):
        validate(type(event).__name__, event.to_avro())


@given(st.text(max_size=300))
def test_an_id_is_refused_exactly_for_its_alphabet_and_length(text: str) -> None:
    """1 to 256 characters, none of them '.', '$', '|' or a control character."""
    bad = not 1 <= len(text) <= 256 or any(c in ".$|\x7f" or c < " " for c in text)
    for name in ("run_id", "source_id"):
        assert refusal("HardwareSampled", sample(**{name: text}).to_avro()) == ("invalid_id" if bad else "")


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_number_is_refused_exactly_when_not_finite_or_below_its_minimum(value: float) -> None:
    """Any float in a field with minimum 0 is accepted, or refused for the right reason."""
    expected = "not_finite" if value != value or abs(value) == float("inf") else "out_of_range" if value < 0 else ""
    assert refusal("HardwareSampled", sample(interval_s=value).to_avro()) == expected
    nested = sample().to_avro()
    nested["devices"][0]["power_w"] = value
    assert refusal("HardwareSampled", nested) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"emissions_kg": 1.0},
        {"energy_low_kwh": 1.0},
        {"energy_high_kwh": 0.0},
        {"measured_energy_kwh": 1.0},
    ],
)
def test_a_sample_that_contradicts_itself_is_refused(changes: dict[str, float]) -> None:
    """Carbon's formula, the band, and the measured part hold in every sample."""
    assert refusal("HardwareSampled", sample(**changes).to_avro()) == "inconsistent"


def test_devices_that_do_not_sum_up_are_refused() -> None:
    """The devices' energies are the sample's energy."""
    fields = sample().to_avro()
    fields["devices"].append(dict(fields["devices"][0]))
    assert refusal("HardwareSampled", fields) == "inconsistent"
