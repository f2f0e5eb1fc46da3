"""What an event's values must satisfy beyond their Avro types; whoever stores an event asks here first.

The limits of single fields are declared in schemas/ and come from the generated `limits`; here stands what each means.
"""

from __future__ import annotations

import functools
import math
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from wattline_common.errors import ContractError
from wattline_common.events import HardwareSampled
from wattline_common.limits import LIMITS

__all__ = ["validate"]

_RELATIVE_TOLERANCE = 1e-9
_HARDWARE_SAMPLED = HardwareSampled.AVRO_NAME.rpartition(".")[2]


def validate(record_name: str, fields: Mapping[str, Any]) -> None:
    """Raise `ContractError` when a value breaks the contract; the detail names the field by its path.

    Reasons: ``invalid_id`` (pattern), ``too_long`` (maxLength), ``too_many_entries`` (maxItems), ``not_finite``
    (finite), ``out_of_range`` (minimum, maximum); ``inconsistent`` for a sample whose figures contradict each other.
    A version that lacks a field is not asked for it.
    """
    _rules(record_name).check(fields)
    if record_name == _HARDWARE_SAMPLED:
        _check_sample(fields)


@functools.cache
def _rules(record_name: str) -> _RecordRules:
    (full_name,) = (name for name in LIMITS if name.rpartition(".")[2] == record_name)
    return _RecordRules(LIMITS[full_name])


class _RecordRules:
    """Limits of a record's fields, sorted by kind, so that a good number or text costs one comparison."""

    def __init__(self, limits: Mapping[str, Mapping[str, Any]]) -> None:
        self._numbers: list[tuple[str, float, float]] = []
        self._texts: list[tuple[str, int]] = []
        self._others: list[tuple[str, _FieldRule]] = []
        for name, declared in limits.items():
            if "[]." in name:
                continue  # of a nested record
            if "maxItems" in declared or "pattern" in declared:
                inner = {
                    path.removeprefix(f"{name}[]."): of for path, of in limits.items() if path.startswith(f"{name}[].")
                }
                self._others.append((name, _FieldRule(declared, _RecordRules(inner) if inner else None)))
            elif "maxLength" in declared:
                self._texts.append((name, declared["maxLength"]))
            else:
                self._numbers.append((name, *_bounds(declared)))

    def check(self, fields: Mapping[str, Any]) -> None:
        for name, lowest, highest in self._numbers:
            number = fields.get(name)
            if number is not None and not lowest <= number <= highest:
                raise _bad_number(name, number, lowest, highest)
        for name, longest in self._texts:
            text = fields.get(name)
            if text is not None and len(text) > longest:
                raise _long_text(name, text, longest)
        for name, rule in self._others:
            value = fields.get(name)
            if value is not None:
                rule.check(name, value)


class _FieldRule:
    """Limits of a field that is a collection or has a pattern; they hold for all that it contains."""

    def __init__(self, declared: Mapping[str, Any], record: _RecordRules | None) -> None:
        self._record = record
        self._bounds = _bounds(declared)
        self._longest = declared.get("maxLength", sys.maxsize)
        self._most = declared.get("maxItems", sys.maxsize)
        self._pattern = re.compile(declared["pattern"]) if "pattern" in declared else None

    def check(self, path: str, value: Any) -> None:  # noqa: ANN401  # whatever Avro decodes to
        if isinstance(value, str):
            if len(value) > self._longest:
                raise _long_text(path, value, self._longest)
            if self._pattern is not None and not self._pattern.fullmatch(value):
                raise ContractError("invalid_id", f"{path}={value[:80]!r} is not of the form {self._pattern.pattern}")
        elif isinstance(value, list | dict):
            self._check_items(path, value)
        elif not self._bounds[0] <= value <= self._bounds[1]:
            raise _bad_number(path, value, *self._bounds)

    def _check_items(self, path: str, items: list[Any] | dict[str, Any]) -> None:
        if len(items) > self._most:
            raise ContractError("too_many_entries", f"{path} has {len(items)} entries, more than {self._most}")
        for place, item in items.items() if isinstance(items, dict) else enumerate(items):
            if isinstance(place, str):
                self.check(f"{path}, key {place[:80]!r}", place)
            if self._record is None:
                self.check(f"{path}[{place!r:.80}]", item)
                continue
            try:
                self._record.check(item)
            except ContractError as error:  # put into words only now: good ones come by the million
                raise ContractError(error.reason, f"{path}[{place}].{error.detail}") from error


def _bounds(declared: Mapping[str, Any]) -> tuple[float, float]:
    widest = sys.float_info.max if declared.get("finite") else math.inf
    return declared.get("minimum", -widest), declared.get("maximum", widest)


def _bad_number(path: str, number: float, lowest: float, highest: float) -> ContractError:
    if not math.isfinite(number):
        return ContractError("not_finite", f"{path} is {number}")
    return ContractError("out_of_range", f"{path} is {number}, not from {lowest:g} to {highest:g}")


def _long_text(path: str, text: str, longest: int) -> ContractError:
    return ContractError("too_long", f"{path} has {len(text)} characters, more than {longest}")


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
    if "pue" in fields and "grid_intensity_g_per_kwh" in fields:
        _check_emissions(fields["emissions_kg"], energy * fields["pue"] * fields["grid_intensity_g_per_kwh"] / 1000.0)
    devices = fields.get("devices")
    if devices and not math.isclose(_sum(devices), energy, rel_tol=_RELATIVE_TOLERANCE, abs_tol=1e-18):
        raise ContractError("inconsistent", f"the devices' energies sum to {_sum(devices)}, not to energy_kwh={energy}")


def _check_emissions(emissions_kg: float, expected_kg: float) -> None:
    if not math.isclose(emissions_kg, expected_kg, rel_tol=_RELATIVE_TOLERANCE, abs_tol=1e-18):
        raise ContractError(
            "inconsistent", f"emissions_kg={emissions_kg} is not energy_kwh * pue * intensity / 1000 = {expected_kg}"
        )


def _sum(devices: Iterable[Mapping[str, Any]]) -> float:
    try:
        return math.fsum(device["energy_kwh"] for device in devices)
    except OverflowError:
        return math.inf
