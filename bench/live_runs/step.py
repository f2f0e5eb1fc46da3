"""So many live runs for so long, on a line of its own; in the end, what was acknowledged must be stored once."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import KafkaException
from pymongo.errors import PyMongoError

from bench.live_runs.looks import Look, Watcher, totals
from bench.live_runs.shows import shows
from bench.live_runs.verdict import Break, breaks
from tests.ledgers import RunFigures, fleet_figures, ledger_differences
from tests.line import Line, running_line, wait_for
from tests.probes import Probes
from wattline_common import store
from wattline_common.errors import ResourceError, WattlineError
from wattline_stack.ports import keep_ports
from wattline_stack.services import Service
from wattline_streaming.audit import audit

__all__ = ["Booking", "Plan", "Step", "step"]

_AS_DELIVERED = ("WATTLINE_SPARK_DRIVER_JAVA_OPTIONS", "WATTLINE_SETTLE_DELAY_S", "WATTLINE_SETTLE_INTERVAL_S")
_STANDSTILL_S = 120.0
_MOST_CHARACTERS = 100  # of a problem, at each look; the end tells it whole
_END_WITHIN_S = 300.0
_NOTICED_WITHIN_S = 90.0
_SERVER_FAULTS = (KafkaException, PyMongoError, psutil.Error, AssertionError, WattlineError)
_Fleets = Sequence[tuple[Service, Path]]


@dataclass(frozen=True)
class Plan:
    """What a step is: runs at once, by how many simulators, and a look every few seconds."""

    live: int
    seconds: float
    simulators: int = 1
    every_s: float = 10.0
    store_heap_mb: int = 4000


@dataclass(frozen=True)
class Booking:
    """What became of all that was acknowledged, and how long after the last event all was stored, and settled.

    ``is_once`` is None when it could not be compared.
    """

    is_once: bool | None
    words: str
    stored_s: float | None = None
    settled_s: float | None = None


@dataclass(frozen=True)
class Step:
    """What a step showed."""

    plan: Plan
    looks: list[Look]
    breaks: list[Break]
    booking: Booking
    shown: list[str]

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def step(plan: Plan, say: Callable[[str], None]) -> Step:
    """Run a step on servers of its own, with the stream's own defaults, and say each look."""
    as_delivered = dict.fromkeys(_AS_DELIVERED, "")
    with tempfile.TemporaryDirectory(prefix="wattline-load-") as name:
        folder = Path(name)
        port = keep_ports(folder, ["http"])["http"]
        with running_line(folder, plan.store_heap_mb, WATTLINE_HTTP_PORT=str(port), **as_delivered) as line:
            return _step(plan, line, Probes(port), say)


def _step(plan: Plan, line: Line, probes: Probes, say: Callable[[str], None]) -> Step:
    stream = line.start_stream()
    wait_for(probes.is_ready, lambda: f"a stream that is ready: {stream.tail()}")
    fleets = [_simulator(line, plan, number) for number in range(plan.simulators)]
    watcher = Watcher(line, stream, probes, fleets)
    try:
        looks, dead = _looks(plan, watcher, fleets, say)
        found = breaks(looks, dead)
        if dead:
            _noticed(probes)
        shown = shows(line, probes, stream) if found else []
        try:
            booking = Booking(None, "not compared: a process has ended") if dead else _booked(line, watcher, fleets)
        except _SERVER_FAULTS as error:
            booking = Booking(None, f"not compared: {error}")
        return Step(plan, looks, found, booking, shown)
    finally:
        watcher.close()


def _simulator(line: Line, plan: Plan, number: int) -> tuple[Service, Path]:
    """Start one of the simulators with its share of the runs."""
    share = plan.live // plan.simulators + (number < plan.live % plan.simulators)
    ledger = line.data_dir / f"simulator-{number}.json"
    options = {"--runs": 0, "--live": share, "--for": plan.seconds, "--seed": number, "--ledger": ledger}
    arguments = [str(part) for option in options.items() for part in option]
    return line.services.start(f"simulator-{number}", ["wattline_trainer", "simulate", *arguments]), ledger


