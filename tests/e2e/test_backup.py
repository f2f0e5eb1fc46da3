"""The drill: a line is saved, its folder is lost, and from the archive it goes on as if nothing had been."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import dataclass

import pytest

from tests.collections_equal import Contents, collections_difference, contents
from tests.ledgers import RunFigures, fleet_figures, ledger_differences
from tests.line import DEADLINE_S, Line, running_line, wait_for
from wattline_common import kafka, store
from wattline_stack import StackSettings
from wattline_stack.backup import backup, restore
from wattline_stack.progress import SilentProgress
from wattline_streaming.audit import Audit, audit
from wattline_streaming.backlog import committed_offsets, unread

pytestmark = pytest.mark.timeout(900)

_SILENT = SilentProgress()


@dataclass
class State:
    """What store and topic held, and what of the topic the stream had not read."""

    contents: Contents
    offsets: dict[int, tuple[int, int]]
    unread: dict[int, tuple[int, int]]

    @classmethod
    def of(cls, line: Line) -> State:
        """Look at a line."""
        topic = kafka.offsets(line.endpoints.kafka_bootstrap_servers, kafka.TRAINING_EVENTS)
        checkpoint = max((line.data_dir / "checkpoint").glob("generation-*"))
        return cls(contents(line.database), topic, unread(topic, committed_offsets(checkpoint)))


@dataclass
class Drill:
    """A line when it was saved, when it was back, and what more events then led to."""

    saved: State
    restored: State
    expected: dict[str, RunFigures]
    differences: list[str]
    audit: Audit


@pytest.fixture(scope="module")
def drill(stack_settings: StackSettings, tmp_path_factory: pytest.TempPathFactory) -> Drill:
    """Save a line after a first fleet, lose its folder, restore it, and send a second fleet."""
    folder = tmp_path_factory.mktemp("backup")
    data_dir, archive = folder / "data", folder / "saved.tar.gz"
    with running_line(data_dir) as line:
        expected = _fleet(line, "first", "--runs", "4", "--seed", "11")
        _stream(line, expected)
        saved = State.of(line)
    backup(data_dir, archive, _SILENT)
    shutil.rmtree(data_dir)
    restore(archive, data_dir, _SILENT)
    with running_line(data_dir) as line:
        restored = State.of(line)
        expected |= _fleet(line, "second", "--runs", "3", "--seed", "12")
        _stream(line, expected)
        found = audit(line.database)
        return Drill(saved, restored, expected, ledger_differences(line.database, found, expected), found)


def _fleet(line: Line, name: str, *options: str) -> dict[str, RunFigures]:
    ledger = line.data_dir / f"{name}.json"
    arguments = ["simulate", "--days", "0.1", "--ledger", str(ledger), *options]
    fleet = line.services.start(name, ["wattline_trainer", *arguments])
    assert fleet.wait(DEADLINE_S), "the fleet was not written"
    assert fleet.exit_code == 0, fleet.tail()
    line.services.end(fleet, 10)
    return fleet_figures(json.loads(ledger.read_text()))


def _stream(line: Line, expected: dict[str, RunFigures]) -> None:
    """Run the stream until it has taken all there is and settled it; end it by SIGTERM."""
    stream = line.start_stream()
    events = sum(run.events for run in expected.values())

    def settled() -> bool:
        return line.stored() >= events and line.database[store.DIRTY_WINDOWS].count_documents({}) == 0

    wait_for(settled, lambda: f"{events} events, settled: {audit(line.database).as_counts()} {stream.tail()}")
    stream.signal(signal.SIGTERM)
    assert stream.wait(60), "SIGTERM did not stop the stream"
    assert stream.exit_code == 0, stream.tail()
    line.services.end(stream, 10)


def test_what_is_restored_is_what_was_saved(drill: Drill) -> None:
    """The three collections, the topic with its offsets, and the checkpoint: nothing is read a second time."""
    assert len(drill.saved.contents[store.TRAINING_METRICS]) > 500
    assert collections_difference(drill.restored.contents, drill.saved.contents) is None
    assert drill.restored.offsets == drill.saved.offsets
    assert drill.restored.unread == drill.saved.unread
    assert all(first == after for first, after in drill.restored.unread.values())
    assert sum(after for _, after in drill.saved.offsets.values()) > 500


def test_the_restored_line_goes_on(drill: Drill) -> None:
    """It takes new events where it had stopped; all are there once, to the millijoule of both fleets' ledgers."""
    assert len(drill.expected) == 7
    assert drill.differences == []
    assert drill.audit.clean, drill.audit.as_text()
    assert sum(run.events for run in drill.audit.runs) == sum(run.events for run in drill.expected.values())
