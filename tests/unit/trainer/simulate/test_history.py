"""A history: deterministic, in order, within the contract, and the sums of its events are its ledger's."""

from __future__ import annotations

import datetime
import itertools
import math
from collections import Counter, defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.trainer.simulate.stand_ins import START, play_history
from wattline_common.events import Method
from wattline_common.validate import validate
from wattline_trainer.simulate.population import history

Fields = dict[str, Any]
Day = tuple[list[tuple[str, Fields]], dict[str, Any]]


@pytest.fixture(scope="module")
def day() -> Day:
    """Give the events of a day of 20 runs, and the ledger."""
    stage = play_history(1, 20, 24.0)
    return stage.wire.data(), stage.books()


def _check_books(data: list[tuple[str, Fields]], books: dict[str, Any]) -> None:
    """Compare every source's events, by seq, with themselves and with the ledger."""
    sources: dict[tuple[str, str], list[tuple[str, Fields]]] = defaultdict(list)
    for name, fields in data:
        sources[fields["run_id"], fields["source_id"]].append((name, fields))
    assert {run_id for run_id, _ in sources} == set(books["runs"])
    assert len(sources) == sum(len(run["sources"]) for run in books["runs"].values())
    for (run_id, source_id), events in sources.items():
        entry = books["runs"][run_id]["sources"][source_id]
        finished = events[-1][1]
        samples = [fields for name, fields in events if name == "HardwareSampled"]
        assert [fields["seq"] for _, fields in events] == list(range(entry["events_emitted"]))
        assert (events[0][0], events[-1][0]) == ("RunStarted", "RunFinished")
        assert finished["events_emitted"] == entry["events_emitted"]
        assert finished["status"] == entry["status"]
        total_mj = sum(round(sample["energy_kwh"] * 3.6e9) for sample in samples)
        assert total_mj == entry["energy_millijoules"]
        assert entry["energy_kwh"] == finished["source_energy_kwh"] == pytest.approx(total_mj / 3.6e9, rel=1e-9)
        assert entry["emissions_kg"] == finished["source_emissions_kg"]
        if samples:
            assert samples[-1]["cumulative_energy_kwh"] == finished["source_energy_kwh"]
            assert math.fsum(s["interval_s"] for s in samples) == pytest.approx(finished["duration_s"], abs=1e-6)
            milli = [device["energy_kwh"] * 3.6e9 for sample in samples for device in sample["devices"]]
            assert all(value == pytest.approx(round(value), abs=1e-3) for value in milli)
        times = [fields["timestamp"] for _, fields in events]
        assert times == sorted(times)
    assert books["totals"]["energy_millijoules"] == sum(run["energy_millijoules"] for run in books["runs"].values())
    assert books["totals"]["events"] == len(data)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.floats(0.05, 3))
def test_what_is_emitted_is_valid_and_conserved(seed: int, runs: int, hours: float) -> None:
    """Whatever the seed and the size: each event keeps the contract, and sums agree from sample to ledger."""
    stage = play_history(seed, runs, hours)
    data = stage.wire.data()
    for name, fields in data:
        validate(name, fields)
        assert fields["simulated"] is True
        assert START <= fields["timestamp"] <= START + datetime.timedelta(hours=hours)
        for device in fields.get("devices", ()):
            assert device["method"] == Method.SIMULATED
    _check_books(data, stage.books())
    assert all(run["status"] != "RUNNING" for run in stage.books()["runs"].values())


def test_the_same_seed_and_start_give_the_same_bytes() -> None:
    """In the same order, on the way to Kafka, faults included; another seed gives others."""
    first, again = (play_history(7, 4, 3.0, duplicates=0.1, disorder_s=300).wire.sent for _ in range(2))
    assert first == again
    assert first != play_history(8, 4, 3.0, duplicates=0.1, disorder_s=300).wire.sent


