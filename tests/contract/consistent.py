"""Makes a drawn event one that can be: a time not before 1970, figures that agree; our own validation is not asked."""

from __future__ import annotations

import datetime
import math
from typing import Any

__all__ = ["consistent"]

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def consistent(datum: dict[str, Any]) -> dict[str, Any]:
    """Return a datum within its fields' limits as one that is in no other way wrong."""
    if isinstance(moment := datum.get("timestamp"), datetime.datetime):
        datum = datum | {"timestamp": _since_1970(moment)}
    if "measured_energy_kwh" not in datum or "energy_p50_kwh" in datum:
        return datum
    devices = datum.get("devices") or []
    if devices and not _adds_up(devices):
        devices = []
    energy = math.fsum(device["energy_kwh"] for device in devices) if devices else datum["energy_kwh"]
    fixed = {
        "energy_kwh": energy,
        "energy_low_kwh": min(datum["energy_low_kwh"], energy),
        "energy_high_kwh": max(datum["energy_high_kwh"], energy),
        "measured_energy_kwh": min(datum["measured_energy_kwh"], energy),
        **({"devices": devices} if "devices" in datum else {}),
    }
    return datum | fixed | _emissions(datum, energy)


def _since_1970(moment: datetime.datetime) -> datetime.datetime:
    return moment if moment >= _EPOCH else _EPOCH + (_EPOCH - moment)


def _adds_up(devices: list[dict[str, Any]]) -> bool:
    try:
        math.fsum(device["energy_kwh"] for device in devices)
    except OverflowError:
        return False
    return True


def _emissions(datum: dict[str, Any], energy_kwh: float) -> dict[str, float]:
    """Return emissions that are energy x PUE x intensity / 1000; of no intensity where that is more than a double."""
    if "pue" not in datum or "grid_intensity_g_per_kwh" not in datum:
        return {}
    emissions_kg = energy_kwh * datum["pue"] * datum["grid_intensity_g_per_kwh"] / 1000.0
    if math.isfinite(emissions_kg):
        return {"emissions_kg": emissions_kg}
    return {"grid_intensity_g_per_kwh": 0.0, "pue": 1.0, "emissions_kg": 0.0}
