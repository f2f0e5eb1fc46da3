"""What saved tables hold: the store's own fields and figures, real and simulated runs marked; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from wattline_common.store import Document
from wattline_dashboard.curves import RunSeries
from wattline_dashboard.filters import DIMENSIONS, is_simulated
from wattline_dashboard.fleet import RunClass, Totals

__all__ = [
    "curves_to_save",
    "devices_to_save",
    "groups_to_save",
    "learning_to_save",
    "period_runs_to_save",
    "runs_to_save",
]

_CONTEXT = ("user_id", "project", "model_name", "dataset_name", "region_iso", "environment")
_WHEN = ("started_at", "last_event_at", "duration_s")
_FIGURES = ("energy_kwh", "energy_low_kwh", "energy_high_kwh", "measured_energy_kwh", "emissions_kg")
_IDENTITY = ("run_id", "simulated", "methods", "status", *_CONTEXT)
_SUMS = ("energy_kwh", "measured_energy_kwh", "emissions_kg")


def runs_to_save(runs: Iterable[Document]) -> pd.DataFrame:
    """Return runs with their figures over their whole length."""
    columns = (*_IDENTITY, "hosts", *_WHEN, *_FIGURES)
    return pd.DataFrame(
        [
            _identity(run) | {"hosts": " ".join(run["hosts"])} | {name: run[name] for name in (*_WHEN, *_FIGURES)}
            for run in runs
        ],
        columns=list(columns),
    )


def period_runs_to_save(classes: Iterable[RunClass]) -> pd.DataFrame:
    """Return runs with what each used in a period; a run that began before it used more in all."""
    columns = (*_IDENTITY, *_WHEN, *(f"period_{name}" for name in _SUMS))
    return pd.DataFrame(
        [
            _identity(share.summary)
            | {name: share.summary[name] for name in _WHEN}
            | {f"period_{name}": value for name, value in _sums(share.totals).items()}
            for each in classes
            for share in each.runs
        ],
        columns=list(columns),
    )


def groups_to_save(classes: Iterable[RunClass]) -> pd.DataFrame:
    """Return the sums by user, project, model and so on, of real and of simulated runs, in rows of their own."""
    columns = ("simulated", "dimension", "key", "runs", *_SUMS)
    return pd.DataFrame(
        [
            {
                "simulated": each.name == "simulated",
                "dimension": DIMENSIONS[dimension],
                "key": group.label or None,
                "runs": len(group.totals.run_ids),
            }
            | _sums(group.totals)
            for each in classes
            for dimension, groups in each.groups.items()
            for group in sorted(groups, key=lambda group: -group.totals.energy_kwh)
        ],
        columns=list(columns),
    )


def _identity(run: Mapping[str, Any]) -> Document:
    return {
        "run_id": run["_id"],
        "simulated": is_simulated(run),
        "methods": " ".join(run["methods"]),
        "status": run["status"],
    } | {name: run[name] for name in _CONTEXT}


def _sums(totals: Totals) -> dict[str, float]:
    return {name: getattr(totals, name) for name in _SUMS}


def curves_to_save(series: RunSeries) -> pd.DataFrame:
    """Return a run's power, energy and emissions over time, as its page draws them."""
    columns: dict[str, Any] = {"timestamp": _moments(series.energy_kwh.times_us)}
    if series.power.times_us == series.energy_kwh.times_us:
        columns |= {f"power_{kind.lower()}_w": watts for kind, watts in series.power.watts.items()}
    for name, curve, unit in (("energy", series.energy_kwh, "kwh"), ("emissions", series.emissions_kg, "kg")):
        columns |= {f"{name}_{unit}": curve.value, f"{name}_low_{unit}": curve.low, f"{name}_high_{unit}": curve.high}
    return pd.DataFrame(columns)


def learning_to_save(series: RunSeries) -> pd.DataFrame:
    """Return a run's loss and accuracy over time, a row for each value."""
    rows = [
        (time_us, curve.source_id, name, value)
        for name, curves in (("loss", series.loss), ("accuracy", series.accuracy))
        for curve in curves
        for time_us, value in zip(curve.times_us, curve.values, strict=True)
    ]
    table = pd.DataFrame(rows, columns=["timestamp", "source_id", "quantity", "value"])
    return table.assign(timestamp=_moments(table["timestamp"].tolist()))


def devices_to_save(latest_samples: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return what each device of the sources' latest samples read."""
    columns = (
        *("device_id", "kind", "method", "model_name", "power_w", "energy_kwh", "energy_low_kwh", "energy_high_kwh"),
        *("share", "utilization_pct", "memory_used_bytes", "temperature_c"),
    )
    return pd.DataFrame(
        [
            {"host": sample["host"], "rank": sample["rank"]}
            | {name: device.get(name) for name in columns}
            | {"flags": " ".join(device["flags"])}
            for sample in latest_samples
            for device in sample.get("devices", ())
        ],
        columns=["host", "rank", *columns, "flags"],
    )


def _moments(times_us: list[int]) -> pd.DatetimeIndex:
    return pd.to_datetime(pd.Series(times_us, dtype="int64"), unit="us", utc=True).array  # type: ignore[return-value]
