"""The command: it teaches, refuses what makes no sense, names the setting that is wrong, and keeps its ledger."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest

from tests.unit.trainer.simulate.stand_ins import MemoryWire
from wattline_common.errors import ConfigurationError
from wattline_trainer import __main__ as trainer
from wattline_trainer.settings import Settings
from wattline_trainer.simulate.command import simulate
from wattline_trainer.stopping import StopRequest

DAY = ["--runs", "3", "--days", "0.1", "--start", "2026-03-01"]


def _simulate(*arguments: str, wire: MemoryWire | None = None, stop: StopRequest | None = None) -> int:
    options = trainer._parser(Settings()).parse_args(["simulate", *arguments])
    return simulate(options, stop or StopRequest(), lambda: wire or MemoryWire())


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    """Examples, settings, exit codes and the meaning of speed are in the help."""
    with pytest.raises(SystemExit):
        _simulate("--help")
    out = capsys.readouterr().out
    for word in ("--live", "--ledger", "examples", "SIGTERM", "KAFKA_BOOTSTRAP_SERVERS", "simulated: true", "--speed"):
        assert word in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--runs", "-1"],
        ["--days", "0"],
        ["--duplicates", "2"],
        ["--disorder-s", "-1"],
        ["--speed", "0.5"],
        ["--start", "yesterday"],
        ["--start", "2026-03-01", "--end", "2026-03-02"],
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Out of range, unreadable or contradictory: a usage error before anything is sent."""
    with pytest.raises(SystemExit) as ended:
        _simulate(*arguments)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["--runs", "0"], "--live"),
        (["--for", "5"], "--live"),
        (["--end", "2999-01-01"], "in the future"),
    ],
)
def test_what_cannot_be_simulated_says_why(arguments: list[str], remedy: str) -> None:
    """Nothing to do, an end without live runs, or events that the stream would refuse as from the future."""
    with pytest.raises(ConfigurationError, match=remedy):
        _simulate(*arguments)


def test_the_ledger_is_that_of_what_was_delivered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Complete, with seed and arguments; counts are those of the wire; nothing but the file is left."""
    file, wire = tmp_path / "new" / "fleet.json", MemoryWire()
    assert _simulate(*DAY, "--seed", "4", "--duplicates", "0.5", "--ledger", str(file), wire=wire) == 0
    books = json.loads(file.read_text(encoding="utf-8"))
    assert (books["complete"], books["seed"], books["arguments"]["start"]) == (True, 4, "2026-03-01T00:00:00+00:00")
    assert books["totals"]["events"] == len(set(wire.sent)) < len(wire.sent) == books["totals"]["messages_delivered"]
    assert list(file.parent.iterdir()) == [file]
    assert f"{len(set(wire.sent)):,} events of 3 runs" in capsys.readouterr().err


def test_a_signal_ends_live_runs_with_its_exit_code(tmp_path: Path) -> None:
    """Every live run is STOPPED, all is delivered, the ledger is complete."""
    file, wire, stop = tmp_path / "fleet.json", MemoryWire(), StopRequest()
    polls = iter(range(20))
    wire.on_poll = lambda _: stop._on_signal(signal.SIGTERM, None) if next(polls, None) == 9 else None
    assert _simulate("--runs", "0", "--live", "3", "--ledger", str(file), wire=wire, stop=stop) == 143
    books = json.loads(file.read_text(encoding="utf-8"))
    assert books["complete"] is True
    assert {run["status"] for run in books["runs"].values()} == {"STOPPED"}
    assert books["totals"]["events"] == len(wire.sent)


def test_without_kafka_the_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that is away is an error of exit code 1 at the start, not a fleet that goes nowhere."""
    monkeypatch.setattr("wattline_common.kafka._TIMEOUT_S", 0.2)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setattr(sys, "argv", ["wattline_trainer", "simulate"])
    monkeypatch.setattr(StopRequest, "listen", lambda _: None)
    assert trainer.main() == 1
    assert "KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1" in capsys.readouterr().err
