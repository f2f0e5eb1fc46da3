"""A run as a BoAmps report: the public data model by which Boavizta collects what AI tasks use; pure.

Version 1.1.0 of 2025-03-19, <https://github.com/Boavizta/BoAmps>, folder model (CC BY 4.0). What Wattline cannot know
is left out where the model lets it; tags of the run can tell the rest: `task_family`, `data_type`, `infra_type`.
"""

from __future__ import annotations

import datetime
import json
import uuid
from typing import Any

from wattline_common.store import RunSummary
from wattline_dashboard.facts import method_labels
from wattline_dashboard.filters import is_simulated
from wattline_dashboard.run_sources import Device, country, hardware, hyperparameters, prices, tags, tracker_version

__all__ = ["FORMAT_VERSION", "boamps_json", "boamps_report"]

FORMAT_VERSION = "1.1.0"
_SPECIFICATION = "https://github.com/Boavizta/BoAmps/tree/main/model"
_DATA_TYPES = frozenset(
    (
        "tabular",
        "audio",
        "boolean",
        "image",
        "video",
        "object",
        "text",
        "token",
        "word",
        "other",
    )  # as the model has them
)
_INFRASTRUCTURES = frozenset(("publicCloud", "privateCloud", "onPremise", "other"))
_COMPONENTS = {"CPU": "cpu", "GPU": "gpu", "MEMORY": "ram"}
_TRACKING = {
    ("CPU", "COUNTER"): "rapl",
    ("GPU", "COUNTER"): "nvml",
    ("GPU", "SAMPLED_POWER"): "nvml",
    ("CPU", "MODELLED"): "model by CPU family and use",
}
_HIGH, _MEDIUM = 0.10, 0.25  # of the value: how far off it may be in a report of that quality
_BYTES_PER_GB = 1e9
_OVER = frozenset(("COMPLETED", "FAILED", "STOPPED"))


def boamps_json(summary: RunSummary, now: datetime.datetime) -> bytes:
    """Return the report as a JSON file."""
    return (json.dumps(boamps_report(summary, now), indent=2, ensure_ascii=False) + "\n").encode()


def boamps_report(summary: RunSummary, now: datetime.datetime) -> dict[str, Any]:
    """Return the report of a run as it stands at a moment; energies are IT energy in kWh, before PUE."""
    told = tags(summary)
    devices = hardware(summary)
    return _known(
        {
            "header": _header(summary, now),
            "task": _task(summary, told),
            "measures": [_measure(summary, devices)],
            "software": {"language": "python"},
            "infrastructure": {
                "infraType": _one_of(told.get("infra_type"), _INFRASTRUCTURES),
                "components": [_component(each) for each in devices]
                or [{"componentType": "unknown", "nbComponent": 1}],
            },
            "environment": _environment(summary),
            "quality": _quality(summary),
        }
    )


def _header(summary: RunSummary, now: datetime.datetime) -> dict[str, Any]:
    publisher = {"projectName": summary["project"], "confidentialityLevel": "internal"}
    return {
        "formatVersion": FORMAT_VERSION,
        "formatVersionSpecificationUri": _SPECIFICATION,
        "reportId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"wattline:{summary['_id']}")),  # the same whenever it is made
        "reportDatetime": _moment(now),
        "reportStatus": "final" if summary["status"] in _OVER else "draft",
        "publisher": _known(publisher),
    }


def _task(summary: RunSummary, told: dict[str, str]) -> dict[str, Any]:
    accuracy = summary["accuracy"]
    algorithm = {
        "algorithmName": summary["model_name"],
        "framework": _said(summary["framework"]),
        "optimizer": hyperparameters(summary).get("optimizer"),
        "epochsNumber": _epochs(summary),
    }
    return _known(
        {
            "taskStage": told.get("task_stage", "training"),
            "taskFamily": told.get("task_family", "unknown"),
            "algorithms": [_known(algorithm)],
            "dataset": [{"dataUsage": "input", "dataType": _one_of(told.get("data_type"), _DATA_TYPES)}],
            "measuredAccuracy": accuracy if accuracy is not None and 0 <= accuracy <= 1 else None,
            "taskDescription": _description(summary),
        }
    )


def _epochs(summary: RunSummary) -> int | None:
    """Return the epochs of a run that has done its plan; trainings count theirs from 0 or 1, so no other is known."""
    plans = [(source.get("started") or {}).get("planned_epochs") for source in summary["sources"].values()]
    return next(filter(None, plans), None) if summary["status"] == "COMPLETED" else None


def _description(summary: RunSummary) -> str:
    low, high = summary["energy_low_kwh"], summary["energy_high_kwh"]
    how = ", ".join(method_labels(summary)) or "unknown"
    return (
        f"Training of {summary['model_name']} on {summary['dataset_name']}, Wattline run {summary['_id']}, "
        f"{summary['status'].lower()}. Energy {how}: IT energy before PUE, band {low:.6g} to {high:.6g} kWh; "
        f"{summary['emissions_kg']:.6g} kg CO2e."
    )


def _measure(summary: RunSummary, devices: list[Device]) -> dict[str, Any]:
    return _known(
        {
            "measurementMethod": "wattline, simulated" if is_simulated(summary) else "wattline",
            "version": tracker_version(summary),
            "cpuTrackingMode": _tracking(devices, "CPU"),
            "gpuTrackingMode": _tracking(devices, "GPU"),
            "powerConsumption": summary["energy_kwh"],  # in kWh, whatever the model calls it
            "measurementDuration": summary["duration_s"],
            "measurementDateTime": _moment(summary["started_at"]),
        }
    )


def _tracking(devices: list[Device], kind: str) -> str | None:
    ways = {
        _TRACKING.get((kind, method), method.lower())
        for each in devices
        if each.kind == kind
        for method in each.methods
    }
    return ", ".join(sorted(ways)) or None


def _component(device: Device) -> dict[str, Any]:
    count = device.count or 1
    if device.kind == "MEMORY":
        count = 1  # how many modules there are, nobody knows
    memory_gb = round((device.memory_bytes or 0) / count / _BYTES_PER_GB)
    return _known(
        {
            "componentName": device.name,
            "componentType": _COMPONENTS.get(device.kind, "other"),
            "nbComponent": count,
            "memorySize": memory_gb or None,
        }
    )


def _environment(summary: RunSummary) -> dict[str, Any] | None:
    where = country(summary["region_iso"])
    if where is None:
        return None  # the price was the world's: that is no country
    energy_kwh, pues = summary["energy_kwh"], {price.pue for price in prices(summary)}
    intensity = summary["emissions_kg"] / energy_kwh / pues.pop() * 1000 if energy_kwh and len(pues) == 1 else None
    return _known(
        {
            "country": where,
            "location": summary["region_iso"].upper(),
            "powerSourceCarbonIntensity": intensity,
        }
    )


def _quality(summary: RunSummary) -> str:
    value = summary["energy_kwh"]
    off = max(summary["energy_high_kwh"] - value, value - summary["energy_low_kwh"])
    if is_simulated(summary) or not value or off > _MEDIUM * value:
        return "low"
    return "high" if off <= _HIGH * value else "medium"


def _moment(moment: datetime.datetime) -> str:
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def _said(text: str) -> str | None:
    return None if text == "unknown" else text


def _one_of(text: str | None, allowed: frozenset[str]) -> str:
    return text if text in allowed else "other"


def _known(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
