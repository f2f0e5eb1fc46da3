"""The demo as a person has it: one command, the pages in a browser with the store's numbers, Ctrl-C, and once more."""

from __future__ import annotations

import datetime
import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.browser import ARTIFACTS, Requests, chromium, until
from tests.dashboard_pages import figures
from wattline_common import store
from wattline_common.store import Document
from wattline_dashboard.formats import EMISSIONS, ENERGY
from wattline_stack import Stack, StackSettings
from wattline_stack.processes import ProcessTable
from wattline_streaming.audit import audit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page
    from pymongo.database import Database

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

RUNS = 6
EPOCHS = 15


@dataclass
class Demo:
    """A demo that runs, with its training over and its history settled."""

    process: subprocess.Popen[str]
    data_dir: Path
    output: Path
    page: str
    run_id: str
    database: Database[Document]


def start(data_dir: Path, output: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the demo as `make demo` does."""
    command = [sys.executable, "-m", "wattline_stack.demo", "--runs", str(RUNS), "--live", "0", *arguments]
    environment = {**os.environ, "WATTLINE_DATA_DIR": str(data_dir), "WATTLINE_SETTLE_DELAY_S": "2"}
    with output.open("w") as said:
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=said, text=True, start_new_session=True
        )


@pytest.fixture(scope="module")
def demo(stack_settings: StackSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """Start the demo and wait until its training has ended and everything is settled."""
    folder = tmp_path_factory.mktemp("demo")
    data_dir, output = folder / "data", folder / "output"
    process = start(data_dir, output, "--epochs", str(EPOCHS), "--port", "0")
    try:
        said = output.read_text
        until(lambda: "open http" in said() or process.poll() is not None, "the page's address", within_s=240)
        found = re.search(r"open (http://\S+?)/run\?run=(\S+)", said())
        assert found, said()
        until(lambda: "the training has ended" in said(), "the training's end", within_s=240)
        stack = Stack(StackSettings.from_environment({**os.environ, "WATTLINE_DATA_DIR": str(data_dir)}))
        database = store.connect(stack.endpoints().mongodb_uri)
        until(lambda: settled(database), "the history to be settled", within_s=240)
        yield Demo(process, data_dir, output, found[1], found[2], database)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(90)


def settled(database: Database[Document]) -> bool:
    """Return whether all runs are there and every window is settled."""
    found = audit(database)
    return found.clean and found.open_windows == 0 and len(found.runs) == RUNS + 1


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run one browser for all tests here."""
    with chromium() as browser:
        yield browser


@pytest.fixture(params=["light", "dark"])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """Open a page in each theme; it must have asked nobody but this machine."""
    context = browser.new_context(color_scheme=request.param, viewport={"width": 1440, "height": 2000})
    page = context.new_page()
    requests = Requests(page)
    yield page
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{request.node.originalname}-{request.param}.png")
    context.close()
    assert requests.urls
    assert requests.outside() == []


def shows(page: Page, label: str, value: str) -> None:
    """Wait until a figure has a value."""
    until(lambda: figures(page).get(label) == value, f"{label} {value}; there is {figures(page)}", within_s=60)


def test_demo_overview(demo: Demo, page: Page) -> None:
    """Overview has the store's energy of the last day, the real run and the simulated ones apart."""
    summaries = {run["_id"]: run for run in demo.database[store.TRAINING_RUN_SUMMARY].find()}
    page.goto(f"{demo.page}/")
    page.wait_for_selector("[data-testid=stMetricValue]", timeout=60_000)
    for name, simulated in (("real", False), ("simulated", True)):
        since = datetime.datetime.now(datetime.UTC).replace(second=0, microsecond=0) - datetime.timedelta(hours=24)
        energy_kwh = sum(
            window["aggregate"]["energy_kwh"]
            for window in demo.database[store.AGGREGATED_METRICS].find()
            if window["window_start"] >= since and summaries[window["run_id"]]["simulated"] is simulated
        )
        assert energy_kwh > 0
        shows(page, f"Energy, {name}", ENERGY.text(energy_kwh))


def test_demo_runs(demo: Demo, page: Page) -> None:
    """Runs lists every run of the store, with their energy in all."""
    summaries = list(demo.database[store.TRAINING_RUN_SUMMARY].find())
    page.goto(f"{demo.page}/runs")
    page.wait_for_selector("[data-testid=stDataFrame]", timeout=60_000)
    cells = page.locator("[data-testid=stDataFrame] td")
    until(lambda: {run["_id"] for run in summaries} <= set(cells.all_text_contents()), "all runs in the table", 60)
    shows(page, "Energy, real", ENERGY.text(sum(r["energy_kwh"] for r in summaries if not r["simulated"])))
    shows(page, "Energy, simulated", ENERGY.text(sum(r["energy_kwh"] for r in summaries if r["simulated"])))


def test_demo_run(demo: Demo, page: Page) -> None:
    """Run has the energy and emissions that the training itself measured, of a plan that a forecast can be made by."""
    summary = demo.database[store.TRAINING_RUN_SUMMARY].find_one({"_id": demo.run_id})
    assert summary is not None
    (source,) = summary["sources"].values()
    assert source["started"]["planned_epochs"] == EPOCHS
    ledger: dict[str, Any] = json.loads((demo.data_dir / "ledgers" / f"{demo.run_id}.json").read_text())
    page.goto(f"{demo.page}/run?run={demo.run_id}")
    page.wait_for_selector("[data-testid=stMetricValue]", timeout=60_000)
    shows(page, "Energy", ENERGY.text(ledger["energy_kwh"]))
    shows(page, "Emissions, CO₂e", EMISSIONS.text(ledger["emissions_kg"]).removesuffix(" CO₂e"))
    until(lambda: page.locator(".wattline-plot .main-svg").count() >= 18, "six plots", within_s=60)


def test_all_of_a_demo_listens_on_loopback_only(demo: Demo) -> None:
    """Servers, stream with Spark and its workers, page, simulator: nobody else on the network reaches any of it."""
    roots = [psutil.Process(demo.process.pid), *ProcessTable(demo.data_dir).running().values()]
    all_of_it = {each.pid: each for root in roots for each in (root, *root.children(recursive=True))}
    listening = {
        connection.laddr
        for process in all_of_it.values()
        for connection in process.net_connections("inet")
        if connection.status == "LISTEN"
    }
    assert len(listening) >= len(("broker", "controller", "registry", "its probes", "store", "page"))
    assert {address.ip for address in listening} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_the_data_of_a_demo_are_its_owners_alone(demo: Demo) -> None:
    """Names of people and runs stand in journal, topics and logs: no other user of the machine gets into the folder."""
    assert stat.S_IMODE(demo.data_dir.stat().st_mode) == 0o700
    logs = list((demo.data_dir / "logs").glob("*.log"))
    assert logs
    assert {stat.S_IMODE(log.stat().st_mode) for log in logs} == {0o600}


def test_interrupt_stops_all_and_the_next_demo_goes_on(demo: Demo) -> None:
    """Ctrl-C ends all that was started and says where the data stay; the next demo, unattended, goes on with them."""
    pids = [row["pid"] for row in json.loads((demo.data_dir / "processes.json").read_text()).values()]
    assert len(pids) >= 5
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(90) == 0
    assert not [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]
    assert f"data stay in {demo.data_dir}" in demo.output.read_text()
    again = start(demo.data_dir, demo.output.with_name("again"), "--for", "5")
    answer, _ = again.communicate(timeout=400)
    assert again.returncode == 0, demo.output.with_name("again").read_text()
    verdict = json.loads(answer)
    assert verdict["held"] is True
    assert verdict["audit"] == "clean"
    assert verdict["runs"] == RUNS + 2, "the history is simulated once only"
    assert verdict["rejected"] == 0
    assert 0 < verdict["first_watt_s"] < 240
