"""Promises of the typed columns on the real Spark: three ways lead to them, and they agree row by row."""

from __future__ import annotations

import datetime
import json
import math
import random
import statistics
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from tests.avro_pieces import pieces
from tests.events import START, run_events, sample
from tests.integration.spark_decoding import decoded
from wattline_common.codec import encode_body, frame
from wattline_common.events import DeviceKind, DeviceReading, Event, HardwareSampled
from wattline_common.schemas import VERSIONS
from wattline_streaming.typed import ARROW_SCHEMA, typed_row
from wattline_streaming.windows import fold

NAMES = [name for name in VERSIONS if not name.endswith("WindowAggregated")]
IDS = {name: number for number, name in enumerate(NAMES, start=300)}  # above 255, so that each byte of an id counts
WRITERS = {number: VERSIONS[name][-1] for name, number in IDS.items()}


def message(event: Event) -> bytes:
    """Return the event as a producer writes it."""
    return frame(IDS[event.AVRO_NAME], encode_body(event))


def test_from_avro_and_python_fill_the_same_columns(spark: SparkSession) -> None:
    """What the JVM decodes with the writer's schema equals what the ledger would fill, for every kind of event."""
    gpu = DeviceReading(kind=DeviceKind.GPU, energy_kwh=3e-6, energy_low_kwh=2e-6, energy_high_kwh=4e-6)
    two_gpus = sample(energy_kwh=6e-6, devices=[gpu, gpu], project="Ünï", simulated=True)
    events = [*run_events("run", samples=20), two_gpus, sample(cpu_utilization_pct=None, devices=[])]
    expected = [typed_row(event.to_avro()) for event in events]
    rows = decoded(spark, [message(event) for event in events], WRITERS).to_pylist()
    assert len(rows) == len(expected)
    for row, wanted in zip(rows, expected, strict=True):
        numbers = {name: value for name, value in wanted.items() if isinstance(value, float)}
        assert {name: row[name] for name in numbers} == pytest.approx(numbers, rel=1e-12)
        assert row | numbers == wanted


def test_a_kind_of_device_of_tomorrow_counts_as_other_everywhere(spark: SparkSession) -> None:
    """The JVM reads an unknown symbol as the enum's default, and so must the ledger, which sees the symbol itself."""
    schema = json.loads(WRITERS[IDS[HardwareSampled.AVRO_NAME]])
    device = next(field for field in schema["fields"] if field["name"] == "devices")["type"]["items"]
    next(field for field in device["fields"] if field["name"] == "kind")["type"]["symbols"].append("ACCELERATOR")
    event = sample().to_avro()
    event["devices"] = [{**event["devices"][0], "kind": "ACCELERATOR"}]
    body = b"".join(piece.data for piece in pieces(schema, event))
    (row,) = decoded(spark, [frame(999, body)], {**WRITERS, 999: json.dumps(schema)}).to_pylist()
    wanted = typed_row(event)
    for columns in (row, wanted):
        assert (columns["energy_other_kwh"], columns["energy_cpu_kwh"]) == (pytest.approx(event["energy_kwh"]), 0.0)
    assert row == wanted


def test_what_cannot_be_decoded_has_null_columns(spark: SparkSession) -> None:
    """A damaged message has no run id and harms none of its neighbours."""
    good = message(sample())
    bad = [None, b"", b"\x00\x00", b"\x01" + good[1:], frame(7, good[5:]), good[:-20]]
    rows = decoded(spark, [good, *bad, good], WRITERS).to_pylist()
    assert [row["run_id"] for row in rows] == ["run", *[None] * len(bad), "run"]


def random_samples(count: int, seed: int) -> list[HardwareSampled]:
    """Return consistent samples of two runs over three minutes."""
    rng = random.Random(seed)
    return [
        sample(
            run_id=f"run-{rng.randrange(2)}",
            seq=seq,
            timestamp=START + datetime.timedelta(seconds=rng.uniform(0, 180)),
            energy_kwh=rng.uniform(1, 400) / 3.6e6,
            cpu_utilization_pct=rng.choice([None, rng.uniform(0, 100)]),
        )
        for seq in range(count)
    ]


def folded(spark: SparkSession, events: list[HardwareSampled]) -> dict[tuple[str, datetime.datetime], dict[str, Any]]:
    """Return what Spark's fold makes of the events, by run and window start."""
    table = pa.Table.from_pylist([typed_row(event.to_avro()) for event in events], schema=ARROW_SCHEMA)
    rows = fold(spark.createDataFrame(table), watermark_s=120).toArrow().to_pylist()
    return {(row["run_id"], row["window_start"]): row for row in rows}


