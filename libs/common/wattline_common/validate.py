"""What an event's values must satisfy beyond their Avro types; whoever stores an event asks here first."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from wattline_common.errors import ContractError
from wattline_common.events import HardwareSampled
from wattline_common.schemas import VERSIONS

__all__ = ["validate"]

# '.', '$' and '|' are separators of paths and identities in the store; control characters are never meant.
_ID = re.compile(r"[^.$|\x00-\x1f\x7f]{1,256}")
_RELATIVE_TOLERANCE = 1e-9
_HARDWARE_SAMPLED = HardwareSampled.AVRO_NAME.rpartition(".")[2]


def validate(record_name: str, fields: Mapping[str, Any]) -> None:
    """Raise `ContractError` when a value breaks the contract.

    Reasons: ``invalid_id``, ``not_finite``, ``out_of_range``, ``inconsistent``.
    """
    for name in ("run_id", "source_id"):
        if not _ID.fullmatch(fields[name]):
            raise ContractError("invalid_id", f"{name}={fields[name][:80]!r}: 1 to 256 characters, no '.', '$', '|'")
    minima, nested = _rules(record_name)
    _check_numbers(record_name, minima, fields)
    for name, inner in nested.items():
        for index, item in enumerate(fields.get(name) or ()):
            _check_numbers(f"{record_name}.{name}[{index}]", inner, item)
    if record_name == _HARDWARE_SAMPLED:
        _check_sample(fields)


def _check_numbers(where: str, minima: Mapping[str, float | None], fields: Mapping[str, Any]) -> None:
    for name, minimum in minima.items():
        value = fields.get(name)
        if value is None:
            continue
        if not math.isfinite(value):
            raise ContractError("not_finite", f"{where}.{name} is {value}")
        if minimum is not None and value < minimum:
            raise ContractError("out_of_range", f"{where}.{name} is {value}, below {minimum}")


def _check_sample(fields: Mapping[str, Any]) -> None:
    energy = fields["energy_kwh"]
    slack = _RELATIVE_TOLERANCE * energy
    if not fields["energy_low_kwh"] - slack <= energy <= fields["energy_high_kwh"] + slack:
        raise ContractError(
            "inconsistent",
            f"energy_kwh={energy} is outside its band {fields['energy_low_kwh']}..{fields['energy_high_kwh']}",
        )
    if fields["measured_energy_kwh"] > energy + slack:
        raise ContractError("inconsistent", f"measured_energy_kwh={fields['measured_energy_kwh']} exceeds {energy}")
    expected = energy * fields["pue"] * fields["grid_intensity_g_per_kwh"] / 1000.0
    if not math.isclose(fields["emissions_kg"], expected, rel_tol=_RELATIVE_TOLERANCE, abs_tol=1e-18):
        raise ContractError(
            "inconsistent",
            f"emissions_kg={fields['emissions_kg']} is not energy_kwh * pue * intensity / 1000 = {expected}",
        )
    devices = fields["devices"]
    if devices and not math.isclose(_sum(devices), energy, rel_tol=_RELATIVE_TOLERANCE, abs_tol=1e-18):
        raise ContractError("inconsistent", f"the devices' energies sum to {_sum(devices)}, not to energy_kwh={energy}")


def _sum(devices: Iterable[Mapping[str, Any]]) -> float:
    return math.fsum(device["energy_kwh"] for device in devices)


@functools.cache
def _rules(record_name: str) -> tuple[dict[str, float | None], dict[str, dict[str, float | None]]]:
    """Return the numeric fields' minima, of the record and of the records in its arrays."""
    (full_name,) = (name for name in VERSIONS if name.rpartition(".")[2] == record_name)
    fields = json.loads(VERSIONS[full_name][-1])["fields"]
    nested = {
        entry["name"]: _minima(entry["type"]["items"]["fields"])
        for entry in fields
        if isinstance(entry["type"], dict) and isinstance(entry["type"].get("items"), dict)
    }
    return _minima(fields), nested


def _minima(fields: list[dict[str, Any]]) -> dict[str, float | None]:
    numeric = {"int", "long", "double"}
    return {
        entry["name"]: entry.get("minimum")
        for entry in fields
        if (
            entry["type"]
            if isinstance(entry["type"], str)
            else entry["type"][-1]
            if isinstance(entry["type"], list)
            else ""
        )
        in numeric
    }
