"""Faults of what the stream leans on: Kafka, the registry, the store, the network to it, all at once."""

from __future__ import annotations

import datetime
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import IO

import psutil
import pytest

from tests.contract_line import next_version
from tests.events import run_events
from tests.faults.campaign import Campaign, Kind
from tests.faults.disks import filled
from tests.faults.faulted_line import now
from tests.faults.stream_places import WRITES
from tests.ledgers import event_figures
from tests.line import wait_for
from wattline_common.errors import ResourceError
from wattline_common.events import StepCompleted
from wattline_common.registry import subject

__all__ = ["SERVER_KINDS"]

_FROZEN_S = 30.0
_AWAY_S = 60.0
_NOTICED_S = 90.0
_STEP = StepCompleted.AVRO_NAME


def _until(moment_s: float) -> None:
    """Let a frost last until a moment, which is what it is."""
    wait_for(lambda: time.monotonic() >= moment_s, lambda: "a moment to come", moment_s - time.monotonic() + 1)


def _freeze(pid: int, notice: Callable[[], bool], what: Callable[[], str]) -> None:
    """Freeze a process for half a minute; somebody must notice, or it hit nothing."""
    thaw_s = time.monotonic() + _FROZEN_S
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for(notice, what, _NOTICED_S)
        _until(thaw_s)
    finally:
        os.kill(pid, signal.SIGCONT)


def _end(pid: int, number: signal.Signals) -> None:
    """Send a process a signal that ends it, and wait until it is gone."""
    process = psutil.Process(pid)
    process.send_signal(number)
    process.wait(60)


# Kafka: live runs are always under way, so the fault hits what they cannot deliver.


def _kafka_ended(number: signal.Signals, campaign: Campaign, chance: random.Random) -> str:
    _end(campaign.line.server_pid("kafka"), number)
    wanted = chance.randint(1, 30)
    wait_for(lambda: campaign.undelivered() >= wanted, lambda: "events that cannot be delivered", _NOTICED_S)
    held = campaign.undelivered()
    campaign.line.line.stack.restart("kafka")
    wait_for(lambda: campaign.undelivered() < held, lambda: f"deliveries of {held} events")
    return f"{held} events had to wait"


def _kafka_frozen(campaign: Campaign, chance: random.Random) -> str:  # a frost has one length
    _freeze(campaign.line.server_pid("kafka"), lambda: campaign.undelivered() > 0, lambda: "undelivered events")
    return f"{campaign.undelivered()} events had to wait"


def _kafka_away_for_long(campaign: Campaign, chance: random.Random) -> str:
    run_id = f"away-{campaign.number}"
    campaign.line.line.stack.kill("kafka")
    end_s = time.monotonic() + _AWAY_S * chance.uniform(1.0, 1.5)
    training = campaign.train(run_id, steps=150)  # it begins and ends without a broker
    assert training.wait(60) == 0
    _until(end_s)
    held = campaign.undelivered()
    assert held
    campaign.line.line.stack.restart("kafka")
    flushed = campaign.wattline(run_id, "flush", "--timeout", "60")
    assert flushed.returncode == 0, flushed.stderr
    return f"{held} events of live runs and a whole training had to wait; {flushed.stdout.strip()}"


# The registry: an id that nobody has seen yet comes while it is away.


def _new_id(campaign: Campaign, away: Callable[[], None], back: Callable[[], None]) -> str:
    line, field = campaign.line, f"of_tomorrow_{campaign.number}"
    ids = {_STEP: campaign.contract.register(subject(_STEP), next_version(_STEP, field))}
    away()
    hour = datetime.timedelta(hours=1)
    events = run_events(f"new-id-{campaign.number}", samples=60, start=now() - hour, seed=campaign.number)
    line.expected |= event_figures(events)
    line.forget_log()
    campaign.contract.produce(events, ids, **{field: 0.5})
    line.wait_for_log("the query stopped", "RegistryUnavailableError")
    back()
    return f"{len(events)} events with an id that could not be asked for"