def test_events_come_in_the_order_of_time() -> None:
    """Across the fleet, as real runs beside each other would tell them."""
    times = [fields["timestamp"] for _, fields in play_history(3, 6, 6.0).wire.data()]
    assert all(late >= early for early, late in itertools.pairwise(times))


def test_a_day_of_20_runs_is_of_the_promised_size(day: Day) -> None:
    """15,000 to 60,000 events, gapless, at most one step per 30 s and process, with all that happens to runs."""
    data, books = day
    assert 15_000 <= len(data) <= 60_000
    _check_books(data, books)
    runs = books["runs"].values()
    assert {run["status"] for run in runs} == {"COMPLETED", "FAILED", "STOPPED"}
    sources: dict[str, set[tuple[str, int | None]]] = defaultdict(set)
    for _, fields in data:
        sources[fields["run_id"]].add((fields["source_id"], fields["rank"]))
    ranks = [Counter(rank for _, rank in found) for found in sources.values()]
    assert any(max(counter.values()) == 2 for counter in ranks), "a restart"
    assert any(set(counter) == {0, 1, 2, 3} for counter in ranks), "ranks"
    steps = Counter(fields["source_id"] for name, fields in data if name == "StepCompleted")
    durations_s = {fields["source_id"]: fields["duration_s"] for name, fields in data if name == "RunFinished"}
    assert all(count <= durations_s[source_id] / 30 + 3 for source_id, count in steps.items())


def test_one_process_a_host_samples() -> None:
    """Of the ranks on a host one reads the meters, so that no device is counted twice at a time."""
    stage = play_history(1, 20, 3.0)
    samplers: dict[tuple[str, str, datetime.datetime], set[str]] = defaultdict(set)
    everyone: dict[str, set[str]] = defaultdict(set)
    started: dict[str, datetime.datetime] = {}
    for name, fields in stage.wire.data():
        everyone[fields["run_id"]].add(fields["source_id"])
        if name == "RunStarted":
            started[fields["source_id"]] = fields["timestamp"]
        if name == "HardwareSampled":
            samplers[fields["run_id"], fields["host"], started[fields["source_id"]]].add(fields["source_id"])
    assert max(map(len, samplers.values())) == 1
    assert max(map(len, everyone.values())) >= 4


@pytest.mark.parametrize("days", [0.01, 0.1, 1.0, 7.0])
def test_every_run_lies_within_the_history(days: float) -> None:
    """Whatever the length and the seed; and the planned events of a day of 20 runs are within bounds for any seed."""
    for seed in range(40):
        planned = 0.0
        for start_s, plan in history(seed, 20, START, days * 86_400):
            assert start_s >= 0
            assert start_s + plan.length_s <= days * 86_400
            for source in plan.sources:
                lasts_s = source.end_s - source.start_s
                planned += lasts_s / 30 * (source.samples_hardware + 1 / source.step_every)
        assert days != 1.0 or 16_000 <= planned <= 55_000, seed


def test_a_training_learns(day: Day) -> None:
    """Epochs rise from 1 to the plan's last, steps cover the plan, each epoch's end is evaluated once."""
    data, books = day
    completed = 0
    by_run: dict[str, list[tuple[str, Fields]]] = defaultdict(list)
    for name, fields in data:
        by_run[fields["run_id"]].append((name, fields))
    for run_id, run in books["runs"].items():
        if run["status"] != "COMPLETED" or len(run["sources"]) > 1:
            continue
        events = by_run[run_id]
        plan, steps = events[0][1], [fields for name, fields in events if name == "StepCompleted"]
        epochs = [step["epoch"] for step in steps]
        assert (epochs, epochs[0]) == (sorted(epochs), 1)
        assert steps[0]["loss"] > steps[-1]["loss"]
        if epochs[-1] == plan["planned_epochs"]:
            completed += 1
            assert sum(step["steps_covered"] for step in steps) == plan["planned_steps"]
            told = [s["epoch"] for s in steps if "validation_loss" in s["metrics"]]
            assert told == list(range(1, plan["planned_epochs"] + 1))
    assert completed >= 5
