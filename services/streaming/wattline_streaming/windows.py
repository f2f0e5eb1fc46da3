"""One-minute tumbling windows per run: filter, group and aggregate only, so that stream and batch fold alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812  # Spark's own convention

from wattline_common.events import WindowAggregated
from wattline_common.store import MEAN_WEIGHTS, SETTLEMENT, WINDOW_LENGTH_S, Aggregate
from wattline_streaming.typed import CONTEXT, ENERGY_BY_KIND, UNKNOWN

__all__ = ["aggregate", "fold", "is_whole", "stored_row", "window_aggregated"]

_J_PER_KWH = 3.6e6
_SUMS = ("energy_kwh", "energy_low_kwh", "energy_high_kwh", "measured_energy_kwh", *ENERGY_BY_KIND, "emissions_kg")
_COUNTED = {
    "cpu_utilization_pct": "cpu_utilization_count",
    "gpu_utilization_pct": "gpu_utilization_count",
    "loss": "loss_count",
    "accuracy": "accuracy_count",
}
_SHARES = "energy_percentiles_kwh"  # one aggregate for all of them: each would keep all values by itself
_LEAST_SPREAD = 1e-6  # of the mean; rounding is some 1e-15
_PERCENTILES = {"energy_p50_kwh": 0.5, "energy_p90_kwh": 0.9, "energy_p99_kwh": 0.99}


def fold(rows: DataFrame, *, watermark_s: int) -> DataFrame:
    """Return one row per run and window: bounds, counts, sums, means and spread of the typed rows in it.

    An event later than the watermark may be left out; settling has the last word. Only hardware samples carry
    energy_kwh, so counting it counts samples.
    """
    window = F.window("event_time", f"{WINDOW_LENGTH_S} seconds")
    return (
        rows.withWatermark("event_time", f"{watermark_s} seconds")
        .groupBy("run_id", window)
        .agg(
            F.count("*").alias("events"),
            F.count("energy_kwh").alias("samples"),
            *(F.coalesce(F.sum(name), F.lit(0.0)).alias(name) for name in _SUMS),
            (F.sum("energy_kwh") * _J_PER_KWH / F.nullif(F.sum("interval_s"), F.lit(0.0))).alias("power_avg_w"),
            F.max("power_max_w").alias("power_max_w"),
            F.percentile("energy_kwh", F.array(*map(F.lit, _PERCENTILES.values()))).alias(_SHARES),
            F.avg("cpu_utilization_pct").alias("cpu_utilization_avg_pct"),
            F.stddev_pop("cpu_utilization_pct").alias("cpu_utilization_stddev_pct"),
            F.avg("gpu_utilization_pct").alias("gpu_utilization_avg_pct"),
            F.avg("loss").alias("loss_avg"),
            F.avg("accuracy").alias("accuracy_avg"),
            _energy_cpu_correlation().alias("energy_cpu_utilization_corr"),
            F.coalesce(F.sum("interval_s"), F.lit(0.0)).alias("interval_s"),
            *(F.count(name).alias(count) for name, count in _COUNTED.items()),
            *(_highest_said(name).alias(name) for name in CONTEXT),
            F.max("simulated").alias("simulated"),
        )
        .withColumns({"window_start": F.col("window.start"), "window_end": F.col("window.end")})
        .withColumns({name: F.col(_SHARES)[place] for place, name in enumerate(_PERCENTILES)})
        .drop("window", _SHARES)
    )


def _highest_said(name: str) -> Column:
    """Return the highest value that says something; "unknown", or no project, where none does.

    By one aggregate, as ever: a second one would be another state, which no checkpoint of before has.
    """
    if name == "project":
        return F.max(name)
    return F.coalesce(F.max(F.nullif(F.col(name), F.lit(UNKNOWN))), F.lit(UNKNOWN))


def _energy_cpu_correlation() -> Column:
    """Return Pearson's correlation, null when either is constant: Spark's own `corr` then divides by zero and fails."""
    energy, cpu = F.col("energy_kwh"), F.col("cpu_utilization_pct")
    both = energy.isNotNull() & cpu.isNotNull()
    energy_mean = F.sum(energy) / F.nullif(F.count(energy), F.lit(0))
    energy_spread = _if_no_rounding(F.stddev_pop(F.when(both, energy)), energy_mean)
    cpu_spread = _if_no_rounding(F.stddev_pop(F.when(both, cpu)), F.avg(cpu))
    return F.covar_pop(energy, cpu) / F.nullif(energy_spread * cpu_spread, F.lit(0.0))


def _if_no_rounding(spread: Column, mean: Column) -> Column:
    """Return a spread that is one: when partial sums are merged, a constant comes to have one by rounding alone."""
    return F.when(spread > F.lit(_LEAST_SPREAD) * F.abs(mean), spread)


_FIGURES = tuple(name for name in Aggregate.__annotations__ if name not in {"revision", "context"})


def aggregate(row: Mapping[str, Any], settlement: int) -> Aggregate:
    """Return the stored figures of a folded row; the higher settlement, then the more events, wins."""
    figures = {name: row[name] for name in _FIGURES}
    context = {name: row[name] for name in (*CONTEXT, "simulated")}
    revision = settlement * SETTLEMENT + row["events"]
    return cast(Aggregate, {"revision": revision, **figures, "context": context})


def is_whole(window: Mapping[str, Any]) -> bool:
    """Return whether a stored window has all figures; one of an older version has not."""
    aggregate: Mapping[str, Any] = window["aggregate"]
    return aggregate.keys() >= {"revision", "context", *_FIGURES}


def stored_row(window: Mapping[str, Any]) -> dict[str, Any]:
    """Return a window of the store as the row that it was folded to."""
    bounds = {name: window[name] for name in ("run_id", "window_start", "window_end")}
    return {**window["aggregate"], **window["aggregate"]["context"], **bounds}


def window_aggregated(row: Mapping[str, Any], settlement: int, emitter: str) -> WindowAggregated:
    """Return the event that tells others of a folded row."""
    fields: dict[str, Any] = dict(aggregate(row, settlement))
    context = {name: value for name, value in fields.pop("context").items() if value is not None}
    for weight in MEAN_WEIGHTS.values():
        del fields[weight]
    return WindowAggregated(
        run_id=row["run_id"],
        source_id=emitter,
        seq=fields["revision"],
        timestamp=row["window_end"],
        window_start=row["window_start"],
        window_end=row["window_end"],
        **context,
        **fields,
    )