def _looks(plan: Plan, watcher: Watcher, fleets: _Fleets, say: Callable[[str], None]) -> tuple[list[Look], str]:
    """Look until the step's time is over or a process has ended; return the looks, and who ended."""
    looks: list[Look] = []
    began_s = time.monotonic()
    while time.monotonic() - began_s < plan.seconds and any(fleet.exit_code is None for fleet, _ in fleets):
        time.sleep(plan.every_s)
        try:
            looks.append(watcher.look())
        except _SERVER_FAULTS as error:
            say(f"a look failed: {error}")
        else:
            say(_line(looks[-1]))
        if dead := watcher.dead():
            return looks, dead
    return looks, ""


def _line(look: Look) -> str:
    return (
        f"{look.at_s:5.0f} s  {look.written:8d} written  {look.lag:7d} behind ({look.lag_s:4.0f} s)  simulator "
        f"{look.producer_late_s:4.1f} s late, {look.undelivered} undelivered  load {look.load_average:.1f}"
        f"{'' if look.ready else f'  NOT READY: {look.told[:_MOST_CHARACTERS]}'}"
    )


def _noticed(probes: Probes) -> None:
    """Give the stream the time to notice that a server has ended, as a person would see it."""
    until_s = time.monotonic() + _NOTICED_WITHIN_S
    while probes.is_ready() and time.monotonic() < until_s:
        time.sleep(1)


def _booked(line: Line, watcher: Watcher, fleets: _Fleets) -> Booking:
    """Wait for all that was acknowledged, and compare it with the ledgers."""
    if not all(fleet.wait(_END_WITHIN_S) for fleet, _ in fleets):
        return Booking(None, f"not compared: a simulator did not end within {_END_WITHIN_S:.0f} s of its time")
    if any(fleet.exit_code for fleet, _ in fleets):
        return Booking(None, f"not compared: a simulator failed: {[fleet.tail() for fleet, _ in fleets]}")
    expected: dict[str, RunFigures] = {}
    for _, ledger in fleets:
        expected |= fleet_figures(json.loads(ledger.read_text(encoding="utf-8")))
    delivered, began_s = sum(totals(ledger)["messages_delivered"] for _, ledger in fleets), time.monotonic()
    events, windows = line.database[store.TRAINING_METRICS], line.database[store.DIRTY_WINDOWS]
    try:
        if told := _waited(
            lambda: delivered - events.estimated_document_count(), watcher, "events that are not stored"
        ):
            return Booking(False, told)
        stored_s = time.monotonic() - began_s
        if told := _waited(windows.estimated_document_count, watcher, "windows that are not settled"):
            return Booking(False, told, stored_s)
    except ResourceError as error:
        return Booking(None, f"not compared: {error}")
    settled_s = time.monotonic() - began_s
    found = audit(line.database)
    differences = [*ledger_differences(line.database, found, expected), *([] if found.clean else [found.as_text()])]
    if differences or line.stored() != delivered:
        told = f"{line.stored()} stored of {delivered}; {len(differences)} differences: {differences[:3]}"
        return Booking(False, told, stored_s, settled_s)
    told = f"{delivered:,} events of {len(expected):,} runs, each once, to the millijoule; the audit is clean"
    return Booking(True, told, stored_s, settled_s)


def _waited(left: Callable[[], int], watcher: Watcher, what: str) -> str:
    """Wait until nothing is left, or return what stands still; raise `ResourceError` when a process has ended."""
    before, since_s = -1, time.monotonic()
    while time.monotonic() - since_s < _STANDSTILL_S:
        if dead := watcher.dead():
            raise ResourceError(dead)
        if (now := left()) == 0:
            return ""
        if now != before:
            before, since_s = now, time.monotonic()
        time.sleep(0.5)
    return f"though all runs, for {_STANDSTILL_S:.0f} s there were {before} {what}"