def _registry_ended(number: signal.Signals, campaign: Campaign, chance: random.Random) -> str:
    def away() -> None:
        _end(campaign.line.server_pid("registry"), number)

    return _new_id(campaign, away, partial(campaign.line.line.stack.restart, "registry"))


def _registry_frozen(campaign: Campaign, chance: random.Random) -> str:
    pid = campaign.line.server_pid("registry")
    try:
        return _new_id(campaign, partial(os.kill, pid, signal.SIGSTOP), partial(os.kill, pid, signal.SIGCONT))
    finally:
        os.kill(pid, signal.SIGCONT)


# The store: it is struck while a write of the stream is under way.


def _strike_store(campaign: Campaign, chance: random.Random, number: signal.Signals, share: float) -> float:
    line = campaign.line
    line.arm(chance.choice(WRITES), passes=1, signal=number, victim=line.server_pid("store"), wait_share=share)
    fleet = line.history(3)
    at_s: float = line.struck()["at_s"]
    line.expect_fleet(*fleet)
    return at_s


def _store_ended(number: signal.Signals, campaign: Campaign, chance: random.Random) -> str:
    """Strike until a write was left without an answer: many are over too soon; after SIGTERM it is a later one."""
    for tries in range(1, 9):
        at_s = _strike_store(campaign, chance, number, chance.uniform(0.1, 0.5))
        wait_for(lambda: campaign.line.server_pid("store") == 0, lambda: "the store to be gone")
        campaign.line.line.stack.restart("store")
        line = campaign.line
        struck = line.writes_under_way(at_s) if number == signal.SIGKILL else line.writes()
        if failed := [write for write in struck if write["failed"]]:
            return f"{len(failed)} writes to {failed[0]['collection']} without an answer, at try {tries}"
    return ""


def _store_frozen(campaign: Campaign, chance: random.Random) -> str:
    at_s = _strike_store(campaign, chance, signal.SIGSTOP, 0.0)
    _until(at_s + _FROZEN_S)
    os.kill(campaign.line.server_pid("store"), signal.SIGCONT)
    return f"a write was frozen for {time.monotonic() - at_s:.0f} s"


def _store_slow(campaign: Campaign, chance: random.Random) -> str:
    before = campaign.proxy.carried_bytes
    campaign.proxy.delay_s = chance.uniform(0.1, 0.3)
    try:
        campaign.line.expect_fleet(*campaign.line.history(2))
        _until(time.monotonic() + _FROZEN_S)
    finally:
        delay_s, campaign.proxy.delay_s = campaign.proxy.delay_s, 0.0
    carried = campaign.proxy.carried_bytes - before
    return f"{carried} bytes, each chunk {delay_s * 1000:.0f} ms late" if carried else ""


def _store_cut_off(campaign: Campaign, chance: random.Random) -> str:
    cut = 0
    campaign.line.expect_fleet(*campaign.line.history(2))
    for _ in range(5):
        cut += campaign.proxy.cut()
        _until(time.monotonic() + chance.uniform(0.2, 2.0))
    return f"{cut} connections cut off" if cut else ""


def _store_silent(campaign: Campaign, chance: random.Random) -> str:
    campaign.proxy.kept_bytes, campaign.proxy.silent = 0, True
    try:
        campaign.line.expect_fleet(*campaign.line.history(2))
        _until(time.monotonic() + _FROZEN_S * chance.uniform(0.7, 1.3))
        kept = campaign.proxy.kept_bytes
    finally:
        campaign.proxy.cut()
        campaign.proxy.silent = False
    return f"{kept} bytes that nobody answered" if kept else ""


# The embedded store's journal.


def _journal(campaign: Campaign) -> Path:
    return campaign.data_dir / "store" / "data" / "journal.bin"


def _torn_journal(campaign: Campaign, chance: random.Random) -> str:
    """Leave a part of a record behind its end, as a crash in mid-write does: it was never acknowledged."""
    line = campaign.line
    line.expect_fleet(*line.history(2))
    _end(line.server_pid("store"), signal.SIGKILL)
    with _journal(campaign).open("r+b") as file:
        whole = file.read()
        file.write(whole[-chance.randrange(5, 200) :][:4] + bytes(chance.randrange(1, 40)))
    line.line.stack.restart("store")
    return f"behind {len(whole)} bytes"


