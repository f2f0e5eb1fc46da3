"""The command: it teaches, refuses what makes no sense, trains without any server, and ends cleanly when told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wattline_common.environment import Environment
from wattline_common.errors import ConfigurationError
from wattline_trainer.__main__ import main
from wattline_trainer.settings import Settings
from wattline_trainer.stopping import StopRequest

NO_SERVERS = {
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1",
    "WATTLINE_FLUSH_TIMEOUT_S": "1",
}


def _start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WATTLINE_")}
    return subprocess.Popen(
        [sys.executable, "-m", "wattline_trainer", *arguments],
        env={**kept, **NO_SERVERS, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _run(*arguments: str, **environment: str) -> tuple[int, str, str]:
    process = _start(*arguments, **environment)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def _usage(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    """Return how the command ends when no training comes of it; a training would be a failure of the test."""
    monkeypatch.setattr(sys, "argv", ["wattline_trainer", *arguments])
    monkeypatch.setattr("wattline_trainer.__main__._train_digits", lambda *_: pytest.fail("it trains"))
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_help_teaches(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Examples, settings and exit codes are in the help."""
    assert _usage(monkeypatch, "digits", "--help") == 0
    out = capsys.readouterr().out
    for word in ("--minutes", "--epochs", "--seed", "--ledger", "examples", "SIGTERM", "KAFKA_BOOTSTRAP_SERVERS"):
        assert word in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--minutes", "0.1"],
        ["--minutes", "61"],
        ["--minutes", "nan"],
        ["--epochs", "0"],
        ["--minutes", "1", "--epochs", "1"],
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Too short, too long, no number, or both lengths at once: a usage error before any training."""
    assert _usage(monkeypatch, "digits", *arguments) == 2
    assert "usage" in capsys.readouterr().err


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the variable and the exit code is that of a usage error."""
    monkeypatch.setenv("WATTLINE_TRAINER_MINUTES", "long")
    assert main() == 2
    assert "WATTLINE_TRAINER_MINUTES" in capsys.readouterr().err


def test_without_servers_it_trains_and_the_ledger_adds_up(tmp_path: Path) -> None:
    """Two epochs, nothing on standard output, and a ledger with the counts of that work."""
    file = tmp_path / "new" / "ledger.json"
    code, out, err = _run("digits", "--epochs", "2", "--run-id", "r1", "--region", "FRA", "--ledger", str(file))
    assert (code, out) == (0, ""), err
    ledger = json.loads(file.read_text(encoding="utf-8"))
    assert (ledger["run_id"], ledger["steps"], ledger["samples"]) == ("r1", 128, 128 * 256)
    assert ledger["events_emitted"] == sum(ledger["events_by_type"].values())
    assert ledger["events_dropped"] == 0, "they wait in the spool"
    assert ledger["events_by_type"]["RunStarted"] == ledger["events_by_type"]["RunFinished"] == 1
    assert 0 < ledger["energy_low_kwh"] <= ledger["energy_kwh"] <= ledger["energy_high_kwh"]
    assert ledger["emissions_kg"] > 0
    assert ledger["grid_intensity_source"].startswith("FRA")
    assert "epoch 2" in err
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_between_two_steps(tmp_path: Path, number: int, code: int) -> None:
    """The ledger is whole, the exit code is the signal's, a second signal does no harm, and no traceback is shown."""
    file = tmp_path / "ledger.json"
    process = _start("digits", "--minutes", "5", "--ledger", str(file))
    assert process.stderr is not None
    line = ""
    deadline = time.monotonic() + 60
    while "epoch 1" not in line:
        assert time.monotonic() < deadline
        line = process.stderr.readline()
    process.send_signal(number)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in err
    ledger = json.loads(file.read_text(encoding="utf-8"))
    assert ledger["events_by_type"]["RunFinished"] == 1
    assert ledger["steps"] >= 64


def test_settings_come_from_the_environment() -> None:
    """Minutes and seed are read, and bounded."""
    settings = Settings.from_environment(Environment({"WATTLINE_TRAINER_MINUTES": "0.5", "WATTLINE_TRAINER_SEED": "7"}))
    assert settings == Settings(minutes=0.5, seed=7)
    assert Settings.from_environment(Environment({})) == Settings()
    for wrong in ("0.1", "61"):
        with pytest.raises(ConfigurationError, match="WATTLINE_TRAINER_MINUTES"):
            Settings.from_environment(Environment({"WATTLINE_TRAINER_MINUTES": wrong}))


def test_no_signal_no_end() -> None:
    """Without a signal the training goes on."""
    StopRequest().raise_if_asked()
