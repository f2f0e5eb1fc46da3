"""Messages that come twice, out of order and a day late, and a stream that has lost its checkpoint.

WATTLINE_TEST_SEED varies the histories; WATTLINE_TEST_KILLS is how often each is done.
"""

from __future__ import annotations

import datetime
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract_line import ContractLine
from tests.events import run_events
from tests.faults.faulted_line import KILLS, FaultedLine, faulted_line, now
from tests.ledgers import event_figures
from tests.line import wait_for
from wattline_common import kafka, store
from wattline_common.store import SETTLEMENT
from wattline_stack import StackSettings

pytestmark = pytest.mark.timeout(600 + 120 * KILLS)

SAMPLES = 600
RUNS = 5


@pytest.fixture(scope="module")
def line(stack_settings: StackSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultedLine]:
    """Run a line for all histories."""
    with faulted_line(tmp_path_factory.mktemp("histories"), batch=2000) as faulted:
        yield faulted


def settlements(line: FaultedLine, run_id: str) -> dict[str, int]:
    """Return how often each window of a run was settled anew."""
    windows = line.line.database[store.AGGREGATED_METRICS].find({"run_id": run_id}, {"aggregate.revision": 1})
    return {window["_id"]: window["aggregate"]["revision"] // SETTLEMENT for window in windows}


def messages(line: FaultedLine) -> int:
    """Return how many messages the topic has."""
    offsets = kafka.offsets(line.line.endpoints.kafka_bootstrap_servers, kafka.TRAINING_EVENTS)
    return sum(after - first for first, after in offsets.values())


def test_duplicates_disorder_and_a_day_late_end_right(line: FaultedLine) -> None:
    """30 % twice, a minute of disorder, a third of a run a day late: windows long settled are settled again."""
    contract = ContractLine(line.line)
    line.wait_until_up()
    for kill in range(KILLS):
        come_late(line, contract, kill)
    line.assert_healed(time.monotonic())


def come_late(line: FaultedLine, contract: ContractLine, kill: int) -> None:
    """Hold a third of a run of yesterday back until all else is settled; then send it, a third of it twice."""
    chance, run_id = line.chance("late", kill), f"late-{kill}"
    start = now() - datetime.timedelta(days=1, hours=1)
    events = run_events(run_id, samples=SAMPLES, start=start, seed=chance.randrange(1000))
    line.expected |= event_figures(events)
    late = chance.sample(events, len(events) // 3)
    seqs = {event.seq for event in late}
    contract.produce([event for event in events if event.seq not in seqs])
    before = messages(line)
    options = ["--days", "0.1", "--duplicates", "0.3", "--disorder-s", "60"]
    emitted = line.expect_fleet(*line.simulate("--runs", str(RUNS), *options))
    assert messages(line) - before > 1.2 * sum(run.events for run in emitted.values()), "the duplicates must be there"
    wait_for(lambda: line.lag() == 0 and line.unsettled() == 0, lambda: f"a settled line: {line.stream.tail()}")
    touched = {store.window_id(run_id, store.window_start_us(round(e.timestamp.timestamp() * 1e6))) for e in late}
    settled = {key: times for key, times in settlements(line, run_id).items() if key in touched}
    assert len(settled) >= SAMPLES // 60 - 1
    contract.produce([*late, *chance.sample(late, len(late) // 3)])
    wait_for(
        lambda: all(settlements(line, run_id)[key] > times for key, times in settled.items()),
        lambda: f"all of {settled} to be settled again: {settlements(line, run_id)}",
    )


def test_a_lost_checkpoint_costs_a_second_reading_only(line: FaultedLine) -> None:
    """The stream is killed at work, its checkpoint deleted: the topic is read from its start, the end is the same."""
    for kill in range(KILLS):
        lose_the_checkpoint(line, kill)
    line.assert_healed(line.wait_until_up())


def lose_the_checkpoint(line: FaultedLine, kill: int) -> None:
    """Kill the stream while it has read a part of a history, and start it without a checkpoint."""
    more = line.line.stored() + line.chance("checkpoint", kill).randint(1, 800)
    history = line.history(RUNS)
    wait_for(lambda: line.line.stored() >= more, lambda: f"{more} events: {line.stream.tail()}")
    line.kill_stream()
    shutil.rmtree(Path(line.line.data_dir, "checkpoint"))
    line.start_stream()
    line.expect_fleet(*history)
    wait_for(lambda: 0 in line.batches("offsets"), lambda: f"the first batch of all: {line.stream.tail()}")
