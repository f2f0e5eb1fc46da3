"""The sampler keeps its beat, reads on one thread, and survives its meters."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from wattline.clock import SystemClock
from wattline.guard import Problems
from wattline.meters.base import Reading
from wattline.ranks import RankMeter, Ranks
from wattline.sampler import Sampler
from wattline.testing import ReplayMeter
from wattline_common.events import DeviceDescription

PERIOD_S = 0.05


class _Ticks:
    """Keeps the times of ticks, and waits for some."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.threads: set[str] = set()

    def __call__(self, at_s: float, _: list[Reading]) -> None:
        self.times.append(at_s)
        self.threads.add(threading.current_thread().name)

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 20
        while len(self.times) < count:
            assert time.monotonic() < deadline
            time.sleep(0.005)


def test_ticks_do_not_drift() -> None:
    """Every tick comes at start + k * period or after, and lateness does not add up."""
    ticks, clock = _Ticks(), SystemClock()
    sampler = Sampler([ReplayMeter([1.0])], clock, ticks, Problems(), PERIOD_S)
    start_s = clock.monotonic_s()
    sampler.start(start_s)
    ticks.wait_for(12)
    sampler.stop(5)
    beats = [(at_s - start_s) / PERIOD_S for at_s in ticks.times[:-1]]
    assert all(later - earlier > 0 for earlier, later in itertools.pairwise(beats))
    assert len({int(beat + 1e-3) for beat in beats}) == len(beats), "two ticks in one period"
    assert ticks.threads == {"wattline-sampler"}


def test_stopping_reads_once_more() -> None:
    """The part since the last tick is not lost."""
    ticks, clock = _Ticks(), SystemClock()
    sampler = Sampler([ReplayMeter([1.0])], clock, ticks, Problems(), period_s=3600)
    sampler.start(clock.monotonic_s())
    sampler.stop(5)
    assert len(ticks.times) == 1


class _HangingMeter:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.let = threading.Event()

    def start(self, _: float) -> list[DeviceDescription]:
        return []

    def read(self, _: float) -> list[Reading]:
        self.let.wait(60)
        return []

    def close(self) -> None:
        pass


def test_a_meter_that_hangs_does_not_hold_up_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """A driver that does not answer is left behind after a bounded time, with a warning."""
    meter, clock = _HangingMeter(), SystemClock()
    sampler = Sampler([meter], clock, _Ticks(), Problems(), PERIOD_S)
    sampler.start(clock.monotonic_s())
    begin_s = time.monotonic()
    sampler.stop(0.2)
    meter.let.set()
    assert time.monotonic() - begin_s < 10
    assert "did not answer" in caplog.text


def test_a_meter_that_fails_each_time_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    """A day of failures is one line in the log."""
    clock, problems = SystemClock(), Problems()
    sampler = Sampler([ReplayMeter([OSError("gone")])], clock, _Ticks(), problems, period_s=3600)
    sampler.start(0.0)
    for second in range(50):
        sampler.tick(float(second))
    sampler.stop(5)
    assert len(caplog.records) == 1
    assert problems.count == 51


class _OtherMeter(_HangingMeter):
    """Fails, as the meter beside it does."""

    def read(self, _: float) -> list[Reading]:
        raise OSError("gone too")


def test_each_meter_that_fails_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """By its own name where another wraps it, so that the second one is told too."""
    meters = [RankMeter(ReplayMeter([OSError("gone")]), Ranks()), RankMeter(_OtherMeter(), Ranks())]
    sampler = Sampler(meters, SystemClock(), _Ticks(), Problems(), period_s=3600)
    sampler.start(0.0)
    sampler.tick(1.0)
    sampler.stop(5)
    told = [record.getMessage() for record in caplog.records]
    assert [line.partition(" fails")[0] for line in told] == ["wattline: ReplayMeter", "wattline: _OtherMeter"]
