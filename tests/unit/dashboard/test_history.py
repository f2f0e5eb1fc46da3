"""What a viewer holds of a run, and what it asks for next."""

from __future__ import annotations

import datetime
import itertools

import pytest

from tests.dashboard_runs import raw_documents, recorded_run
from wattline_common.store import event_id
from wattline_dashboard.history import RunHistory

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def test_asks_only_for_what_is_new() -> None:
    """A number that was fetched is not asked for again; new ones are."""
    documents = raw_documents(recorded_run("r", START, seconds=5))
    history = RunHistory("r")
    assert sorted(history.missing({"source-1": 10}, 100)) == sorted(document["_id"] for document in documents)
    history.add(documents)
    assert history.missing({"source-1": 10}, 100) == []
    assert history.missing({"source-1": 12}, 100) == ["r|source-1|12", "r|source-1|11"]
    assert (len(history.samples), len(history.steps)) == (5, 5)


def test_gives_up_on_what_never_came() -> None:
    """A number that the source dropped is asked for a few times and then no more."""
    history = RunHistory("r")
    asked = [history.missing({"s": 0}, 10) for _ in range(8)]
    assert asked[0] == ["r|s|0"]
    assert asked[-1] == []


def test_newest_first_within_the_limit() -> None:
    """When not all fit one call, the newest come first."""
    assert RunHistory("r").missing({"s": 99}, 3) == ["r|s|99", "r|s|98", "r|s|97"]


def test_long_runs_are_thinned_evenly() -> None:
    """A run with too many events is asked for in part: within the bound, the newest included, no kind left out."""
    history = RunHistory("r", max_held=1_000)
    asked = history.missing({"s": 49_999}, 100_000)
    numbers = [int(identity.rpartition("|")[2]) for identity in asked]
    assert history.thinning == 64
    assert 600 < len(numbers) <= 1_001
    assert numbers[0] == 49_999
    assert 0.4 < sum(number % 2 for number in numbers) / len(numbers) < 0.6
    assert history.missing({"s": 49_999}, 100_000) == asked
    gaps = [first - second for first, second in itertools.pairwise(numbers)]
    assert max(gaps) < 64 * 4


def test_curves_are_in_order_of_time() -> None:
    """Events that come in any order are given in order."""
    documents = raw_documents(recorded_run("r", START, seconds=20))
    history = RunHistory("r")
    history.add(reversed(documents))
    times = [sample.timestamp_us for sample in history.samples]
    assert times == sorted(times)
    assert len(times) == 20


def test_power_of_a_kind_is_the_sum_of_its_devices() -> None:
    """Two devices of a kind draw together; a sample without devices is not lost."""
    (document,) = (each for each in raw_documents(recorded_run("r", START, seconds=1)) if "devices" in each)
    cpu, memory = document["devices"]
    history = RunHistory("r")
    history.add([document | {"devices": [cpu, cpu, memory]}])
    (sample,) = history.samples
    assert sample.power_w == {"CPU": 2 * cpu["power_w"], "MEMORY": memory["power_w"]}
    history.add([document | {"devices": []}])
    (sample,) = history.samples
    assert sample.power_w == {"OTHER": document["power_avg_w"]}


@pytest.mark.parametrize("highest", [2**32, 2**62, 2**63 - 1])
def test_a_source_that_numbers_as_it_likes_keeps_nobody_waiting(highest: int) -> None:
    """Its newest event is asked for, and no more numbers are looked at than a real run has."""
    history = RunHistory("run")
    asked = history.missing({"one": highest, "two": highest}, limit=2_000)
    assert event_id("run", "one", highest) in asked
    assert len(asked) < 2_000
