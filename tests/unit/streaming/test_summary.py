"""Promises of the run summary: what sources say is gathered alike in any order, however often it is said."""

from __future__ import annotations

import dataclasses
import datetime
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.events import START, run_events
from wattline_common.events import Event, RunFinished, RunStatus, StepCompleted
from wattline_streaming.summary import nested, own_fields, source_updates


def gathered(events: list[Event]) -> dict[str, Any]:
    """Return the sources map as `$max` and `$min` would build it, one event at a time."""
    document: dict[str, Any] = {"sources": {}}
    for event in events:
        timestamp_us = int(event.timestamp.timestamp() * 1_000_000)
        raised, lowered = source_updates(type(event).__name__, event.to_avro(), timestamp_us)
        for path, value in raised.items():
            place, key = reach(document, path)
            if key not in place or rank(value) > rank(place[key]):
                place[key] = value
        for path, value in lowered.items():
            place, key = reach(document, path)
            place[key] = min(value, place.get(key, value))
    sources: dict[str, Any] = document["sources"]
    return sources


def test_a_new_runs_figures_nest_to_the_same_summary() -> None:
    """The paths of one event nest to the sources map that the store would build, so a new run is whole at once."""
    event = run_events("run")[0]
    timestamp_us = int(event.timestamp.timestamp() * 1_000_000)
    raised, lowered = source_updates(type(event).__name__, event.to_avro(), timestamp_us)
    assert nested(raised | lowered) == gathered([event])


def reach(document: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    """Return the innermost document of a dotted path, made where missing, and the last key."""
    *way, key = path.split(".")
    for part in way:
        document = document.setdefault(part, {})
    return document, key


def rank(value: Any) -> Any:
    """Return what orders a value as the store does: documents field by field, null lowest."""
    if isinstance(value, dict):
        return [(inner is not None, inner) for inner in value.values() if not isinstance(inner, list)]
    return value


@given(st.integers(0, 2**32), st.integers(1, 3))
def test_order_and_repetition_change_nothing(seed: int, sources: int) -> None:
    """Any order and any repetition of a run's events gather to the same summary."""
    events = [event for k in range(sources) for event in run_events("run", source_id=f"s{k}", samples=4, seed=k)]
    rng = random.Random(seed)
    shuffled = events + rng.choices(events, k=10)
    rng.shuffle(shuffled)
    assert gathered(shuffled) == gathered(events)
    assert own_fields("run", gathered(shuffled)) == own_fields("run", gathered(events))


def test_a_run_is_called_what_the_first_source_that_knows_calls_it() -> None:
    """Of `wattline run` and the script inside, the first knows no model, and no project."""
    wrapper = {"model_name": "unknown", "dataset_name": "unknown", "project": None, "user_id": "ada"}
    script = {"model_name": "resnet50", "dataset_name": "cifar10", "project": "nlp", "user_id": "unknown"}
    events = [
        dataclasses.replace(event, timestamp=event.timestamp + datetime.timedelta(seconds=late_s), **names)
        for source_id, late_s, names in (("w", 0, wrapper), ("s", 5, script))
        for event in run_events("run", source_id=source_id)
    ]
    fields = own_fields("run", gathered(events))
    assert {name: fields[name] for name in wrapper} == script | {"user_id": "ada"}
    assert own_fields("run", gathered(events[: len(events) // 2]))["model_name"] == "unknown"


def test_totals_are_the_sums_of_the_sources() -> None:
    """A run's energy is the sum of its sources' last cumulative figures."""
    events = run_events("run", source_id="a", seed=1) + run_events("run", source_id="b", seed=2)
    said = [event.source_energy_kwh for event in events if hasattr(event, "source_energy_kwh")]
    fields = own_fields("run", gathered(events))
    assert fields["energy_kwh"] == pytest.approx(sum(said), rel=1e-12)
    assert fields["events_expected"] == len(events)
    assert (fields["loss"], fields["step"]) == (0.1, 10)
    assert fields["methods"] == ["MODELLED"]
    assert fields["power_w"] is None, "a run that has ended draws nothing"


def test_an_end_that_counts_too_few_events_lowers_nothing() -> None:
    """What came is expected, whatever a source says of itself; else the count would fall when the end comes."""
    *others, end = run_events("run")
    assert isinstance(end, RunFinished)
    events = [*others, dataclasses.replace(end, events_emitted=1)]
    assert own_fields("run", gathered(events))["events_expected"] == len(events)


def test_a_figure_stands_until_it_is_told_again() -> None:
    """A step without accuracy leaves the last accuracy in place, whatever order the steps come in."""
    first, second = (event for event in run_events("run", samples=2) if isinstance(event, StepCompleted))
    silent = dataclasses.replace(second, accuracy=None)
    for events in ([first, silent], [silent, first]):
        fields = own_fields("run", gathered(list(events)))
        assert (fields["accuracy"], fields["step"]) == (first.accuracy, second.step)


def test_a_run_runs_until_its_last_source_has_finished() -> None:
    """One source without an end keeps the run RUNNING, with the power of the sources that still run."""
    events = run_events("run", source_id="a") + run_events("run", source_id="b", finished=False)
    fields = own_fields("run", gathered(events))
    assert fields["status"] == "RUNNING"
    assert fields["finished_at"] is None
    latest = [event for event in events if event.source_id == "b" and hasattr(event, "power_avg_w")][-1]
    assert fields["power_w"] == pytest.approx(latest.power_avg_w)


@pytest.mark.parametrize(
    ("ends", "status"),
    [
        ([RunStatus.COMPLETED, RunStatus.COMPLETED], "COMPLETED"),
        ([RunStatus.COMPLETED, RunStatus.STOPPED], "STOPPED"),
        ([RunStatus.STOPPED, RunStatus.FAILED], "FAILED"),
        ([RunStatus.COMPLETED, RunStatus.UNKNOWN], "UNKNOWN"),
    ],
)
def test_the_worst_end_of_any_source_is_the_runs(ends: list[RunStatus], status: str) -> None:
    """A run has failed when one of its sources has."""
    sources = gathered([event for k in range(len(ends)) for event in run_events("run", source_id=f"s{k}")])
    for k, end in enumerate(ends):
        sources[f"s{k}"]["finished"]["status"] = end.value
    assert own_fields("run", sources)["status"] == status


def test_a_start_that_comes_late_is_still_told() -> None:
    """The facts of RunStarted stand in the summary even when they arrive last, and date the run's start."""
    events = run_events("run")
    fields = gathered(events[1:] + events[:1])["source"]
    assert fields["started"]["hyperparameters"] == [{"k": "a.b", "v": "$1"}]
    assert fields["first_timestamp_us"] == int(START.timestamp() * 1_000_000)
