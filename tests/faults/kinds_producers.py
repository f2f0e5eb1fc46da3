"""Faults of those who produce: trainings, their spools, their clocks, what the network makes of their messages."""

from __future__ import annotations

import datetime
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from tests.damage import RUN_ID as DAMAGED
from tests.events import run_events
from tests.faults.campaign import Campaign, Kind
from tests.faults.disks import filled, mounted
from tests.faults.faulted_line import now
from tests.ledgers import event_figures
from tests.line import wait_for
from wattline.spool_folders import SpoolRoot
from wattline.spool_segments import segment_paths
from wattline_common import store
from wattline_common.schemas import VERSIONS

__all__ = ["PRODUCER_KINDS"]

_AWAY = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1"}
_LONG = 100_000


def _lived(training: subprocess.Popen[str], campaign: Campaign, run_id: str, chance: random.Random) -> int:
    """Let a training go on for a while; return how many of its events have reached Kafka."""
    wanted = chance.randint(5, 40)
    wait_for(lambda: len(campaign.of_topic(run_id)) >= wanted, lambda: f"{wanted} events of {run_id}", 60)
    assert training.poll() is None
    return wanted


def _training_killed(campaign: Campaign, chance: random.Random) -> str:
    run_id = f"killed-{campaign.number}"
    training = campaign.train(run_id, _LONG)
    seen = _lived(training, campaign, run_id, chance)
    training.kill()
    training.wait()
    flushed = campaign.wattline(run_id, "flush", "--timeout", "60")
    assert flushed.returncode == 0, flushed.stderr
    return f"after {seen} events; then {flushed.stdout.strip()}"


def _training_terminated(campaign: Campaign, chance: random.Random) -> str:
    run_id = f"ended-{campaign.number}"
    training = campaign.train(run_id, _LONG)
    seen = _lived(training, campaign, run_id, chance)
    training.terminate()
    assert training.wait(60) == -signal.SIGTERM  # it has no handler of its own: what is left waits in its spool
    flushed = campaign.wattline(run_id, "flush", "--timeout", "60")
    assert flushed.returncode == 0, flushed.stderr
    return f"after {seen} events; then {flushed.stdout.strip()}"


def _training_frozen(campaign: Campaign, chance: random.Random) -> str:
    run_id = f"frozen-{campaign.number}"
    training = campaign.train(run_id, 400)
    thaw_s = time.monotonic() + 30
    os.kill(training.pid, signal.SIGSTOP)
    try:
        wait_for(lambda: time.monotonic() >= thaw_s, lambda: "the end of the frost", 40)
    finally:
        os.kill(training.pid, signal.SIGCONT)
    assert training.wait(120) == 0
    return "for 30 s; it ended by itself"


def _recorded(campaign: Campaign, run_id: str, steps: int = 300) -> None:
    """Record a training that reaches no server."""
    training = campaign.train(run_id, steps, **_AWAY)
    assert training.wait(120) == 0


def _flush_killed(campaign: Campaign, chance: random.Random) -> str:
    """Kill who publishes a spool while it does; nothing is lost, and what comes twice counts once."""
    run_id = f"flush-{campaign.number}"
    _recorded(campaign, run_id, steps=400 + chance.randrange(200))
    command = [sys.executable, "-m", "wattline", "flush"]
    environment = {**os.environ, **campaign.tracker_environment(run_id)}
    ends = campaign.ends()
    flush = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    campaign.wait_for_message(run_id, ends)
    over = flush.poll() is not None
    flush.kill()
    flush.wait()
    flushed = campaign.wattline(run_id, "flush", "--timeout", "60")
    assert flushed.returncode == 0, flushed.stderr
    again = len(seqs := campaign.of_topic(run_id)) - len(set(seqs))
    return "" if over else f"{again} messages came twice; then {flushed.stdout.strip()}"


def _last_segment(campaign: Campaign, run_id: str) -> Path:
    (folder,) = SpoolRoot(campaign.spool(run_id)).folders()
    return segment_paths(folder.path)[-1]


def _recorded_bytes(spool: Path) -> int:
    """Return how much is in a spool, which its process makes in its own time."""
    segments = [path for folder in SpoolRoot(spool).folders() for path in segment_paths(folder.path)]
    return sum(path.stat().st_size for path in segments)


def _damaged_spool(way: str, campaign: Campaign, chance: random.Random) -> str:
    """Damage the end of a killed training's spool, as a power cut does: what is before it arrives."""
    run_id = f"{way}-{campaign.number}"
    training = campaign.train(run_id, _LONG, **_AWAY)
    spool = campaign.spool(run_id)
    wait_for(lambda: _recorded_bytes(spool) > 4000, lambda: "some records", 60)
    training.kill()
    training.wait()
    segment = _last_segment(campaign, run_id)
    body = bytearray(segment.read_bytes())
    if way == "torn":
        del body[len(body) - chance.randrange(1, 60) :]
    else:
        body[len(body) - chance.randrange(1, 60)] ^= 1 << chance.randrange(8)
    segment.write_bytes(body)
    flushed = campaign.wattline(run_id, "flush", "--timeout", "60")
    assert flushed.returncode == 0, flushed.stderr
    return f"{flushed.stdout.strip()}; {flushed.stderr.strip()}"


