"""What a run's summary says in words and rows: its state, how its figures were got, the table of runs; pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

import pandas as pd

from wattline_common.store import Document, RunSummary
from wattline_dashboard.formats import (
    EMISSIONS,
    ENERGY,
    MISSING,
    POWER,
    TIMES,
    age,
    duration,
    literal,
    percent,
    plain,
    visible,
)

__all__ = [
    "GRID_KINDS",
    "METHOD_COLOURS",
    "METHOD_LABELS",
    "RUN_TABLE_FORMATS",
    "RunState",
    "computation",
    "device_table",
    "emissions_band_kg",
    "energy_band_kwh",
    "latest_sample_numbers",
    "mean_power_w",
    "method_labels",
    "run_table",
    "seq_max",
    "spans",
]

METHOD_COLOURS = {"measured": "green", "modelled": "orange", "simulated": "violet", "unknown": "gray"}
METHOD_LABELS = {
    "COUNTER": "measured",
    "SAMPLED_POWER": "measured",
    "MODELLED": "modelled",
    "SIMULATED": "simulated",
    "UNKNOWN": "unknown",
}
"""What a reading's method is called to a viewer."""
GRID_KINDS = {"LIFECYCLE": "life cycle", "DIRECT": "direct emissions only"}
_EXACT = 1e-9


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a run stands at a moment."""

    status: str
    age_s: float  # since the run was last heard of
    duration_s: float
    is_stale: bool
    is_stalled: bool = False  # silent for so long that it hangs, or was lost without a word
    is_arriving: bool = False  # its events are old, but come in now: a past that is being written, or a late delivery

    @classmethod
    def at(
        cls,
        summary: Mapping[str, Any],
        now: datetime,
        stale_after_s: float,
        stalled_after_s: float = math.inf,
        ingested_at: datetime | None = None,
    ) -> RunState:
        """Judge a summary at a moment; ``ingested_at`` is when its newest event came in, where that is known."""
        age_s = max(0.0, (now - summary["last_event_at"]).total_seconds())
        running = summary["status"] == "RUNNING"
        stalled = running and age_s > stalled_after_s
        arriving = stalled and ingested_at is not None and (now - ingested_at).total_seconds() <= stalled_after_s
        return cls(
            status=summary["status"],
            age_s=age_s,
            duration_s=summary["duration_s"],
            is_stale=running and age_s > stale_after_s,
            is_stalled=stalled and not arriving,
            is_arriving=arriving,
        )

    @property
    def is_running(self) -> bool:
        """Say whether more is to come."""
        return self.status == "RUNNING"

    @property
    def freshness(self) -> str:
        """One word for how the figures stand: live, arriving, stale or final."""
        if self.is_arriving:
            return "arriving"
        if self.is_stale:
            return "stale"
        return "live" if self.is_running else "final"

    @property
    def filter_status(self) -> str:
        """The status by which runs are picked, in small letters."""
        return "stalled" if self.is_stalled else self.status.lower()

    @property
    def label(self) -> str:
        """The status in small letters, and that it is stale if it is, or for how long it has been stalled."""
        if self.is_arriving:
            return "arriving"
        if self.is_stalled:
            return f"stalled {age(self.age_s).removesuffix(' ago')}"
        return f"{self.status.lower()}, stale" if self.is_stale else self.status.lower()


def method_labels(summary: Mapping[str, Any]) -> list[str]:
    """Return how the energy was got: measured, modelled, simulated; several for a mixed run."""
    labels = {METHOD_LABELS.get(method, "unknown") for method in summary["methods"]}
    if summary["simulated"]:
        labels = {"simulated"}
    return [label for label in METHOD_COLOURS if label in labels]


def seq_max(summary: RunSummary) -> dict[str, int]:
    """Return each source's highest event number."""
    return {source_id: source["seq_max"] for source_id, source in summary["sources"].items() if "seq_max" in source}


def spans(summary: RunSummary) -> list[tuple[int, int]]:
    """Return from when to when each source that samples was heard of, in microseconds since 1970.

    Others add no energy: of the ranks of a host one measures, and a script inside `wattline run` leaves it to that.
    """
    return [
        (source["first_timestamp_us"], source["last_timestamp_us"])
        for source in summary["sources"].values()
        if source.get("latest_sample") and "first_timestamp_us" in source and "last_timestamp_us" in source
    ]


def latest_sample_numbers(summary: RunSummary) -> tuple[tuple[str, int], ...]:
    """Return each source and the number of its latest sample, the source last heard of first."""
    sources = sorted(summary["sources"].items(), key=lambda item: -item[1].get("last_timestamp_us", 0))
    return tuple(
        (source_id, source["latest_sample"]["seq"]) for source_id, source in sources if source.get("latest_sample")
    )


def energy_band_kwh(summary: RunSummary) -> tuple[float, float]:
    """Return both ends of the band around the run's energy."""
    return summary["energy_low_kwh"], summary["energy_high_kwh"]


