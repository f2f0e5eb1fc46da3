"""In what several runs differ: one row a fact, one cell a run, in one unit a row; pure."""

from __future__ import annotations

import datetime
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from wattline_common.store import RunSummary, as_map
from wattline_dashboard.comparison import Compared
from wattline_dashboard.facts import emissions_band_kg, energy_band_kwh, mean_power_w, method_labels
from wattline_dashboard.formats import EMISSIONS, ENERGY, MISSING, POWER, TIMES, Quantity, duration, percent, plain

__all__ = ["BEST", "DIFFERENT", "Difference", "difference_table", "differences"]

DIFFERENT = "≠"
BEST = "★"
_BYTES_PER_GB = 2**30
_CLOSE = 1e-9
_SHORT_COMMIT = 10
_DEVICE_KINDS = {"CPU": "CPU", "GPU": "GPU", "MEMORY": "Memory", "OTHER": "Other devices"}

Read = Callable[[Compared], Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """One fact of all runs."""

    section: str
    fact: str
    cells: Sequence[str]
    differs: str  # empty where all are alike; else the sign, and for figures by how much
    best: frozenset[int] = frozenset()  # numbers of the cells that are best, where one can be


def differences(runs: Sequence[Compared], zone: datetime.tzinfo) -> list[Difference]:
    """Return every fact that at least one of the runs has."""
    rows = [
        *_texts("Settings", runs, _SETTINGS),
        *_maps("Settings", runs, "tags", "tag "),
        *_maps("Hyperparameters", runs, "hyperparameters", ""),
        *(_text("Hardware", name, runs, _devices(kind)) for kind, name in _DEVICE_KINDS.items()),
        *_texts("Hardware", runs, _SOFTWARE),
        _quantity("Energy", "Energy", runs, ENERGY, lambda run: run.summary["energy_kwh"], best=min),
        _told("Energy", "Band", runs, lambda run: ENERGY.band(*energy_band_kwh(run.summary))),
        _text("Energy", "How it is got", runs, lambda run: ", ".join(method_labels(run.summary))),
        _number("Energy", "Measured", runs, percent, _measured_share),
        _quantity("Energy", "Mean power", runs, POWER, lambda run: mean_power_w(run.summary)),
        _quantity("Energy", "Energy per epoch", runs, ENERGY, lambda run: run.cost.per_epoch_kwh, best=min),
        _quantity("Energy", "Energy per 1,000 samples", runs, ENERGY, _kwh_per_thousand_samples, best=min),
        _number("Energy", "Idle part", runs, percent, lambda run: run.idle_share, best=min),
        _quantity("Emissions", "Emissions", runs, EMISSIONS, lambda run: run.summary["emissions_kg"], best=min),
        _told("Emissions", "Band", runs, lambda run: EMISSIONS.band(*emissions_band_kg(run.summary))),
        _number("Emissions", f"PUE {TIMES} grid, g CO₂e/kWh", runs, plain, _g_per_kwh, best=min),
        _text("Emissions", "Grid intensity", runs, _latest("grid_intensity_source")),
        _number("Time", "Duration", runs, duration, lambda run: run.summary["duration_s"], best=min),
        _told("Time", "Started", runs, lambda run: f"{run.summary['started_at'].astimezone(zone):%Y-%m-%d %H:%M}"),
        _text("Outcome", "Status", runs, lambda run: run.summary["status"].lower()),
        _text("Outcome", "Epoch", runs, lambda run: run.summary["epoch"]),
        _number("Outcome", "Loss", runs, plain, lambda run: run.summary["loss"], best=min),
        _number("Outcome", "Accuracy", runs, percent, lambda run: run.summary["accuracy"], best=max),
    ]
    return [row for row in rows if any(cell != MISSING for cell in row.cells)]


def difference_table(rows: Sequence[Difference], runs: Sequence[Compared]) -> pd.DataFrame:
    """Return the rows as a table: section, fact, the sign of difference, and a column for each run."""
    return pd.DataFrame(
        [
            {"Section": row.section, "Fact": row.fact, "Differs": row.differs}
            | {
                run.label: f"{BEST} {cell}" if number in row.best else cell
                for number, (run, cell) in enumerate(zip(runs, row.cells, strict=True))
            }
            for row in rows
        ],
        columns=["Section", "Fact", "Differs", *(run.label for run in runs)],
    )


def _texts(section: str, runs: Sequence[Compared], facts: Mapping[str, Read]) -> list[Difference]:
    return [_text(section, fact, runs, read) for fact, read in facts.items()]


def _text(section: str, fact: str, runs: Sequence[Compared], read: Read) -> Difference:
    cells = [str(value) if (value := read(run)) not in (None, "") else MISSING for run in runs]
    return Difference(section, fact, cells, DIFFERENT if len(set(cells)) > 1 else "")


def _told(section: str, fact: str, runs: Sequence[Compared], read: Read) -> Difference:
    """Return a fact that goes with another one, or differs always: no sign is set to it."""
    return Difference(section, fact, [str(read(run)) for run in runs], "")


def _maps(section: str, runs: Sequence[Compared], name: str, prefix: str) -> list[Difference]:
    """Return one row for each key that any run's maps have; sources that say different things are both told."""
    maps = [_said(run.summary, name) for run in runs]
    keys = sorted({key for each in maps for key in each}, key=str.casefold)
    return [
        _text(section, f"{prefix}{key}", runs, lambda run, key=key: maps[runs.index(run)].get(key))  # type: ignore[misc]  # a default binds the key
        for key in keys
    ]


def _quantity(
    section: str,
    fact: str,
    runs: Sequence[Compared],
    quantity: Quantity,
    read: Read,
    best: Callable[[Iterable[float]], float] | None = None,
) -> Difference:
    known = [value for run in runs if (value := read(run)) is not None and math.isfinite(value)]
    scale = quantity.scale(max(known, default=0.0))
    return _number(section, fact, runs, lambda value: quantity.text(value, scale), read, best)


def _number(
    section: str,
    fact: str,
    runs: Sequence[Compared],
    write: Callable[[float | None], str],
    read: Read,
    best: Callable[[Iterable[float]], float] | None = None,
) -> Difference:
    values = [value if (value := read(run)) is not None and math.isfinite(value) else None for run in runs]
    cells = [write(value) for value in values]
    known = [value for value in values if value is not None]
    is_different = len(known) < len(values) or not all(math.isclose(known[0], each, rel_tol=_CLOSE) for each in known)
    least, most = min(known, default=0.0), max(known, default=0.0)
    times = f"{most / least:.3g}" if least > 0 else "1"
    by = f" {TIMES}{times}" if times != "1" else ""
    # Nobody is better for having been simulated: real runs compete with real ones only.
    competing = [
        value for run, value in zip(runs, values, strict=True) if value is not None and run.is_simulated == _all(runs)
    ]
    winner = best(competing) if best and is_different and len(competing) > 1 else None
    return Difference(
        section,
        fact,
        cells,
        f"{DIFFERENT}{by}" if known and is_different else "",
        frozenset(
            number
            for number, (run, value) in enumerate(zip(runs, values, strict=True))
            if winner is not None and value == winner and run.is_simulated == _all(runs)
        ),
    )


def _all(runs: Sequence[Compared]) -> bool:
    """Say whether all of the runs are simulated."""
    return all(run.is_simulated for run in runs)


def _started(summary: RunSummary) -> list[Mapping[str, Any]]:
    return [source["started"] for source in summary["sources"].values() if source.get("started")]


def _said(summary: RunSummary, name: str) -> dict[str, str]:
    told: dict[str, dict[str, None]] = {}
    for started in _started(summary):
        for key, value in as_map(started.get(name) or []).items():
            told.setdefault(key, {})[str(value)] = None
    return {key: " | ".join(sorted(values)) for key, values in told.items()}


def _of_start(name: str) -> Read:
    def read(run: Compared) -> str:
        told = {str(started[name]) for started in _started(run.summary) if started.get(name) is not None}
        return " | ".join(sorted(told))

    return read


def _commits(run: Compared) -> str:
    """Return the commits in the short form that git prints."""
    told = {str(started["git_commit"])[:_SHORT_COMMIT] for started in _started(run.summary) if started["git_commit"]}
    return " | ".join(sorted(told))


def _latest(name: str) -> Read:
    def read(run: Compared) -> str:
        samples = [source.get("latest_sample") or {} for source in run.summary["sources"].values()]
        return "; ".join(sorted({str(sample[name]) for sample in samples if sample.get(name)}))

    return read


def _devices(kind: str) -> Read:
    """Return what describes a run's devices of one kind, each counted once a host."""

    def read(run: Compared) -> str:
        counted: Counter[str] = Counter()
        seen: set[tuple[str, str]] = set()
        for source in run.summary["sources"].values():
            host = str((source.get("context") or {}).get("host"))
            for device in (source.get("started") or {}).get("hardware") or ():
                identity = (host, str(device["device_id"]))
                if device["kind"] == kind and identity not in seen:
                    seen.add(identity)
                    counted[_device(device)] += 1
        return ", ".join(f"{number} {TIMES} {name}" if number > 1 else name for name, number in sorted(counted.items()))

    return read


def _device(device: Mapping[str, Any]) -> str:
    memory_bytes, units = device.get("memory_total_bytes"), device.get("count")
    memory = f", {memory_bytes / _BYTES_PER_GB:.0f} GiB" if memory_bytes else ""
    return f"{device['model_name']}{memory}{f', {units} units' if units and units > 1 else ''}"


def _measured_share(run: Compared) -> float | None:
    energy_kwh = run.summary["energy_kwh"]
    return run.summary["measured_energy_kwh"] / energy_kwh if energy_kwh and not run.is_simulated else None


def _g_per_kwh(run: Compared) -> float | None:
    energy_kwh = run.summary["energy_kwh"]
    return run.summary["emissions_kg"] * 1000 / energy_kwh if energy_kwh else None


def _kwh_per_thousand_samples(run: Compared) -> float | None:
    return run.cost.per_thousand_samples_kwh


_SETTINGS: Mapping[str, Read] = {
    "Model": lambda run: run.summary["model_name"],
    "Data set": lambda run: run.summary["dataset_name"],
    "Framework": lambda run: run.summary["framework"],
    "User": lambda run: run.summary["user_id"],
    "Project": lambda run: run.summary["project"],
    "Environment": lambda run: run.summary["environment"],
    "Region": lambda run: run.summary["region_iso"],
    "Planned epochs": _of_start("planned_epochs"),
    "Git commit": _commits,
}
_SOFTWARE: Mapping[str, Read] = {
    "Host": lambda run: ", ".join(run.summary["hosts"]),
    "Tracker": _of_start("tracker_version"),
}
