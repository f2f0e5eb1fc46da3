"""Of all a run's ranks on a host one measures: it reads the cards that any of them can see, for all of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wattline.guard import Problems
from wattline.meters.base import Meter
from wattline.ranks import Ranks
from wattline.settings import Settings
from wattline.testing import ManualClock, ReplayGpu, ReplayNvml
from wattline.wiring import default_meters

STRANGER = 1  # init is nobody's rank


@pytest.fixture
def other_pid() -> Iterator[int]:
    """Give the process of another rank, which is no descendant of a rank's own."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid


@pytest.fixture
def clock() -> ManualClock:
    """Give the time that the cards and the meter share."""
    return ManualClock()


@pytest.fixture
def cards(other_pid: int, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> list[ReplayGpu]:
    """Give a host of three cards: this process's, the other rank's and a stranger's."""
    found = [
        ReplayGpu(uuid="GPU-own", powers_w=[100.0], sm_use={os.getpid(): 80}),
        ReplayGpu(uuid="GPU-other", powers_w=[200.0], sm_use={other_pid: 60}),
        ReplayGpu(uuid="GPU-stranger", powers_w=[300.0], sm_use={STRANGER: 90}),
    ]
    monkeypatch.setitem(sys.modules, "pynvml", ReplayNvml(found, clock.monotonic_s))
    return found


def _gpu_meter(ranks: Ranks, gpus: tuple[str, ...] | None, tmp_path: Path) -> Meter:
    return default_meters(Settings(spool_dir=tmp_path, visible_gpus=gpus), ranks, Problems())[-1]


def _joules(meter: Meter, clock: ManualClock) -> dict[str, float]:
    """Let a second pass; return what each card was charged for it."""
    clock.advance(1.0)
    return {reading.device_id: reading.energy_j for reading in meter.read(clock.monotonic_s())}


@pytest.mark.usefixtures("cards")
def test_what_any_rank_does_on_a_card_is_the_runs(tmp_path: Path, clock: ManualClock, other_pid: int) -> None:
    """Where all cards are visible, those of the other rank are charged in full, and a stranger's not at all."""
    folders = [tmp_path / "run"]
    ranks, other = Ranks(folders), Ranks(folders, pid=other_pid)
    meter = _gpu_meter(ranks, None, tmp_path)
    meter.start(0.0)
    assert _joules(meter, clock) == pytest.approx({"GPU-own": 100.0, "GPU-other": 200.0, "GPU-stranger": 0.0})
    other.leave()
    ranks.leave()


@pytest.mark.usefixtures("cards")
def test_each_ranks_own_list_of_cards_counts(tmp_path: Path, clock: ManualClock, other_pid: int) -> None:
    """A rank brings its card in when it joins, from then on, and takes it away when it leaves; no card is of both."""
    folders = [tmp_path / "run"]
    ranks = Ranks(folders, gpus=("0",))
    meter = _gpu_meter(ranks, ("0",), tmp_path)
    assert [device.device_id for device in meter.start(0.0)] == ["GPU-own"]
    assert _joules(meter, clock) == pytest.approx({"GPU-own": 100.0})
    other = Ranks(folders, pid=other_pid, gpus=("1", "0"))
    assert _joules(meter, clock) == pytest.approx({"GPU-own": 100.0, "GPU-other": 0.0})
    assert _joules(meter, clock) == pytest.approx({"GPU-own": 100.0, "GPU-other": 200.0})
    other.leave()
    assert _joules(meter, clock) == pytest.approx({"GPU-own": 100.0})
    ranks.leave()


def test_a_rank_that_says_nothing_brings_nothing_in(tmp_path: Path) -> None:
    """Its file may be there before it is written, or be another version's."""
    ranks = Ranks([tmp_path / "run"], gpus=("0",))
    for name, text in (("7-a.rank", ""), ("8-b.rank", "{half"), ("9-c.rank", "null")):
        (tmp_path / "run" / name).write_text(text, encoding="utf-8")
    assert ranks.gpus_of_others() == [None]
    ranks.leave()
