"""Runs as the stream leaves them in the store, made from real events: what tests of the dashboard read.

The summaries come from the stream's own function: a shape that the stream writes and the pages cannot read shows here.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from typing import Any

from pymongo.database import Database

from wattline_common import store
from wattline_common.carbon import emissions_kg
from wattline_common.events import (
    DeviceDescription,
    DeviceKind,
    DeviceReading,
    HardwareSampled,
    Method,
    RunFinished,
    RunStarted,
    RunStatus,
    StepCompleted,
)
from wattline_common.store import Document
from wattline_streaming.compose import all_rollups, run_hours
from wattline_streaming.rollups import rebuild, roll_up
from wattline_streaming.summary import own_fields, source_updates
from wattline_streaming.typed import CONTEXT

__all__ = [
    "Event",
    "book",
    "forget",
    "raw_documents",
    "recorded_run",
    "rollup_documents",
    "summary_document",
    "window_documents",
]

Event = RunStarted | StepCompleted | HardwareSampled | RunFinished

GRID_INTENSITY_G_PER_KWH = 381.0
GRID_INTENSITY_SOURCE = "DEU: Our World in Data 2023"
PUE = 1.25
_SAMPLES = 256  # of a step
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def recorded_run(
    run_id: str,
    started_at: datetime.datetime,
    *,
    seconds: int,
    interval_s: float = 1.0,
    source_id: str = "source-1",
    status: RunStatus | None = None,
    has_gpu: bool = False,
    planned_epochs: int | None = None,
    **context: Any,
) -> list[Event]:
    """Return the events of one source: a start, a step and a sample for each interval, and an end if it has one."""
    common = {
        "run_id": run_id,
        "source_id": source_id,
        "user_id": "ada",
        "model_name": "digits-mlp",
        "dataset_name": "digits",
        "framework": "sklearn",
        "environment": "local",
        "region_iso": "DEU",
        "host": "host-1",
    } | context
    events: list[Event] = [
        RunStarted(
            **common,
            seq=0,
            timestamp=started_at,
            hyperparameters={"learning.rate": "0.01"},
            tags={"$a": "b"},
            planned_epochs=planned_epochs,
            hardware=[DeviceDescription(device_id="cpu-0", kind=DeviceKind.CPU, model_name="per-vcpu", count=4)],
        )
    ]
    totals = dict.fromkeys(("energy", "emissions", "low", "high", "measured"), 0.0)
    for number in range(1, round(seconds / interval_s) + 1):
        at = started_at + datetime.timedelta(seconds=number * interval_s)
        sample = _sample(common, len(events), at, interval_s, number, totals, has_gpu=has_gpu)
        events += [sample, _step(common, len(events) + 1, at, number, sample)]
    if status is not None:
        at = started_at + datetime.timedelta(seconds=seconds)
        events.append(
            RunFinished(
                **common,
                seq=len(events),
                timestamp=at,
                status=status,
                duration_s=float(seconds),
                source_energy_kwh=totals["energy"],
                source_emissions_kg=totals["emissions"],
                events_emitted=len(events) + 1,
            )
        )
    return events


def raw_documents(events: Sequence[Event]) -> list[Document]:
    """Return the documents of training_metrics."""
    documents = []
    for event in events:
        fields = {key: store.as_pairs(value) if isinstance(value, dict) else value for key, value in _fields(event)}
        documents.append(
            {
                "_id": store.event_id(event.run_id, event.source_id, event.seq),
                "event_type": type(event).__name__,
                "timestamp_us": _us(event.timestamp),
                "kafka": {"partition": 0, "offset": event.seq, "append_time": event.timestamp, "schema_id": 1},
                "ingested_at": event.timestamp,
            }
            | fields
        )
    return documents


def summary_document(events: Sequence[Event]) -> Document:
    """Return the document of training_run_summary after these events, in order."""
    sources: dict[str, Any] = {}
    for event in events:
        raised, lowered = source_updates(type(event).__name__, dict(_fields(event)), _us(event.timestamp))
        for path, value in (
            raised | {path: value for path, value in lowered.items() if not _get(sources, path)}
        ).items():
            _put(sources, path, value)
    return {"_id": events[0].run_id, "sources": sources["sources"]} | own_fields(events[0].run_id, sources["sources"])


def window_documents(events: Sequence[Event]) -> list[Any]:
    """Return the documents of aggregated_metrics, with the figures that curves are drawn from."""
    groups: dict[int, list[Event]] = {}
    for event in events:
        groups.setdefault(store.window_start_us(_us(event.timestamp)), []).append(event)
    return [_window(start_us, group) for start_us, group in sorted(groups.items())]


def rollup_documents(windows: Sequence[Any]) -> list[Any]:
    """Return the documents of aggregated_rollups that all of the fleet's windows make."""
    return list(all_rollups(run_hours(windows)))


