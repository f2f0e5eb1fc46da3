"""Promises of the value contract: what a good event may hold, and the reason each bad one is refused for."""

from __future__ import annotations

import math
import re
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
    bad = not text or any(c in ".$|\x7f" or c < " " for c in text)
    expected = "too_long" if len(text) > 256 else "invalid_id" if bad else ""
    for name in ("run_id", "source_id"):
        assert refusal("HardwareSampled", sample(**{name: text}).to_avro()) == expected


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


def _started(**values: Any) -> dict[str, Any]:
    (event, *_) = run_events("run", samples=1)
    return {**event.to_avro(), **values}


@pytest.mark.parametrize(
    ("values", "reason", "where"),
    [
        ({"user_id": "u" * 256}, "", ""),
        ({"user_id": "u" * 257}, "too_long", "user_id"),
        ({"project": "p" * 257}, "too_long", "project"),
        ({"tags": {"k" * 257: "v"}}, "too_long", "tags, key"),
        ({"tags": {"k": "v" * 257}}, "too_long", "tags['k']"),
        ({"tags": {str(n): "" for n in range(100)}}, "", ""),
        ({"tags": {str(n): "" for n in range(101)}}, "too_many_entries", "tags"),
        ({"planned_epochs": -1}, "out_of_range", "planned_epochs"),
    ],
)
def test_texts_and_maps_are_bounded(values: dict[str, Any], reason: str, where: str) -> None:
    """256 characters a text and key, 100 entries a map; what is over is refused, and the detail names the place."""
    assert refusal("RunStarted", _started(**values)) == reason
    if reason:
        with pytest.raises(ContractError, match=re.escape(where)):
            validate("RunStarted", _started(**values))


def test_limits_hold_inside_of_collections() -> None:
    """A metric must be finite, a flag short, a share at most 1: each by its own path."""
    step = {**_started(), "cumulative_energy_kwh": 0.0, "metrics": {"ok": 1.0, "bad": math.nan}}
    with pytest.raises(ContractError, match=re.escape("not_finite: metrics['bad'] is nan")):
        validate("StepCompleted", step)
    for change, message in (
        ({"flags": ["fine", "f" * 257]}, "too_long: devices[0].flags[1]"),
        ({"share": 1.5}, "out_of_range: devices[0].share is 1.5, not from 0 to 1"),
    ):
        fields = sample().to_avro()
        fields["devices"][0] |= change
        with pytest.raises(ContractError, match=re.escape(message)):
            validate("HardwareSampled", fields)


def test_a_field_that_a_version_lacks_is_not_asked_for() -> None:
    """An event of version 1 is judged by what it has."""
    fields = sample().to_avro()
    del fields["grid_intensity_kind"], fields["cpu_steal_pct"]
    assert refusal("HardwareSampled", fields) == ""