def emissions_band_kg(summary: RunSummary) -> tuple[float, float]:
    """Return both ends of the band around the run's emissions: relatively as wide as that of its energy."""
    kg_per_kwh = summary["emissions_kg"] / (summary["energy_kwh"] or 1.0)
    return summary["energy_low_kwh"] * kg_per_kwh, summary["energy_high_kwh"] * kg_per_kwh


def mean_power_w(summary: RunSummary) -> float | None:
    """Return the run's energy over its duration."""
    hours = summary["duration_s"] / 3_600
    return summary["energy_kwh"] * 1_000 / hours if hours else None


def computation(summary: RunSummary, latest_samples: Sequence[Mapping[str, Any]]) -> str:
    """Return how the emissions follow from the energy, with the run's own numbers; Markdown."""
    factors = {(each["pue"], each["grid_intensity_g_per_kwh"], _grid_source(each)) for each in latest_samples}
    result = f"**{EMISSIONS.text(summary['emissions_kg'])}**"
    energy = ENERGY.text(summary["energy_kwh"])
    if len(factors) == 1:
        ((pue, intensity, source),) = factors
        product_kg = summary["energy_kwh"] * pue * intensity / 1000
        if math.isclose(product_kg, summary["emissions_kg"], rel_tol=_EXACT, abs_tol=1e-15):
            note = f"  \nGrid intensity: {literal(source)}"
            return f"{energy} {TIMES} PUE {plain(pue)} {TIMES} {plain(intensity)} g CO₂e/kWh = {result}{note}"
    if not summary["energy_kwh"]:
        return ""
    mean = plain(summary["emissions_kg"] / summary["energy_kwh"] * 1000)
    sources = "; ".join(sorted({literal(source) for _, _, source in factors}))
    return (
        f"{energy} {TIMES} {mean} g CO₂e/kWh (mean of PUE {TIMES} grid intensity: each interval has its own) = {result}"
        f"  \nGrid intensity now: {sources or 'unknown source'}"
    )


def _grid_source(sample: Mapping[str, Any]) -> str:
    """Return where a sample's grid intensity is from, and which emissions it counts (since version 2 of the event)."""
    source = str(sample.get("grid_intensity_source") or "unknown source")
    counts = GRID_KINDS.get(sample.get("grid_intensity_kind", ""))
    return f"{source} ({counts})" if counts else source


def run_facts(summary: RunSummary, zone: tzinfo) -> dict[str, str]:
    """Return what was trained, by whom and where, by its name on a page; what nobody told is left out."""
    facts = {
        "data set": summary["dataset_name"],
        "framework": summary["framework"],
        "user": summary["user_id"],
        "project": summary["project"],
        "region": summary["region_iso"],
        "host": ", ".join(summary["hosts"]),
        "started": f"{summary['started_at'].astimezone(zone):%Y-%m-%d %H:%M:%S}",
        "run": summary["_id"],
    }
    return {name: visible(value) for name, value in facts.items() if value}


def run_table(
    runs: Iterable[tuple[Document, RunState]], zone: tzinfo, curves: Mapping[str, Sequence[float]]
) -> pd.DataFrame:
    """Return the rows of the table of runs; figures stay numbers, so that columns sort by them."""
    rows = []
    for run, state in runs:
        rows.append(
            {
                "Status": state.label,
                "Method": ", ".join(method_labels(run)) or MISSING,
                "Model": run["model_name"],
                "User": run["user_id"],
                "Run": run["_id"],
                "Energy": run["energy_kwh"],
                "Emissions": run["emissions_kg"],
                "Power now": run["power_w"] if state.is_running and not state.is_stale else None,
                "Power": list(curves.get(run["_id"], ())),
                "Started": run["started_at"].astimezone(zone).replace(tzinfo=None, microsecond=0),
                "Duration": state.duration_s,
                "Updated": state.age_s,
                "Data set": run["dataset_name"],
                "Energy band": ENERGY.band(run["energy_low_kwh"], run["energy_high_kwh"]),
            }
        )
    return pd.DataFrame(rows)


RUN_TABLE_FORMATS: Mapping[str, Callable[[Any], str]] = {
    "Energy": ENERGY.text,
    "Emissions": EMISSIONS.text,
    "Power now": POWER.text,
    "Duration": duration,
    "Updated": age,
}
"""How the figures of `run_table` are written."""


def device_table(latest_samples: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the devices of the sources' latest samples, and how each one's energy was got."""
    return pd.DataFrame(
        [
            {
                "Device": device["device_id"],
                "Kind": device["kind"],
                "Method": f"{METHOD_LABELS.get(device['method'], 'unknown')} ({device['method']})",
                "Meter or model": device["model_name"],
                "Power": POWER.text(device["power_w"]),
                "Energy of the interval": ENERGY.text(device["energy_kwh"]),
                "Band": ENERGY.band(device["energy_low_kwh"], device["energy_high_kwh"]),
                "Share counted": percent(device["share"]),
                "Use": MISSING if device["utilization_pct"] is None else f"{plain(device['utilization_pct'])} %",
                "Remarks": ", ".join(device["flags"]),
                "Host": sample["host"],
            }
            for sample in latest_samples
            for device in sample.get("devices", ())
        ]
    )
