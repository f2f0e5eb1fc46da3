"""A replay of the whole topic into an empty store ends in the same collections."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.collections_equal import Contents, collections_difference, contents
from tests.line import DEADLINE_S, Line, running_line, topic_messages, wait_for
from wattline_common import kafka, store
from wattline_stack import StackSettings
from wattline_stack.services import Service
from wattline_streaming.audit import Audit, audit

pytestmark = pytest.mark.timeout(900)

FLEET = ["--runs", "6", "--days", "0.1", "--seed", "5", "--duplicates", "0.1", "--disorder-s", "600"]


@dataclass
class Outcome:
    """What was sent, and what the store held after the first stream and after the replay."""

    events: int
    messages: int
    first: Contents
    first_audit: Audit
    second: Contents
    second_audit: Audit


@pytest.fixture(scope="module")
def outcome(stack_settings: StackSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """Stream a fleet with duplicates and disorder while it is written; then all of it anew, into an empty store."""
    with running_line(tmp_path_factory.mktemp("replay"), WATTLINE_MAX_OFFSETS_PER_TRIGGER="300") as line:
        ledger = line.data_dir / "fleet.json"
        stream = line.start_stream()
        fleet = line.services.start("fleet", ["wattline_trainer", "simulate", *FLEET, "--ledger", str(ledger)])
        assert fleet.wait(DEADLINE_S), "the fleet was not written"
        assert fleet.exit_code == 0, fleet.tail()
        events = json.loads(ledger.read_text())["totals"]["events"]
        first_audit = end_settled(line, stream, events)
        first = contents(line.database)
        line.database.client.drop_database(line.database.name)
        shutil.rmtree(line.data_dir / "checkpoint")
        second_audit = end_settled(line, line.start_stream(), events)
        messages = len(topic_messages(line.endpoints, kafka.TRAINING_EVENTS))
        yield Outcome(events, messages, first, first_audit, contents(line.database), second_audit)


def end_settled(line: Line, stream: Service, events: int) -> Audit:
    """Wait until the store has every event and no window is open, and stop the stream; return the audit."""

    def settled() -> bool:
        return line.stored() >= events and line.database[store.DIRTY_WINDOWS].count_documents({}) == 0

    wait_for(settled, lambda: f"{events} events, settled: {audit(line.database).as_counts()} {stream.tail()}")
    stream.signal(signal.SIGTERM)
    assert stream.wait(60), "SIGTERM did not stop the stream"
    assert stream.exit_code == 0, stream.tail()
    return audit(line.database)


def test_a_replay_into_an_empty_store_ends_in_the_same_collections(outcome: Outcome) -> None:
    """Invariant 2: raw events, summaries and windows are those of the first time."""
    assert len(outcome.first[store.TRAINING_METRICS]) == outcome.events > 500
    assert outcome.messages > outcome.events, "some were sent twice"
    assert collections_difference(outcome.second, outcome.first) is None


def test_both_are_clean(outcome: Outcome) -> None:
    """Each time the audit finds nothing wrong, and nothing missing."""
    for found in (outcome.first_audit, outcome.second_audit):
        assert found.clean, found.as_text()
        assert sum(run.events for run in found.runs) == outcome.events
        assert all(run.missing_events == 0 for run in found.runs)
