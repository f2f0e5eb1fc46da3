"""What a run's sources told at their start, as rows of tables: hyperparameters, hardware, where the code is; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from wattline_common.store import RunSummary
from wattline_dashboard.facts import METHOD_LABELS
from wattline_dashboard.formats import MISSING

__all__ = ["hardware_table", "hyperparameter_table", "origin_table"]

_GIB = 2**30
_ORIGIN = {
    "planned_epochs": "planned epochs",
    "planned_steps": "planned steps",
    "git_commit": "commit of the training code",
    "tracker_version": "version of the tracker",
}


def hyperparameter_table(summary: RunSummary) -> pd.DataFrame:
    """Return hyperparameters and tags by name; where the sources differ, each value with how many told it."""
    rows = []
    for kind, label in (("hyperparameters", "hyperparameter"), ("tags", "tag")):
        told: dict[str, dict[str, int]] = {}
        for started in _starts(summary):
            for pair in started.get(kind) or ():
                values = told.setdefault(pair["k"], {})
                values[pair["v"]] = values.get(pair["v"], 0) + 1
        rows += [{"": label, "Name": name, "Value": _values(values)} for name, values in sorted(told.items())]
    return pd.DataFrame(rows)


def hardware_table(summary: RunSummary) -> pd.DataFrame:
    """Return the devices that each source said it measures, the same device of one host once."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for source in summary["sources"].values():
        host = source.get("context", {}).get("host") or "unknown"
        for device in (source.get("started") or {}).get("hardware") or ():
            memory = device.get("memory_total_bytes")
            rows[host, device["device_id"]] = {
                "Host": host,
                "Device": device["device_id"],
                "Kind": device["kind"],
                "Product": device["model_name"],
                "Units": MISSING if device.get("count") is None else str(device["count"]),
                "Memory": MISSING if memory is None else f"{memory / _GIB:.1f} GiB",
                "Method": f"{METHOD_LABELS.get(device['method'], 'unknown')} ({device['method']})",
            }
    return pd.DataFrame([rows[key] for key in sorted(rows)])


def origin_table(summary: RunSummary) -> pd.DataFrame:
    """Return what the first source told of plan, code and tracker; what it did not tell is left out."""
    started = next(_starts(summary), {})
    told = {label: started.get(name) for name, label in _ORIGIN.items()}
    return pd.DataFrame([{"Name": label, "Value": str(value)} for label, value in told.items() if value])


def _starts(summary: RunSummary) -> Iterator[Mapping[str, Any]]:
    for source in sorted(summary["sources"].values(), key=lambda each: each.get("first_timestamp_us", 0)):
        if started := source.get("started"):
            yield started


def _values(values: Mapping[str, int]) -> str:
    if len(values) == 1:
        return next(iter(values))
    return "; ".join(f"{value} ({count} sources)" for value, count in sorted(values.items()))