def book(database: Database[Document], events: Sequence[Event], *, known: int = 0, has_raw: bool = True) -> None:
    """Write what the stream has in the store after these events; the first ``known`` of them are there already."""
    if has_raw and events[known:]:
        database[store.TRAINING_METRICS].insert_many(raw_documents(events[known:]), ordered=False)
    summary = summary_document(events)
    database[store.TRAINING_RUN_SUMMARY].replace_one({"_id": summary["_id"]}, summary, upsert=True)
    windows = window_documents(events)
    for window in windows:
        database[store.AGGREGATED_METRICS].replace_one({"_id": window["_id"]}, window, upsert=True)
    roll_up(database, ((events[0].run_id, _us(window["window_start"])) for window in windows))


def forget(database: Database[Document], run_ids: Sequence[str]) -> None:
    """Delete all that the store has of these runs."""
    database[store.TRAINING_RUN_SUMMARY].delete_many({"_id": {"$in": list(run_ids)}})
    for name in (store.TRAINING_METRICS, store.AGGREGATED_METRICS):
        database[name].delete_many({"run_id": {"$in": list(run_ids)}})
    rebuild(database)  # the rollups: those of the runs go, those that they counted in are mended


def _sample(
    common: dict[str, Any],
    seq: int,
    at: datetime.datetime,
    interval_s: float,
    number: int,
    totals: dict[str, float],
    *,
    has_gpu: bool,
) -> HardwareSampled:
    devices = [
        _reading("cpu-0", DeviceKind.CPU, 28 + 9 * math.sin(number / 7), interval_s, Method.MODELLED, 0.6),
        _reading("memory", DeviceKind.MEMORY, 3.0, interval_s, Method.MODELLED, 0.3),
    ]
    if has_gpu:
        devices.append(
            _reading("gpu-0", DeviceKind.GPU, 190 + 40 * math.cos(number / 9), interval_s, Method.COUNTER, 0.02)
        )
    energy = math.fsum(device.energy_kwh for device in devices)
    low, high = (math.fsum(getattr(device, f"energy_{end}_kwh") for device in devices) for end in ("low", "high"))
    measured = math.fsum(device.energy_kwh for device in devices if device.method is Method.COUNTER)
    emitted = emissions_kg(energy, pue=PUE, grid_intensity_g_per_kwh=GRID_INTENSITY_G_PER_KWH)
    for name, value in zip(totals, (energy, emitted, low, high, measured), strict=True):
        totals[name] += value
    return HardwareSampled(
        **common,
        seq=seq,
        timestamp=at,
        interval_s=interval_s,
        energy_kwh=energy,
        emissions_kg=emitted,
        energy_low_kwh=low,
        energy_high_kwh=high,
        measured_energy_kwh=measured,
        cumulative_energy_kwh=totals["energy"],
        cumulative_emissions_kg=totals["emissions"],
        cumulative_energy_low_kwh=totals["low"],
        cumulative_energy_high_kwh=totals["high"],
        cumulative_measured_energy_kwh=totals["measured"],
        power_avg_w=energy * 3.6e6 / interval_s,
        power_max_w=energy * 3.6e6 / interval_s,
        grid_intensity_g_per_kwh=GRID_INTENSITY_G_PER_KWH,
        grid_intensity_source=GRID_INTENSITY_SOURCE,
        pue=PUE,
        cpu_utilization_pct=60.0,
        devices=devices,
    )


