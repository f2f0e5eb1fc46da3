"""A server under the running stream is killed, frozen or away: nothing is lost, and no lag is left a minute later.

WATTLINE_TEST_SEED varies the moments; WATTLINE_TEST_KILLS is how often each server is struck.
"""

from __future__ import annotations

import datetime
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.contract_line import ContractLine, next_version
from tests.events import run_events
from tests.faults.faulted_line import KILLS, FaultedLine, Struck, faulted_line, now
from tests.faults.stream_places import WRITES
from tests.ledgers import event_figures
from tests.line import wait_for
from wattline_common.events import StepCompleted
from wattline_common.registry import subject
from wattline_stack import StackSettings
from wattline_stack.services import Service

pytestmark = pytest.mark.timeout(600 + 120 * KILLS)

FROZEN_S = 30.0
RUNS_PER_FAULT = 5
STEP = StepCompleted.AVRO_NAME


@pytest.fixture(scope="module")
def line(stack_settings: StackSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultedLine]:
    """Run a line for all faults."""
    with faulted_line(tmp_path_factory.mktemp("servers"), batch=2000) as faulted:
        yield faulted


@pytest.fixture(scope="module")
def contract(line: FaultedLine) -> ContractLine:
    """Give producers that need no registry, as they know their ids."""
    return ContractLine(line.line)


def strike_store(line: FaultedLine, number: signal.Signals, of: int, *, wait_share: float) -> Struck:
    """Send the store a signal while it is at a write of the stream, drawn by the seed; return the moment and whose."""
    chance = line.chance(number.name, of)
    victim = line.server_pid("store")
    line.arm(chance.choice(WRITES), passes=1, signal=number, victim=victim, wait_share=wait_share)
    history = line.history(RUNS_PER_FAULT)
    struck = line.struck()
    line.expect_fleet(*history)
    return struck


def test_a_store_killed_in_mid_write_loses_nothing(line: FaultedLine) -> None:
    """Each counted kill left writes of the stream without an answer; the store comes back, and all of it is there."""
    hits, tries = 0, 0
    while hits < KILLS:
        tries += 1
        assert tries <= 4 * KILLS, f"only {hits} of {tries} kills hit a write"
        struck = strike_store(line, signal.SIGKILL, tries, wait_share=line.chance("share", tries).uniform(0.1, 0.5))
        wait_for(lambda: line.server_pid("store") == 0, lambda: "the store to be dead")
        line.line.stack.restart("store")
        hits += any(write["failed"] for write in line.writes_under_way(struck["at_s"]))
    line.assert_healed(time.monotonic())


def test_a_store_frozen_for_half_a_minute_loses_nothing(line: FaultedLine) -> None:
    """What was sent to it may be done after it was given up and sent again: it counts once all the same."""
    for freeze in range(KILLS):
        freeze_store(line, freeze)
    line.assert_healed(time.monotonic())


def freeze_store(line: FaultedLine, freeze: int) -> None:
    """Freeze the store at a write; thaw it after half a minute, when that write ends in one way or another.

    It may end with its process, which Spark ends when the query stops: then nobody is left to note it.
    """
    struck = strike_store(line, signal.SIGSTOP, freeze, wait_share=0.0)
    at_s, writer = struck["at_s"], struck["pid"]
    wait_for(lambda: time.monotonic() >= at_s + FROZEN_S, lambda: "the end of the frost", FROZEN_S)
    os.kill(line.server_pid("store"), signal.SIGCONT)
    wait_for(
        lambda: bool(line.writes_under_way(at_s)) or not psutil.pid_exists(writer),
        lambda: "a write that was under way as it froze",
    )


def test_a_broker_killed_under_live_runs_loses_nothing(line: FaultedLine) -> None:
    """Producers wait for it with what they have emitted meanwhile; the stream reads on by itself."""
    fleet, ledger = line.simulate("--runs", "0", "--live", "6", "--speed", "8", "--emit-interval", "2")
    for kill in range(KILLS):
        more = line.line.stored() + line.chance("broker", kill).randint(50, 300)
        kill_broker(line, fleet, ledger, more)
    fleet.signal(signal.SIGTERM)
    line.expect_fleet(fleet, ledger, exit_code=128 + signal.SIGTERM)
    line.assert_healed(time.monotonic())


def kill_broker(line: FaultedLine, fleet: Service, ledger: Path, more: int) -> None:
    """Kill it once so many events are stored; start it again when the fleet has events that it cannot deliver."""
    wait_for(lambda: line.line.stored() >= more, lambda: f"{more} events: {line.line.stored()}; {fleet.tail()}")
    assert fleet.exit_code is None, "the runs must be live when the broker is killed"
    line.line.stack.kill("kafka")
    delivered = told(ledger)["messages_delivered"]

    def undelivered() -> bool:
        totals = told(ledger)
        return bool(totals["events"] > totals["messages_delivered"] >= delivered)

    wait_for(undelivered, ledger.read_text)
    line.line.stack.restart("kafka")
    wait_for(lambda: told(ledger)["messages_delivered"] > delivered, lambda: f"deliveries: {fleet.tail()}")


def told(ledger: Path) -> Mapping[str, Any]:
    """Return the totals of a fleet's ledger so far."""
    totals: Mapping[str, Any] = json.loads(ledger.read_text())["totals"]
    return totals


def test_a_registry_away_when_a_new_id_comes_rejects_nothing(line: FaultedLine, contract: ContractLine) -> None:
    """An id that cannot be judged waits, and so does what is behind it, until the registry is back."""
    for kill in range(KILLS):
        field = f"of_tomorrow_{kill}"
        ids = {STEP: contract.register(subject(STEP), next_version(STEP, field))}
        line.line.stack.kill("registry")
        events = run_events(f"new-id-{kill}", samples=60, start=now() - datetime.timedelta(hours=1), seed=kill)
        line.expected |= event_figures(events)
        before = line.line.stored()
        line.forget_log()
        contract.produce(events, ids, **{field: 0.5})
        line.wait_for_log("the query stopped", "RegistryUnavailableError", "SCHEMA_REGISTRY_URL")
        assert line.line.stored() < before + len(events), "the new id was judged without a registry"
        line.line.stack.restart("registry")
    line.assert_healed(time.monotonic())


def test_a_registry_away_at_the_start_is_waited_for(line: FaultedLine, contract: ContractLine) -> None:
    """Nothing is read without it; once it is there the stream starts by itself."""
    for kill in range(KILLS):
        line.kill_stream()
        line.line.stack.kill("registry")
        events = run_events(f"at-start-{kill}", samples=60, start=now() - datetime.timedelta(hours=1), seed=kill)
        line.expected |= event_figures(events)
        before = line.line.stored()
        contract.produce(events)
        line.start_stream()
        line.wait_for_log("waiting: ", "SCHEMA_REGISTRY_URL")
        assert line.line.stored() == before
        line.line.stack.restart("registry")
    line.assert_healed(line.wait_until_up())
