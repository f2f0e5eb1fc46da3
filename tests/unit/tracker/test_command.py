"""The command `wattline`: a measured command is as without us; a report needs nothing but the spool; errors teach."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from wattline.__main__ import main
from wattline.spool_folders import SpoolRoot

AWAY = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1"}
WATTLINE = [sys.executable, "-m", "wattline"]


@pytest.fixture(autouse=True)
def _own_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**AWAY, "WATTLINE_SPOOL_DIR": str(tmp_path / "spool")}.items():
        monkeypatch.setenv(name, value)


def _run(command: Sequence[str], text: str = "") -> tuple[int, str]:
    ended = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    return ended.returncode, ended.stdout


@pytest.mark.parametrize(
    "command",
    [
        ["sh", "-c", "echo out; echo err >&2; exit 7"],
        ["cat"],
        ["sh", "-c", "kill -TERM $$"],
        ["sh", "-c", "kill -KILL $$"],
        ["sh", "-c", "kill -SEGV $$"],
        ["sh", "-c", "trap '' TERM; echo unmoved"],
        [sys.executable, "-c", "import sys; print(sys.argv[1:])", "--help", "--", "-x", "a b", ""],
        [sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGPIPE), signal.pthread_sigmask(0, []))"],
    ],
)
def test_a_measured_command_is_as_without_us(command: list[str]) -> None:
    """Same standard input and output, same arguments, same exit code, and the same signal if one ended it."""
    assert _run([*WATTLINE, "run", "--", *command], "in\n") == _run(command, "in\n")


def test_what_cannot_be_started_is_told_as_shells_do(tmp_path: Path) -> None:
    """127 for what is not found, 126 for what cannot be executed; and no run is made of it."""
    plain = tmp_path / "plain"
    plain.write_text("no program")
    assert _run([*WATTLINE, "run", "--", "no-such-command"])[0] == 127
    assert _run([*WATTLINE, "run", "--", str(plain)])[0] == 126
    assert not (tmp_path / "spool").exists()
    assert main(["run"]) == 2


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, "STOPPED"), (signal.SIGINT, "STOPPED"), (signal.SIGUSR1, "FAILED")]
)
def test_signals_are_handed_on_and_end_the_run(tmp_path: Path, number: signal.Signals, status: str) -> None:
    """The command gets the signal and decides; what it exits with is our exit code."""
    code = (
        "import os, signal, sys, time\n"
        f"signal.signal({int(number)}, lambda *_: (os.write(1, b'got it\\n'), sys.exit({128 + number})))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)"
    )
    process = subprocess.Popen(
        [*WATTLINE, "run", "--", sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.communicate(timeout=60)[0] == "got it\n"
    assert process.returncode == 128 + number
    (run,) = [folder.waiting().account for folder in SpoolRoot(tmp_path / "spool").folders()]
    assert run.status == status


def test_a_report_needs_nothing_but_the_spool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Energy with band, grams, method, duration, in three forms; the run's metadata is what was asked for."""
    options = ["--model-name", "m|1", "--dataset", "d", "--project", "p", "--user", "ada", "--region", "FRA"]
    options += ["--run-id", "r1", "--tag", "a=b", "--emit-interval", "0.2"]
    busy = "import time\nend_s = time.monotonic() + 1.5\nwhile time.monotonic() < end_s: pass"
    assert _run([*WATTLINE, "run", *options, "--", sys.executable, "-c", busy])[0] == 0
    assert main(["report", "--json"]) == 0
    (run,) = json.loads(capsys.readouterr().out)
    assert (run["run_id"], run["model_name"], run["dataset_name"]) == ("r1", "m|1", "d")
    assert (run["project"], run["user_id"], run["status"], run["sources"]) == ("p", "ada", "COMPLETED", 1)
    assert 0 < run["energy_low_kwh"] < run["energy_kwh"] < run["energy_high_kwh"]
    assert run["emissions_g"] == pytest.approx(run["energy_kwh"] * 56.0, rel=0.2)
    assert run["methods"] == ["MODELLED"]
    assert 1.4 < run["duration_s"] < 30
    assert run["events_waiting"] > 3
    assert main(["report"]) == 0
    assert "r1" in capsys.readouterr().out
    assert main(["report", "--format", "markdown", "--run-id", "r1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert main(["spool"]) == 0
    assert f"{run['events_waiting']} events of 1 runs" in capsys.readouterr().out


def test_errors_name_the_setting_and_have_codes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown run and a spool that is a file are 2; an empty spool is no error."""
    assert main(["report"]) == 0
    assert "WATTLINE_SPOOL_DIR" in capsys.readouterr().out
    assert main(["spool"]) == 0
    assert main(["flush"]) == 0
    assert capsys.readouterr().out.endswith("0 events of 0 sources delivered\n")
    assert main(["report", "--run-id", "unheard-of"]) == 2
    assert "WATTLINE_SPOOL_DIR" in capsys.readouterr().err
    (tmp_path / "file").touch()
    monkeypatch.setenv("WATTLINE_SPOOL_DIR", str(tmp_path / "file"))
    assert main(["report"]) == 2
    assert "WATTLINE_SPOOL_DIR" in capsys.readouterr().err


def test_a_live_run_is_reported_as_it_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """RUNNING while it lives, UNFINISHED when it was killed."""
    code = "import time, wattline\nrun = wattline.track(emit_interval_s=0.1)\nprint('on', flush=True)\ntime.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=os.environ)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        assert _status(capsys, "RUNNING")
    finally:
        process.kill()
        process.communicate(timeout=20)
    assert _status(capsys, "UNFINISHED")


def _status(capsys: pytest.CaptureFixture[str], wanted: str) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert main(["report", "--json"]) == 0
        if [run["status"] for run in json.loads(capsys.readouterr().out)] == [wanted]:
            return True
        time.sleep(0.05)
    return False


def test_the_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    """Examples, exit codes, and where the spool is."""
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    for word in ("wattline run -- python train.py", "wattline flush", "WATTLINE_SPOOL_DIR"):
        assert word in text
    with pytest.raises(SystemExit):
        main(["flush", "--help"])
    assert "Exit codes" in capsys.readouterr().out