def _reading(
    device_id: str, kind: DeviceKind, power_w: float, interval_s: float, method: Method, band: float
) -> DeviceReading:
    energy_kwh = power_w * interval_s / 3.6e6
    return DeviceReading(
        device_id=device_id,
        kind=kind,
        power_w=power_w,
        energy_kwh=energy_kwh,
        energy_low_kwh=energy_kwh * (1 - band),
        energy_high_kwh=energy_kwh * (1 + band),
        share=0.4 if kind is DeviceKind.CPU else 1.0,
        utilization_pct=60.0 if kind is not DeviceKind.MEMORY else None,
        method=method,
        model_name="per-vcpu" if method is Method.MODELLED else "NVML",
    )


def _step(
    common: dict[str, Any], seq: int, at: datetime.datetime, number: int, sample: HardwareSampled
) -> StepCompleted:
    return StepCompleted(
        **common,
        seq=seq,
        timestamp=at,
        epoch=number // 10,
        step=number,
        loss=2.3 * math.exp(-number / 40) + 0.08,
        accuracy=0.97 - 0.87 * math.exp(-number / 25),
        samples=_SAMPLES,
        cumulative_energy_kwh=sample.cumulative_energy_kwh,
        cumulative_emissions_kg=sample.cumulative_emissions_kg,
    )


def _window(start_us: int, events: Sequence[Event]) -> Document:
    samples = [event for event in events if isinstance(event, HardwareSampled)]
    steps = [event for event in events if isinstance(event, StepCompleted)]
    hours = math.fsum(sample.interval_s for sample in samples) / 3600
    sums = {
        name: math.fsum(getattr(sample, name) for sample in samples)
        for name in ("energy_kwh", "energy_low_kwh", "energy_high_kwh", "measured_energy_kwh", "emissions_kg")
    }
    kinds = {
        f"energy_{kind.lower()}_kwh": math.fsum(
            device.energy_kwh for sample in samples for device in sample.devices if device.kind is kind
        )
        for kind in DeviceKind
    }
    start = _EPOCH + datetime.timedelta(microseconds=start_us)
    means = {
        "cpu_utilization": [sample.cpu_utilization_pct for sample in samples],
        "gpu_utilization": [sample.gpu_utilization_pct for sample in samples],
        "loss": [step.loss for step in steps],
        "accuracy": [step.accuracy for step in steps],
    }
    return {
        "_id": store.window_id(events[0].run_id, start_us),
        "run_id": events[0].run_id,
        "window_start": start,
        "window_end": start + datetime.timedelta(seconds=store.WINDOW_LENGTH_S),
        "length_s": store.WINDOW_LENGTH_S,
        "aggregate": {"revision": len(events), "events": len(events), "samples": len(samples)}
        | sums
        | kinds
        | {
            "power_avg_w": sums["energy_kwh"] * 1000 / hours if hours else None,
            "power_max_w": max((sample.power_max_w for sample in samples), default=None),
            "interval_s": hours * 3600,
        }
        | {f"{name}_avg{'_pct' if name.endswith('utilization') else ''}": _mean(each) for name, each in means.items()}
        | {f"{name}_count": sum(value is not None for value in each) for name, each in means.items()}
        | {"context": {name: getattr(events[0], name) for name in (*CONTEXT, "simulated")}},
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _fields(event: Event) -> list[tuple[str, Any]]:
    return list((event.to_avro() | {"timestamp": event.timestamp}).items())


def _us(moment: datetime.datetime) -> int:
    return (moment - _EPOCH) // datetime.timedelta(microseconds=1)


def _get(document: Document, path: str) -> Any:
    for name in path.split("."):
        document = document.get(name, {})
    return document


def _put(document: Document, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for name in parents:
        document = document.setdefault(name, {})
    document[last] = value
