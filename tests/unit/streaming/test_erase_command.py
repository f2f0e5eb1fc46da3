"""What a person is told, and who does what was asked: the stream where one runs, else the command itself."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from typing import Any, cast

import pytest

from tests.events import START
from wattline_common import store
from wattline_common.store import Document
from wattline_streaming.arguments import parser
from wattline_streaming.erase import Eraser
from wattline_streaming.erase_command import Errand, Request, Survey, as_table, done_text
from wattline_streaming.erasures import ERASE, PSEUDONYMISE, RUN, USER, Erasures

SILENCE = datetime.timedelta(seconds=45)


class World:
    """A store that has one request, a stream that may run, and a clock."""

    def __init__(self, *, holds_lock: bool = False, reported_ago_s: float | None = None) -> None:
        self.remembered: Document = {}
        self.holds_lock = holds_lock
        self.seconds = 0.0
        self.reported_at_s = None if reported_ago_s is None else -reported_ago_s
        self.done_at_s: float | None = None  # by the stream
        self.locked = False
        self.done_here = False
        self.told: list[str] = []

    def now(self) -> datetime.datetime:
        """Return the time."""
        return START + datetime.timedelta(seconds=self.seconds)

    def wait(self, seconds: float) -> None:
        """Let time pass; the stream may do it then."""
        self.seconds += seconds
        if self.done_at_s is not None and self.seconds >= self.done_at_s:
            self.remembered["done_at"] = self.now()

    def ask(self, *_: object) -> str:
        """Remember a request."""
        self.remembered = {"done_at": None}
        return "user|digest"

    def find(self, _: str) -> Document:
        """Return it."""
        return self.remembered

    def find_one(self, *_: object) -> Document | None:
        """Return what the stream last reported."""
        if self.reported_at_s is None:
            return None
        return {"figures": {"at": START + datetime.timedelta(seconds=self.reported_at_s)}}

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        """Give whether the lock is free."""
        self.locked = not self.holds_lock
        yield self.locked
        self.locked = False

    def step(self, now: datetime.datetime) -> bool:
        """Do it here, under the lock."""
        assert self.locked
        self.done_here = True
        self.remembered["done_at"] = now
        return True

    def run(self, patience_s: float = 120.0) -> Document | None:
        """Have it done."""
        errand = Errand(
            cast(Any, {store.PIPELINE_HEALTH: self}),
            cast(Erasures, self),
            lambda: cast(Eraser, self),
            self.alone,
            silence=SILENCE,
            now=self.now,
            clock_s=lambda: self.seconds,
            wait=self.wait,
        )
        return errand.run(Request(ERASE, USER, "ada"), patience_s=patience_s, tell=self.told.append)


def test_without_a_stream_it_is_done_here() -> None:
    """At once, with the checkpoint locked so that no stream starts meanwhile."""
    world = World()
    assert world.run() == {"done_at": START}
    assert (world.done_here, world.told) == (True, [])


@pytest.mark.parametrize("world", [World(holds_lock=True), World(reported_ago_s=1)])
def test_a_stream_that_runs_does_it(world: World) -> None:
    """Here or, as it has lately said how it does, elsewhere; the person is told once why it takes a moment."""
    world.done_at_s = 3.0
    assert world.run() == {"done_at": START + datetime.timedelta(seconds=3)}
    assert not world.done_here
    assert len(world.told) == 1


def test_a_stream_that_fell_silent_is_not_waited_for() -> None:
    """It was killed: the command takes over once it is sure."""
    world = World(reported_ago_s=1)
    assert world.run() is not None
    assert world.done_here
    assert world.seconds == pytest.approx(SILENCE.total_seconds() - 1, abs=1)


def test_patience_ends() -> None:
    """What was asked for stands; the exit code is the caller's."""
    world = World(holds_lock=True)
    assert world.run(patience_s=5.0) is None
    assert world.seconds == pytest.approx(5.0, abs=1)
    assert world.remembered == {"done_at": None}


def test_a_survey_tells_counts_and_where_a_pseudonym_does_not_reach() -> None:
    """Some of the runs by name; of an erasure nothing of the kind, as these runs go whole."""
    found = Survey({store.TRAINING_METRICS: 12}, [f"ada-{number}" for number in range(7)])
    text = found.as_text(Request(PSEUDONYMISE, USER, "ada"))
    assert text.startswith("training_metrics")
    assert "7 of these runs hold the name in another place" in text
    assert "ada-4, ..." in text
    assert "ada-5" not in text
    assert "ada-4" not in found.as_text(Request(ERASE, USER, "ada"))


def test_what_is_done_is_told_with_its_limits() -> None:
    """What went, until when Kafka has the rest, and what else is out of reach."""
    done = {"action": ERASE, "asked_at": START, "counts": {"training_metrics": 3, "aggregated_metrics": 1}}
    text = done_text(done)
    assert "done (erased): aggregated_metrics 1, training_metrics 3" in text
    assert "training.events holds its messages until 2026-03-15" in text
    assert "backups" in text
    assert "nothing was there" in done_text({"action": ERASE, "asked_at": START})
    assert "pseudonym user-1" in done_text({"action": PSEUDONYMISE, "asked_at": START, "pseudonym": "user-1"})


def test_the_list_has_a_line_each() -> None:
    """With its time, also of what is under way."""
    listed = as_table(
        [
            {"_id": "user|" + "a" * 64, "action": ERASE, "asked_at": START, "done_at": None},
            {"_id": "run|" + "b" * 64, "action": ERASE, "asked_at": START, "done_at": START, "counts": {"x": 1}},
        ]
    ).splitlines()
    assert [line.split()[-1] for line in listed] == ["counts", "a" * 16, "1"]
    assert "not yet" in listed[1]


@pytest.mark.parametrize(
    "arguments", [["erase"], ["erase", "--run", "a", "--user", "b"], ["pseudonymise"], ["pseudonymise", "--run", "a"]]
)
def test_who_is_meant_has_to_be_said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A run or a user to erase, a user to name anew."""
    with pytest.raises(SystemExit):
        parser().parse_args(arguments)
    assert "--" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["erase", "pseudonymise"])
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What it does, an example that can be typed, the exit codes."""
    with pytest.raises(SystemExit):
        parser().parse_args([command, "--help"])
    text = capsys.readouterr().out
    assert f"python -m wattline_streaming {command} --" in text
    assert "exit code: 0 done" in text
    assert {RUN, USER} & set(text.replace("--", "").split())