def _full_spool(campaign: Campaign, chance: random.Random) -> str:
    """Give a training a spool with no room: events wait in memory, and arrive."""
    run_id = f"full-{campaign.number}"
    with mounted(campaign.spool(run_id), size_kb=chance.choice([16, 32, 64])) as disk, filled(disk):
        training = campaign.train(run_id, 400)
        assert training.wait(120) == 0
        assert os.statvfs(disk).f_bavail == 0, "the disk was not full"
    return f"{len(campaign.of_topic(run_id))} events past a disk without room"


# What the network and clocks make of messages


def _clock_behind(campaign: Campaign, chance: random.Random) -> str:
    start = now() - datetime.timedelta(hours=1)
    events = run_events(f"behind-{campaign.number}", samples=120, start=start, seed=chance.randrange(1000))
    campaign.line.expected |= event_figures(events)
    campaign.contract.produce(events)
    return f"{len(events)} events an hour old"


def _clock_ahead(campaign: Campaign, chance: random.Random) -> str:
    start = now() + datetime.timedelta(hours=1)
    events = run_events(f"ahead-{campaign.number}", samples=20, start=start, seed=chance.randrange(1000))
    rejected = campaign.line.line.database[store.REJECTED_EVENTS]
    why = {"reason": "timestamp_in_future"}
    before = rejected.count_documents(why)
    campaign.contract.send([campaign.contract.message(event) for event in events])
    campaign.line.rejected += len(events)
    wait_for(lambda: rejected.count_documents(why) == before + len(events), lambda: "the events to be kept aside")
    return f"{len(events)} events kept aside with the reason"


def _bad_network(campaign: Campaign, chance: random.Random) -> str:
    options = ["--days", "0.1", "--duplicates", "0.3", "--disorder-s", str(chance.randint(60, 600))]
    before = campaign.messages()
    emitted = campaign.line.expect_fleet(*campaign.line.simulate("--runs", "3", *options))
    events, came = sum(run.events for run in emitted.values()), campaign.messages() - before
    return f"{came} messages of {events} events" if came > 1.2 * events else ""


def _day_late(campaign: Campaign, chance: random.Random) -> str:
    run = {"run_id": f"late-{campaign.number}"}
    start = now() - datetime.timedelta(days=1, hours=1)
    events = run_events(run["run_id"], samples=600, start=start, seed=chance.randrange(1000))
    campaign.line.expected |= event_figures(events)
    late = chance.sample(events, len(events) // 3)
    seqs = {event.seq for event in late}
    campaign.contract.produce([event for event in events if event.seq not in seqs])
    line, database = campaign.line, campaign.line.line.database
    early = len(events) - len(late)
    wait_for(  # its own windows only: live runs have always some that are due
        lambda: (
            database[store.TRAINING_METRICS].count_documents(run) == early
            and not database[store.DIRTY_WINDOWS].count_documents(run)
        ),
        lambda: f"settled windows of {run}: {line.stream.tail()}",
    )
    campaign.contract.produce([*late, *chance.sample(late, len(late) // 3)])
    return f"{len(late)} of {len(events)} events after their windows were settled"


def _mixed_versions(campaign: Campaign, chance: random.Random) -> str:
    """Produce each event of a run by any version that is released."""
    start = now() - datetime.timedelta(hours=2)
    events = run_events(f"mixed-{campaign.number}", samples=100, start=start, seed=chance.randrange(1000))
    campaign.line.expected |= event_figures(events)
    used = set()
    messages = []
    for event in events:
        version = chance.randint(1, len(VERSIONS[event.AVRO_NAME]))
        number = campaign.contract.ids[event.AVRO_NAME, version]
        used.add(number)
        messages.append(campaign.contract.message(event, {event.AVRO_NAME: number}))
    campaign.contract.send(messages)
    return f"{len(used)} schema ids in one run" if len(used) > 3 else ""


def _hostile(campaign: Campaign, chance: random.Random) -> str:
    start = now() - datetime.timedelta(hours=3)
    good = run_events(f"amid-{campaign.number}", samples=60, start=start, seed=chance.randrange(1000))
    campaign.line.expected |= event_figures(good)
    damaged = campaign.contract.produce_between(good, 100, seed=chance.randrange(1000))
    campaign.line.rejected += len(damaged)
    return f"{len(damaged)} damaged messages between {len(good)} good ones, of the run {DAMAGED!r}"


PRODUCER_KINDS = [
    Kind("training: SIGKILL", _training_killed),
    Kind("training: SIGTERM", _training_terminated),
    Kind("training: SIGSTOP for 30 s", _training_frozen),
    Kind("publisher: SIGKILL while it delivers a spool", _flush_killed),
    Kind("spool: its end torn off", partial(_damaged_spool, "torn")),
    Kind("spool: a bit flipped at its end", partial(_damaged_spool, "flipped")),
    Kind("spool: disk full", _full_spool, needs_disks=True),
    Kind("clock of a producer: an hour behind", _clock_behind),
    Kind("clock of a producer: an hour ahead", _clock_ahead),
    Kind("messages: duplicates and disorder", _bad_network),
    Kind("messages: a third of a run a day late", _day_late),
    Kind("messages: schema versions mixed", _mixed_versions),
    Kind("messages: a hundred damaged ones", _hostile),
]
