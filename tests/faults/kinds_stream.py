"""Faults of the stream itself, of its checkpoint, and of the page."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from functools import partial
from pathlib import Path

from tests.faults import places
from tests.faults.campaign import Campaign, Kind
from tests.faults.disks import filled, read_only
from tests.faults.stream_places import PLACES, assert_at
from tests.line import wait_for
from wattline_common import store

__all__ = ["STREAM_KINDS"]

_FROZEN_S = 30.0


def _at(name: str, campaign: Campaign, chance: random.Random) -> str:
    place, most = PLACES[name]
    line = campaign.line
    line.arm(place, passes=chance.randint(1, most))
    # Live runs pass these places too; the settler folds only what the stream left out, behind its watermark.
    history = line.history(4, behind=place.settled is True)
    struck = line.struck()
    line.bury_stream()
    assert_at(line, place, struck)
    line.start_stream()
    line.expect_fleet(*history)
    return f"{len(struck['ids'])} documents of {place.collection}"


def _in_a_batch(campaign: Campaign, chance: random.Random) -> int:
    """Bring a history, and return the number of the batch that the stream is at."""
    more = campaign.line.line.stored() + chance.randint(1, 300)
    campaign.line.expect_fleet(*campaign.line.history(4))
    wait_for(lambda: campaign.line.line.stored() >= more, lambda: f"{more} events: {campaign.line.stream.tail()}")
    wait_for(campaign.line.is_in_a_batch, lambda: "a batch")
    return max(campaign.line.batches("offsets"))


def _killed(campaign: Campaign, chance: random.Random) -> str:
    batch = _in_a_batch(campaign, chance)
    campaign.line.kill_stream()
    campaign.line.start_stream()
    return f"batch {batch} was under way"


def _terminated(campaign: Campaign, chance: random.Random) -> str:
    batch = _in_a_batch(campaign, chance)
    stream = campaign.line.stream
    stream.signal(signal.SIGTERM)
    assert stream.wait(90), f"SIGTERM did not end it: {stream.tail()}"
    assert stream.exit_code == 0, stream.tail()
    assert not campaign.line.is_in_a_batch(), "SIGTERM drains"
    return f"batch {batch} was under way and was ended"


def _frozen(campaign: Campaign, chance: random.Random) -> str:
    batch = _in_a_batch(campaign, chance)
    frozen = places.session(campaign.line.stream.pid)
    thaw_s = time.monotonic() + _FROZEN_S
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        before = campaign.line.line.stored()
        wait_for(lambda: time.monotonic() >= thaw_s, lambda: "the end of the frost", _FROZEN_S + 5)
        assert campaign.line.line.stored() == before
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    return f"{len(frozen)} processes at batch {batch}"


def _second_driver(campaign: Campaign, chance: random.Random) -> str:  # nothing to draw
    second = campaign.line.line.services.start("second", ["wattline_streaming"])
    assert second.wait(90), "a second driver must not run"
    told = second.tail()
    assert second.exit_code == 2, told
    assert "another streaming service works on WATTLINE_CHECKPOINT_DIR" in told
    campaign.line.line.services.end(second, 1)
    assert campaign.line.stream.exit_code is None
    return "refused, and named the folder"


def _checkpoint_folder(campaign: Campaign) -> Path:
    return campaign.line.checkpoint.parent


def _lost_checkpoint(campaign: Campaign, chance: random.Random) -> str:
    batch = _in_a_batch(campaign, chance)
    campaign.line.kill_stream()
    _forget(campaign)
    campaign.line.start_stream()
    wait_for(lambda: 0 in campaign.line.batches("offsets"), lambda: f"a first batch: {campaign.line.stream.tail()}")
    return f"after batch {batch}; the topic was read again"


def _forget(campaign: Campaign) -> None:
    for path in _checkpoint_folder(campaign).iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _damaged_checkpoint(campaign: Campaign, chance: random.Random) -> str:
    """Damage the newest file of offsets; the stream goes on, or says which folder to remove, and that mends it."""
    _in_a_batch(campaign, chance)
    campaign.line.kill_stream()
    newest = campaign.line.checkpoint / "offsets" / str(max(campaign.line.batches("offsets")))
    body = bytearray(newest.read_bytes())
    way = chance.choice(["torn", "flipped", "empty"])
    if way == "flipped":
        body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
    else:
        del body[chance.randrange(len(body)) if way == "torn" else 0 :]
    newest.write_bytes(body)
    stream = campaign.line.start_stream()
    started = "streaming training.events into"
    wait_for(lambda: stream.exit_code is not None or campaign.line.lag() == 0, lambda: stream.tail(), 240)
    if stream.exit_code is None:
        assert started in campaign.line.log()
        return f"{way}: it went on"
    assert "WATTLINE_CHECKPOINT_DIR" in campaign.line.log(), stream.tail()
    campaign.line.line.services.end(stream, 1)
    _forget(campaign)
    campaign.line.start_stream()
    return f"{way}: it stopped and named the folder; the topic was read again"


def _full_checkpoint(campaign: Campaign, chance: random.Random) -> str:
    line = campaign.line
    line.forget_log()
    with filled(campaign.disks["checkpoint"]) as filler:
        line.expect_fleet(*line.history(2))
        line.wait_for_log("No space left on device")
    if chance.random() < 0.5 and line.stream.exit_code is None:
        line.kill_stream()
    return f"{filler >> 20} MB filled it"


def _read_only_checkpoint(campaign: Campaign, chance: random.Random) -> str:
    line = campaign.line
    line.kill_stream()
    with read_only(campaign.disks["checkpoint"]):
        stream = line.start_stream()
        assert stream.wait(120), "it cannot lock its checkpoint, and must say so"
        assert "WATTLINE_CHECKPOINT_DIR" in stream.tail(), stream.tail()
        line.line.services.end(stream, 1)
    line.start_stream()
    return "it did not start, and named the folder"


def _lost_store(campaign: Campaign, chance: random.Random) -> str:
    """Lose all data of the store: refused with the old checkpoint, and read again with a new one."""
    line = campaign.line
    _in_a_batch(campaign, chance)
    line.kill_stream()
    had = line.line.stored()
    rejected = list(line.line.database[store.REJECTED_EVENTS].find())
    line.line.database.client.drop_database(line.line.database.name)
    stream = line.start_stream()
    assert stream.wait(120), "an emptied store must be refused"
    assert "that one was emptied since" in stream.tail(), stream.tail()
    line.line.services.end(stream, 1)
    _forget(campaign)
    line.forget_revisions()
    line.start_stream()
    assert len(rejected) == line.rejected
    return f"{had} events, refused; then read again"


def _page(number: signal.Signals, campaign: Campaign, chance: random.Random) -> str:
    wait_for(campaign.page_answers, lambda: f"the page: {campaign.page.tail()}")
    campaign.page.signal(number)
    if number is signal.SIGSTOP:
        wait_for(lambda: not campaign.page_answers(), lambda: "no answer")
        campaign.page.signal(signal.SIGCONT)
        return "it did not answer, then did again"
    assert campaign.page.wait(30)
    assert not campaign.page_answers()
    return "it was gone, and was started again"


STREAM_KINDS = [
    *(Kind(f"stream: SIGKILL, {name}", partial(_at, name)) for name in PLACES),
    Kind("stream: SIGKILL in mid-batch", _killed),
    Kind("stream: SIGTERM in mid-batch", _terminated),
    Kind("stream: SIGSTOP for 30 s in mid-batch", _frozen),
    Kind("stream: a second driver", _second_driver),
    Kind("checkpoint: lost", _lost_checkpoint),
    Kind("checkpoint: torn, emptied or a bit flipped", _damaged_checkpoint),
    Kind("checkpoint: disk full", _full_checkpoint, needs_disks=True),
    Kind("checkpoint: disk read-only", _read_only_checkpoint, needs_disks=True),
    Kind("store: all data lost", _lost_store),
    *(
        Kind(f"page: {number.name}", partial(_page, number))
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)
    ),
]