def _flipped_journal(campaign: Campaign, chance: random.Random) -> str:
    """Flip a bit anywhere: the start is refused and says where; with the bit as it was, nothing is missing."""
    line = campaign.line
    line.expect_fleet(*line.history(1))
    _end(line.server_pid("store"), signal.SIGKILL)
    with _journal(campaign).open("r+b") as file:
        at = chance.randrange(os.fstat(file.fileno()).st_size)
        mask = 1 << chance.randrange(8)
        _flip(file, at, mask)
        try:
            line.line.stack.restart("store")
        except ResourceError as error:
            told = str(error)
        else:
            pytest.fail(f"a store with a flipped bit at {at} was started")
        finally:
            _flip(file, at, mask)
    line.line.stack.restart("store")
    assert "journal" in told, told
    return f"at byte {at}: the start was refused"


def _flip(file: IO[bytes], at: int, mask: int) -> None:
    file.seek(at)
    (byte,) = file.read(1)
    file.seek(at)
    file.write(bytes([byte ^ mask]))
    file.flush()


def _full_store_disk(campaign: Campaign, chance: random.Random) -> str:
    line = campaign.line
    line.forget_log()
    with filled(campaign.disks["store"]) as filler:
        history = line.history(2)
        wait_for(
            lambda: "No space left" in line.log() or line.server_pid("store") == 0, lambda: line.stream.tail(), 120
        )
        _until(time.monotonic() + chance.uniform(0, 10))
    line.expect_fleet(*history)
    return f"{filler >> 20} MB filled it"


def _all_at_once(campaign: Campaign, chance: random.Random) -> str:
    line = campaign.line
    more = line.line.stored() + chance.randint(20, 200)
    history = line.history(2)
    wait_for(lambda: line.line.stored() >= more, lambda: f"{more} events: {line.stream.tail()}")
    line.kill_stream()
    campaign.page.signal(signal.SIGKILL)
    for name in ("kafka", "registry", "store"):
        os.kill(line.server_pid(name), signal.SIGKILL)
    wait_for(lambda: not any(line.server_pid(name) for name in ("kafka", "registry", "store")), lambda: "their ends")
    lost = campaign.undelivered()
    for name in ("kafka", "registry", "store"):
        line.line.stack.restart(name)
    line.start_stream()
    line.expect_fleet(*history)
    return f"stream, page, Kafka, registry and store; {lost} events of live runs had to wait"


_ENDED: Mapping[str, Callable[[signal.Signals, Campaign, random.Random], str]] = {
    "Kafka": _kafka_ended,
    "registry": _registry_ended,
    "store": _store_ended,
}
SERVER_KINDS = [
    *(Kind(f"{name}: SIGKILL", partial(strike, signal.SIGKILL)) for name, strike in _ENDED.items()),
    *(Kind(f"{name}: SIGTERM", partial(strike, signal.SIGTERM)) for name, strike in _ENDED.items()),
    Kind("Kafka: SIGSTOP for 30 s", _kafka_frozen),
    Kind("registry: SIGSTOP, a new schema id meanwhile", _registry_frozen),
    Kind("store: SIGSTOP for 30 s in mid-write", _store_frozen),
    Kind("Kafka: away for over a minute, a training meanwhile", _kafka_away_for_long),
    Kind("network to the store: slow for 30 s", _store_slow),
    Kind("network to the store: connections cut off", _store_cut_off),
    Kind("network to the store: silent for half a minute", _store_silent),
    Kind("store: a torn record at the journal's end", _torn_journal),
    Kind("store: a bit flipped in the journal", _flipped_journal),
    Kind("store: disk full", _full_store_disk, needs_disks=True),
    Kind("all servers, stream and page: SIGKILL at once", _all_at_once),
]