def test_a_windows_names_are_those_that_say_something(spark: SparkSession) -> None:
    """The highest of them; "unknown", or no project, only where no event says more."""
    events = [
        sample(run_id="said", seq=seq, model_name=model, project=project)
        for seq, (model, project) in enumerate(
            [("unknown", None), ("bert", "nlp"), ("resnet50", None), ("unknown", None)]
        )
    ]
    events += [sample(run_id="unsaid", seq=seq, model_name="unknown", project=None) for seq in range(2)]
    names = {run_id: (row["model_name"], row["project"]) for (run_id, _), row in folded(spark, events).items()}
    assert names == {"said": ("resnet50", "nlp"), "unsaid": ("unknown", None)}


def test_the_fold_equals_a_plain_recount(spark: SparkSession) -> None:
    """Each window's figures equal those that plain Python computes from the same events."""
    events = random_samples(300, seed=1)
    windows = folded(spark, events)
    groups: dict[tuple[str, datetime.datetime], list[HardwareSampled]] = {}
    for event in events:
        groups.setdefault((event.run_id, event.timestamp.replace(second=0, microsecond=0)), []).append(event)
    assert set(windows) == set(groups)
    for key, group in groups.items():
        row = windows[key]
        used = [event.cpu_utilization_pct for event in group if event.cpu_utilization_pct is not None]
        energies = [event.energy_kwh for event in group]
        assert (row["events"], row["samples"]) == (len(group), len(group))
        pairs = [(e.energy_kwh, e.cpu_utilization_pct) for e in group if e.cpu_utilization_pct is not None]
        assert row["energy_cpu_utilization_corr"] == pytest.approx(
            statistics.correlation(*zip(*pairs, strict=True)), rel=1e-6
        )
        assert row["energy_kwh"] == pytest.approx(math.fsum(energies), rel=1e-9)
        assert row["energy_cpu_kwh"] == pytest.approx(math.fsum(energies), rel=1e-9)
        assert row["emissions_kg"] == pytest.approx(math.fsum(event.emissions_kg for event in group), rel=1e-9)
        assert row["power_avg_w"] == pytest.approx(statistics.fmean(event.power_avg_w for event in group), rel=1e-9)
        assert row["power_max_w"] == max(event.power_max_w for event in group)
        assert row["energy_p50_kwh"] == pytest.approx(statistics.median(energies), rel=1e-9)
        counts = [row[f"{name}_count"] for name in ("cpu_utilization", "gpu_utilization", "loss", "accuracy")]
        assert counts == [len(used), 0, 0, 0]
        assert row["interval_s"] == pytest.approx(math.fsum(event.interval_s for event in group), rel=1e-9)
        assert row["cpu_utilization_avg_pct"] == pytest.approx(statistics.fmean(used), rel=1e-9)
        assert row["cpu_utilization_stddev_pct"] == pytest.approx(statistics.pstdev(used), rel=1e-6)


def test_constant_load_has_no_correlation_and_harms_nothing(spark: SparkSession) -> None:
    """A run that draws the same all the time, one sample alone, and samples without CPU use fold without an error."""
    steady = [sample(run_id="steady", seq=seq) for seq in range(5)]
    blind = [sample(run_id="blind", seq=seq, cpu_utilization_pct=None) for seq in range(2)]
    nothing = [sample(run_id="nothing", energy_kwh=0.0, interval_s=0.0)]
    windows = folded(spark, [*steady, sample(run_id="alone"), *blind, *nothing])
    found = {run_id: (row["samples"], row["energy_cpu_utilization_corr"]) for (run_id, _), row in windows.items()}
    assert found == {"steady": (5, None), "alone": (1, None), "blind": (2, None), "nothing": (1, None)}


def test_the_order_of_events_does_not_matter(spark: SparkSession) -> None:
    """Folding the same events in another order gives the same windows."""
    events = random_samples(200, seed=2)
    shuffled = events[:]
    random.Random(3).shuffle(shuffled)
    first, second = folded(spark, events), folded(spark, shuffled)
    assert set(first) == set(second)
    for key, row in first.items():
        numbers = {name: value for name, value in row.items() if isinstance(value, float)}
        assert {name: second[key][name] for name in numbers} == pytest.approx(numbers, rel=1e-9)
        assert row["events"] == second[key]["events"]
