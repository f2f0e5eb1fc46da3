"""A fleet on the whole line, through duplicates, disorder and SIGKILLs: then every run to its millijoule.

WATTLINE_TEST_SEED and WATTLINE_TEST_KILLS repeat a run of it, or ask for more.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.ledgers import fleet_figures, ledger_differences, millijoules
from tests.line import DEADLINE_S, Line, running_line, wait_for
from wattline_common import store
from wattline_stack import StackSettings
from wattline_stack.services import Service
from wattline_streaming.audit import Audit, audit

KILLS = int(os.environ.get("WATTLINE_TEST_KILLS", "2"))
SEED = int(os.environ.get("WATTLINE_TEST_SEED", "1"))

pytestmark = pytest.mark.timeout(1200 + 60 * KILLS)


@dataclass
class Outcome:
    """What the fleet emitted, how the stream was killed, and what the store ended in."""

    line: Line
    fleet: dict[str, Any]
    training: dict[str, Any]
    stored_at_kills: list[int]
    settled_after_s: float
    audit: Audit


@pytest.fixture(scope="module")
def outcome(stack_settings: StackSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """Run a real training, then a day of 20 runs with 5 % duplicates and 10 minutes of disorder, through SIGKILLs."""
    with running_line(tmp_path_factory.mktemp("fleet"), WATTLINE_MAX_OFFSETS_PER_TRIGGER="2000") as line:
        yield run(line)


def run(line: Line) -> Outcome:
    """Do what the fixture promises and return all that the tests compare."""
    training_ledger, fleet_ledger = line.data_dir / "training.json", line.data_dir / "fleet.json"
    stream = line.start_stream()
    options = ["--minutes", "60", "--emit-interval", "1", "--run-id", "digits", "--ledger", str(training_ledger)]
    training = line.services.start("training", ["wattline_trainer", "digits", *options])
    wait_for(lambda: line.stored() > 0, lambda: "the live run's first event in the store")
    options = ["--runs", "20", "--days", "1", "--seed", str(SEED), "--ledger", str(fleet_ledger)]
    faults = ["--duplicates", "0.05", "--disorder-s", "600"]
    fleet = line.services.start("fleet", ["wattline_trainer", "simulate", *options, *faults])
    stored_at_kills, stream = kill_at_random_moments(line, stream)
    assert fleet.wait(DEADLINE_S), "the fleet was not written"
    assert fleet.exit_code == 0, fleet.tail()
    training.signal(signal.SIGTERM)
    assert training.wait(DEADLINE_S), "the training ignored SIGTERM"
    ledgers = [json.loads(path.read_text()) for path in (training_ledger, fleet_ledger)]
    expected = ledgers[0]["events_emitted"] + ledgers[1]["totals"]["events"]
    wait_for(lambda: line.stored() >= expected, lambda: f"{expected} raw events; there are {line.stored()}")

    def settled() -> bool:
        found = audit(line.database)
        return found.clean and found.open_windows == 0

    settled_after_s = wait_for(settled, lambda: f"all windows settled: {audit(line.database).as_counts()}")
    return Outcome(line, ledgers[1], ledgers[0], stored_at_kills, settled_after_s, audit(line.database))


def kill_at_random_moments(line: Line, stream: Service) -> tuple[list[int], Service]:
    """Kill and restart the stream at seeded moments of its work; return how much was stored at each, and the last."""
    rng, stored = random.Random(SEED), list[int]()
    for _ in range(KILLS):
        stored.append(kill_at_work(line, stream, after_s=rng.uniform(0.0, 4.0)))
        stream = line.start_stream()
    return stored, stream


def kill_at_work(line: Line, stream: Service, after_s: float) -> int:
    """Kill the stream some time after it is seen to store something; return how much was stored by then."""
    before = line.stored()
    wait_for(lambda: line.stored() > before, lambda: f"the stream at work: {stream.tail()}")
    moment_s = time.monotonic() + after_s
    wait_for(lambda: time.monotonic() >= moment_s, lambda: "the moment")
    stored = line.stored()
    assert line.kill(stream) == -signal.SIGKILL, f"the kill hit nothing: {stream.tail()}"
    return stored


def test_the_stream_was_killed_while_it_had_work(outcome: Outcome) -> None:
    """Every kill hit a stream that had stored something since its start, and left work to do."""
    total = outcome.audit.counts[store.TRAINING_METRICS]
    stored = [0, *outcome.stored_at_kills, total]
    assert len(outcome.stored_at_kills) == KILLS
    assert all(before < after for before, after in itertools.pairwise(stored)), stored


def test_every_run_equals_the_ledger(outcome: Outcome) -> None:
    """Each of the 20 runs has the ledger's events, exactly, and its energy, to the millijoule, in every collection."""
    assert len(outcome.fleet["runs"]) == 20
    assert not ledger_differences(outcome.line.database, outcome.audit, fleet_figures(outcome.fleet))
    stored = {run.run_id: run for run in outcome.audit.runs}
    assert stored["digits"].events == outcome.training["events_emitted"]
    assert stored["digits"].energy_kwh == pytest.approx(outcome.training["energy_kwh"], rel=1e-9)
    assert len(stored) == 21


def test_the_fleet_is_marked_as_simulated(outcome: Outcome) -> None:
    """Every run of it, and not the real training."""
    summaries = outcome.line.database[store.TRAINING_RUN_SUMMARY].find()
    assert {run["_id"] for run in summaries if run["simulated"]} == outcome.fleet["runs"].keys()


def test_daily_rollups_equal_the_ledger(outcome: Outcome) -> None:
    """The days of each user of simulated runs sum to the ledger's energy of these runs, to the millijoule."""
    database = outcome.line.database
    users = {run["_id"]: run["user_id"] for run in database[store.TRAINING_RUN_SUMMARY].find({}, {"user_id": 1})}
    wanted = {"dimension": "user_id", "simulated": True, "length_s": store.DAY_S}
    found: dict[str, list[float]] = {}
    for day in database[store.AGGREGATED_ROLLUPS].find(wanted):
        found.setdefault(day["key"], []).append(day["aggregate"]["energy_kwh"])
    expected: dict[str, int] = {}
    for run_id, run in outcome.fleet["runs"].items():
        expected[users[run_id]] = expected.get(users[run_id], 0) + run["energy_millijoules"]
    assert {user: millijoules(days) for user, days in found.items()} == expected
    assert sum(expected.values()) == outcome.fleet["totals"]["energy_millijoules"]


def test_the_audit_is_clean_and_all_is_settled_within_a_minute(outcome: Outcome) -> None:
    """No difference, no window open, nothing missing, within a minute of the last event's arrival in the store."""
    assert outcome.audit.clean, outcome.audit.as_text()
    assert outcome.audit.open_windows == 0
    assert outcome.audit.as_counts().endswith("\nOK")
    assert outcome.audit.counts[store.REJECTED_EVENTS] == 0
    assert outcome.settled_after_s < 60
