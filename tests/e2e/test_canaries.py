"""Passwords are never shown: real parts with canaries, whose hosts refuse or are away, or whose addresses are none.

What they say on a good day, with Kafka's password and the registry's, is tests/e2e/test_kafka_security.py's to search.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.browser import chromium, dashboard_server
from tests.canaries import processes_with
from wattline_stack import Stack

pytestmark = pytest.mark.timeout(600)

# Parts of a password that no parser would keep together; each must not be seen, nor the whole.
PASSWORD, PIECES = "canary-whole", ("canary", "ca#na", "ry/whole")
NOBODY = "127.0.0.1:1"
LOGIN = {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SASL_USERNAME": "ada", "KAFKA_SASL_PASSWORD": PASSWORD}
AWAY = {
    **LOGIN,
    "KAFKA_BOOTSTRAP_SERVERS": NOBODY,
    "SCHEMA_REGISTRY_URL": f"http://ada:{PASSWORD}@{NOBODY}/apis/ccompat/v7",
    "MONGODB_URI": f"mongodb://ada:{PASSWORD}@{NOBODY}/?serverSelectionTimeoutMS=500",
    "WATTLINE_GRID_INTENSITY_PROVIDER": "electricitymaps",
    "WATTLINE_ELECTRICITY_MAPS_ZONE": "FR",
    "WATTLINE_ELECTRICITY_MAPS_TOKEN": PASSWORD,
    "WATTLINE_ELECTRICITY_MAPS_URL": f"http://{NOBODY}",
    "WATTLINE_FLUSH_TIMEOUT_S": "1",
}
UNPARSABLE = {
    **AWAY,
    "SCHEMA_REGISTRY_URL": "http://ada:canary/ca#nary/whole@127.0.0.1:1/apis",
    "MONGODB_URI": "mongodb://ada:canary/ca#nary/whole@127.0.0.1:1/",
    "KAFKA_SASL_MECHANISM": "NONE",
    "WATTLINE_ELECTRICITY_MAPS_TOKEN": f"{PASSWORD}\r\nx",
}
TRAINING = "import wattline\nwith wattline.track() as run:\n    run.step(loss=1.0)\nprint('trained')"
COMMANDS: Mapping[str, list[str]] = {
    "topics": ["-m", "wattline_common.kafka"],
    "rights": ["-m", "wattline_common.kafka_rights", "trainer=ada"],
    "subjects": ["-m", "wattline_common.registry", "register"],
    "indexes": ["-m", "wattline_common.store"],
    "audit": ["-m", "wattline_streaming", "audit"],
    "replay": ["-m", "wattline_streaming", "replay-rejected"],
    "stream": ["-m", "wattline_streaming"],
    "training": ["-c", TRAINING],
    "doctor": ["-m", "wattline", "doctor"],
    "flush": ["-m", "wattline", "flush"],
    "report": ["-m", "wattline", "report"],
    "simulator": ["-m", "wattline_trainer", "simulate", "--runs", "1", "--days", "0.001"],
    "page": ["-m", "wattline_dashboard", "--help"],
    "stack": ["-m", "wattline_stack", "status"],
}
_LONGEST_S = 60.0  # Kafka is given 20 s, by a machine that may do much else


def _said(arguments: list[str], folder: Path, settings: Mapping[str, str]) -> str:
    """Run a command, to its end or for a while, and return all that it wrote, files in its folder included."""
    state = {"WATTLINE_SPOOL_DIR": str(folder / "spool"), "WATTLINE_DATA_DIR": str(folder / "data")}
    environment = {**os.environ, **state, "WATTLINE_CHECKPOINT_DIR": str(folder / "checkpoint"), **settings}
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    shown = processes_with([PASSWORD])
    assert shown == []
    try:
        text, _ = process.communicate(timeout=_LONGEST_S)
    except subprocess.TimeoutExpired:  # it waits for its servers, as it should
        process.send_signal(signal.SIGTERM)
        text, _ = process.communicate(timeout=60)
    files = [path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file()]
    return "\n".join([text, *files])


@pytest.mark.parametrize("settings", [AWAY, UNPARSABLE], ids=["away", "unparsable"])
@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_shows_a_password(name: str, settings: Mapping[str, str], tmp_path: Path) -> None:
    """Whatever it says of hosts that are away and addresses that are none, nothing of a login is in it."""
    said = _said(COMMANDS[name], tmp_path, settings)
    assert said.strip()
    assert [piece for piece in PIECES if piece in said] == [], said[-2000:]


@pytest.fixture
def store_uri(running_stack: Stack) -> str:
    """Return the address of a store that answers, with a login that it does not take."""
    return running_stack.endpoints().mongodb_uri.replace("://", f"://ada:{PASSWORD}@")


@pytest.mark.parametrize("name", ["indexes", "audit", "stream"])
def test_a_store_that_refuses_is_told_without_the_password(name: str, store_uri: str, tmp_path: Path) -> None:
    """It answers, and does not let us in."""
    said = _said(COMMANDS[name], tmp_path, {"MONGODB_URI": store_uri, "KAFKA_BOOTSTRAP_SERVERS": NOBODY})
    assert said.strip()
    assert [piece for piece in PIECES if piece in said] == [], said[-2000:]


@pytest.mark.browser
@pytest.mark.parametrize("uri", [AWAY["MONGODB_URI"], UNPARSABLE["MONGODB_URI"], None], ids=["away", "none", "refused"])
def test_no_page_and_no_log_of_it_shows_a_password(uri: str | None, store_uri: str, tmp_path: Path) -> None:
    """The page names the host and the setting; so does its server's log."""
    log = tmp_path / "server.log"
    with chromium() as browser, dashboard_server(uri or store_uri, log) as url:
        page = browser.new_page()
        for path in ("overview", "runs", "run?run=r"):
            page.goto(f"{url}/{path}")
            page.wait_for_selector("[data-testid=stAlert], [data-testid=stException]", timeout=60_000)
            shown = page.content()
            assert "MONGODB_URI" in shown
            assert [piece for piece in PIECES if piece in shown] == []
        assert processes_with([PASSWORD]) == []
    assert [piece for piece in PIECES if piece in log.read_text(errors="replace")] == []
