"""The command, as a user types it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from wattline_stack import StackSettings

NOWHERE = "http://127.0.0.1:9/"  # the discard port: whoever tries to download fails at once
# A background job ignores Ctrl-C, and so would what it starts: these tests may be part of one.
INTERRUPTIBLE = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("wattline_stack", run_name="__main__")
"""


@pytest.fixture
def environment(stack_settings: StackSettings, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Give an environment in which only the store starts and no download can work; stop what was started in it."""
    made = {
        **os.environ,
        "WATTLINE_DATA_DIR": str(tmp_path / "data"),
        "WATTLINE_CACHE_DIR": str(stack_settings.cache_dir),
        "WATTLINE_JAR_REPOSITORY": NOWHERE,
        "HTTPS_PROXY": NOWHERE,
        "HTTP_PROXY": NOWHERE,
        "KAFKA_BOOTSTRAP_SERVERS": "elsewhere:9092",
        "SCHEMA_REGISTRY_URL": "http://elsewhere/apis/ccompat/v7",
        "MONGODB_URI": "",
    }
    yield made
    _run(made, "down")


def _run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wattline_stack", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def _is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE  # not every container's first process reaps
    except psutil.NoSuchProcess:
        return True


def test_up_twice_says_already_up_and_needs_no_network(environment: dict[str, str]) -> None:
    """With everything provisioned, `up` works though no network does; again it says so and starts nothing anew."""
    first = _run(environment, "up", "--json")
    assert first.returncode == 0, first.stderr
    report = json.loads(first.stdout)
    assert report["already_up"] is False
    again = _run(environment, "up", "--json")
    assert json.loads(again.stdout)["already_up"] is True
    assert json.loads(again.stdout)["servers"][2]["pid"] == report["servers"][2]["pid"]
    assert "already up" in _run(environment, "up").stdout
    assert report["environment"]["KAFKA_BOOTSTRAP_SERVERS"] == "elsewhere:9092"
    assert "starting Kafka" not in first.stderr


def test_status_and_env_tell_what_runs_where(environment: dict[str, str]) -> None:
    """`status` exits 0 only when all is up, and `env` can be evaluated by a shell."""
    assert _run(environment, "status").returncode == 3
    assert _run(environment, "env").returncode == 1
    _run(environment, "up")
    status = json.loads(_run(environment, "status", "--json").stdout)
    assert [each["state"] for each in status["servers"]] == ["external", "external", "running"]
    store = status["servers"][2]
    assert store["rss_bytes"] > 0
    assert Path(store["log"]).is_file()
    shell = subprocess.run(
        ["/bin/sh", "-c", f'eval "$({sys.executable} -m wattline_stack env)" && printf %s "$MONGODB_URI"'],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert shell.stdout == store["endpoint"]


def test_down_stops_and_keeps_data(environment: dict[str, str]) -> None:
    """After `down` the process is gone and the data are there; a second `down` says there was nothing."""
    pid = json.loads(_run(environment, "up", "--json").stdout)["servers"][2]["pid"]
    down = _run(environment, "down")
    assert down.stdout.startswith("stopped store; data stay in ")
    assert _is_gone(pid)
    assert (Path(environment["WATTLINE_DATA_DIR"]) / "store" / "data" / "journal.bin").is_file()
    assert _run(environment, "down").stdout == "nothing was running\n"


def test_a_server_that_ignores_sigterm_is_killed_after_the_deadline(environment: dict[str, str]) -> None:
    """`down` waits as long as it says, then kills, and says so."""
    pid = json.loads(_run(environment, "up", "--json").stdout)["servers"][2]["pid"]
    os.kill(pid, signal.SIGSTOP)  # deaf, as a server that hangs
    down = _run({**environment, "WATTLINE_STOP_TIMEOUT_S": "0.5"}, "down")
    assert f"process {pid} did not end within 0.5 s of SIGTERM: killing it" in down.stderr
    assert _is_gone(pid)


def test_a_kept_port_that_is_taken_is_named_with_its_remedy(environment: dict[str, str]) -> None:
    """Another listener on a kept port is an error that names port, holder and what to do."""
    _run(environment, "up")
    _run(environment, "down")
    ports = json.loads((Path(environment["WATTLINE_DATA_DIR"]) / "ports.json").read_text())
    with socket.create_server(("127.0.0.1", ports["store"])):
        done = _run(environment, "up")
    assert done.returncode == 1
    assert f"port {ports['store']} on 127.0.0.1, kept for store, is taken by process {os.getpid()}" in done.stderr
    assert "ports.json" in done.stderr
    assert _run(environment, "up").returncode == 0


def test_too_little_memory_is_named_before_anything_starts(environment: dict[str, str]) -> None:
    """A heap that the machine cannot give is refused with the numbers and the settings."""
    done = _run({**environment, "WATTLINE_STORE_HEAP_MB": "100000000"}, "up")
    assert done.returncode == 1
    assert "MB of memory are free" in done.stderr
    assert "WATTLINE_STORE_HEAP_MB" in done.stderr
    assert _run(environment, "status").returncode == 3


def test_ctrl_c_while_starting_leaves_nothing_running(environment: dict[str, str]) -> None:
    """Ctrl-C during `up` stops what had been started and ends without a traceback."""
    everything = {**environment, "KAFKA_BOOTSTRAP_SERVERS": ""}
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, "up"], env=everything, stderr=subprocess.PIPE, text=True
    )
    table = Path(environment["WATTLINE_DATA_DIR"]) / "processes.json"
    deadline = time.monotonic() + 60
    while not (table.exists() and "kafka" in table.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    pids = [row["pid"] for row in json.loads(table.read_text()).values()]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert all(_is_gone(pid) for pid in pids)
    assert json.loads(table.read_text()) == {}


def test_no_network_and_no_parts_is_an_error_with_a_remedy(environment: dict[str, str], tmp_path: Path) -> None:
    """Without a network and without the parts, `provision` says what failed and how to mend it."""
    done = _run({**environment, "WATTLINE_CACHE_DIR": str(tmp_path / "empty")}, "provision")
    assert done.returncode == 1
    assert "could not be downloaded" in done.stderr
    assert "WATTLINE_JAR_REPOSITORY" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_teaches() -> None:
    """`--help` names what is started, where data lie, and every setting."""
    done = _run(dict(os.environ), "--help")
    for word in ("Kafka", "WATTLINE_DATA_DIR", "WATTLINE_CACHE_DIR", "MONGODB_URI", "examples"):
        assert word in done.stdout
