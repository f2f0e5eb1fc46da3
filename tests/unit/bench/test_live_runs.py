"""What the bench of live runs calls broken, and whom it blames."""

from __future__ import annotations

import dataclasses
import random
import sys
from collections.abc import Callable
from typing import cast

import pytest

from bench.live_runs import step
from bench.live_runs.__main__ import main
from bench.live_runs.looks import Look, Watcher
from bench.live_runs.report import report
from bench.live_runs.step import Booking, Plan, Step
from bench.live_runs.verdict import breaks
from wattline_common.errors import ResourceError

_PER_S = 200.0
_CHANCE = random.Random(1)


def _looks(
    lag: Callable[[float], float],
    late_s: Callable[[float], float] = lambda _: 0.3,
    undelivered: int = 50,
    looks: int = 18,
) -> list[Look]:
    """Return looks every 10 s at 200 events a second."""
    moments = [10.0 * number for number in range(1, looks + 1)]
    return [
        Look(
            at_s=at_s,
            written=round(_PER_S * at_s),
            stored=round(_PER_S * at_s - lag(at_s)),
            producer_late_s=late_s(at_s),
            undelivered=undelivered,
            ready=True,
            told="ok",
            cpu_s={"jvm": at_s / 2},
            memory_mb={"jvm": 900.0},
        )
        for at_s in moments
    ]


def _what(looks: list[Look], dead: str = "") -> list[str]:
    return [each.what for each in breaks(looks, dead)]


def test_a_lag_that_wavers_is_bounded() -> None:
    """Up to two seconds of events, here and there."""
    assert _what(_looks(lambda _: _CHANCE.uniform(0, 2 * _PER_S))) == []


def test_a_lag_of_the_start_that_shrinks_is_bounded() -> None:
    """A JVM that is warming up is a minute behind, and catches up."""
    assert _what(_looks(lambda at_s: max(100.0, 60 * _PER_S - at_s * _PER_S))) == []


def test_a_lag_that_grows_is_found_with_its_share() -> None:
    """A quarter of what comes is left over."""
    (found,) = breaks(_looks(lambda at_s: 0.25 * _PER_S * at_s))
    assert found.what == "the lag grows without bound"
    assert "25% of it is left over" in found.seen
    assert 60 <= found.at_s <= 70  # judged from 60 s on, 10 s behind by 40 s


def test_a_lag_that_grew_and_stays_is_bounded() -> None:
    """A minute of half the pace, then as fast as it comes: behind, and no more."""
    assert _what(_looks(lambda at_s: min(at_s, 90.0) * _PER_S / 2)) == []


def test_a_simulator_that_is_late_is_told_apart() -> None:
    """The line keeps up with what it gets; its producer falls behind, for its own reasons or for Kafka's."""
    (own,) = breaks(_looks(lambda _: 100.0, late_s=lambda at_s: at_s / 4))
    assert own.what == "the simulator does not keep pace"
    assert "Kafka takes what it sends" in own.seen
    (waits,) = breaks(_looks(lambda _: 100.0, late_s=lambda at_s: at_s / 4, undelivered=20_000))
    assert "20000 events wait for Kafka" in waits.seen


def test_an_unready_stream_is_found_at_its_second_look() -> None:
    """One probe may fail; and a full store is called by its name."""
    looks = _looks(lambda _: 0.0)
    looks[5] = dataclasses.replace(looks[5], ready=False, told="query: a store is away")
    assert _what(looks) == []
    looks[6] = dataclasses.replace(looks[6], ready=False, told="query: a store is away")
    (found,) = breaks(looks)
    assert (found.what, found.at_s) == ("the stream is not ready", 60.0)
    full = [dataclasses.replace(look, ready=False, told="query: the embedded store is full (9 MB)") for look in looks]
    assert _what(full) == ["the store is full"]


def test_a_process_that_ended_is_found_without_a_look() -> None:
    """It may end before anything was seen."""
    assert _what([], dead="store has ended") == ["a process died"]
    assert _what(_looks(lambda _: 0.0), dead="streaming has ended: the embedded store is full") == ["the store is full"]


def test_a_report_tells_what_broke_and_how_it_showed() -> None:
    """Rates are of the looks after the warm-up; nothing is said of a step without looks."""
    looks = _looks(lambda at_s: 0.25 * _PER_S * at_s)
    broken = Step(Plan(800, 180.0), looks, breaks(looks), Booking(True, "all there", 20.0, 90.0), ["/readyz: 200 ok"])
    lines = report(
        [broken, Step(Plan(1600, 180.0), [], breaks([], "kafka has ended"), Booking(None, "not compared"), [])]
    )
    (row,) = (line for line in lines if line.startswith("| 800 | 3.0 | 200 |"))
    assert "| +25.0% |" in row
    assert row.endswith("| yes | 20, 90 |")
    assert "| stream JVM | 0.50; 900 |  |" in lines
    assert "    /readyz: 200 ok" in lines
    assert any(line.startswith("1,600 live runs: a process died") for line in lines)


def test_too_few_looks_are_said() -> None:
    """Of a short step nobody may read that the lag was bounded."""
    looks = _looks(lambda at_s: 0.9 * _PER_S * at_s, looks=6)
    assert breaks(looks) == []
    assert (
        "too few looks to tell a trend" in report([Step(Plan(20, 60.0), looks, [], Booking(True, "all there"), [])])[-1]
    )


class _Running:
    """A watcher of processes that run, or of which one has ended."""

    def __init__(self, dead: str = "") -> None:
        self._dead = dead

    def dead(self) -> str:
        return self._dead


@pytest.mark.parametrize("left", [3, -2])
def test_what_stands_still_though_all_runs_is_missing_or_doubled(monkeypatch: pytest.MonkeyPatch, left: int) -> None:
    """That is a loss, and no lack of patience; only where a process has ended nothing can be said."""
    monkeypatch.setattr(step, "_STANDSTILL_S", 0.1)
    assert f"there were {left} events" in step._waited(lambda: left, cast(Watcher, _Running()), "events")
    with pytest.raises(ResourceError, match="streaming has ended"):
        step._waited(lambda: left, cast(Watcher, _Running("streaming has ended")), "events")
    monkeypatch.setattr(step, "_STANDSTILL_S", 60.0)
    falling = iter([2, 1, 0])
    assert step._waited(lambda: next(falling), cast(Watcher, _Running()), "events") == ""


@pytest.mark.parametrize("options", [["--simulators", "0"], ["--live", "200000"], ["--minutes", "0"]], ids=str)
def test_a_plan_that_measures_nothing_is_refused(monkeypatch: pytest.MonkeyPatch, options: list[str]) -> None:
    """Nothing is started for it."""
    monkeypatch.setattr(sys, "argv", ["live_runs", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
