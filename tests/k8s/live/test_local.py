"""The local overlay on a real node: from nothing to a training and a fleet that are booked, shown, and fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.browser import ARTIFACTS, Requests, chromium, until
from tests.dashboard_pages import figures
from tests.k8s.live.conftest import Ready
from tests.k8s.live.fleet import audit_inside, running_fleet, wait_equal
from tests.k8s.live.installation import Installation, wait_until
from tests.k8s.live.memory import Peaks, watched_memory
from wattline_common import store
from wattline_dashboard.formats import ENERGY

pytestmark = pytest.mark.timeout(1500)

READY_S = 300.0
SIX_GB = 6 * 10**9
TRAINING = "first-training"
SERVERS = {"kafka", "registry", "mongodb", "streaming", "dashboard"}


@dataclass(frozen=True)
class Work:
    """What has been done in the cluster, and what it took."""

    installation: Installation
    fleet: dict[str, Any]
    training: store.Document  # its summary
    peaks: Peaks


@pytest.fixture(scope="module")
def work(ready: Ready, report: Callable[[str], None]) -> Iterator[Work]:
    """Run the trainer's Job beside a day of 20 runs and five live ones; memory is watched until all tests are over."""
    installation = ready.installation
    with watched_memory(installation) as peaks:
        installation.start_job(TRAINING)
        with running_fleet(installation, "--runs", "20", "--days", "1", "--live", "5", "--emit-interval", "1") as fleet:
            wait_until(lambda: installation.job_ended(TRAINING), installation.told, 420)
            fleet.stop()
            ledger = fleet.ledger(120)
        equal_s = wait_equal(installation, ledger, 300)
        summaries = installation.ask_store(lambda database: list(database[store.TRAINING_RUN_SUMMARY].find()))
        assert installation.job_ended(TRAINING) == "Complete", installation.logs(f"job/{TRAINING}")
        (training,) = [each for each in summaries or [] if not each["simulated"]]
        totals = ledger["totals"]
        report(f"{totals['events']} events of {totals['runs']} simulated runs, equal {equal_s:.0f} s later")
        yield Work(installation, ledger, training, peaks)


def test_all_is_ready_from_nothing(ready: Ready, report: Callable[[str], None]) -> None:
    """Every server of the overlay is ready within minutes of the first apply, and none had to be started again."""
    report(f"from nothing to all ready: {ready.after_s:.0f} s")
    servers = ready.installation.servers()
    assert {each.workload for each in servers} == SERVERS
    assert ready.after_s < READY_S
    assert {each.workload: each.reason for each in servers if each.restarts} == {}


def test_fleet_and_training_are_in_the_three_collections(work: Work) -> None:
    """The fleet equals its ledger (the fixture waited for it), and the real training is whole, with energy."""
    of_training = {"run_id": work.training["_id"]}
    raw = work.installation.ask_store(lambda database: database[store.TRAINING_METRICS].count_documents(of_training))
    windows = work.installation.ask_store(lambda found: found[store.AGGREGATED_METRICS].count_documents(of_training))
    assert raw == work.training["events_expected"]
    assert windows
    assert work.training["status"] == "COMPLETED"
    assert work.training["energy_kwh"] > 0
    assert work.training["environment"] == "local"


def test_the_audit_inside_the_cluster_is_clean(work: Work) -> None:
    """`audit`, run in the stream's pod, finds no difference, nothing rejected, and every run whole."""
    found = audit_inside(work.installation)
    assert found["clean"]
    assert found["counts"][store.REJECTED_EVENTS] == 0
    assert {run["run_id"] for run in found["runs"]} == {*work.fleet["runs"], work.training["_id"]}
    assert [run for run in found["runs"] if run["missing_events"]] == []


@pytest.mark.browser
def test_the_dashboard_shows_both(work: Work) -> None:
    """In a browser: the fleet's runs are listed with the store's figures, and the training's page has its energy."""
    fleet_kwh = sum(run["energy_kwh"] for run in work.fleet["runs"].values())
    with chromium() as browser, work.installation.forward("service/dashboard", 8501) as port:
        page = browser.new_page(viewport={"width": 1440, "height": 1800})
        requests = Requests(page)
        url = f"http://127.0.0.1:{port}"

        page.goto(f"{url}/runs?kind=simulated")
        page.wait_for_selector("[data-testid=stMetricValue]", timeout=60_000)
        until(lambda: figures(page).get("Energy, simulated") == ENERGY.text(fleet_kwh), "the fleet's energy", 60)
        assert figures(page)["Runs, simulated"] == str(len(work.fleet["runs"]))
        ARTIFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTIFACTS / "k8s-dashboard-runs.png")
        page.goto(f"{url}/run?run={work.training['_id']}")
        page.wait_for_selector("[data-testid=stMetricValue]", timeout=60_000)
        until(
            lambda: figures(page).get("Energy") == ENERGY.text(work.training["energy_kwh"]), "the training's energy", 60
        )
        until(lambda: page.locator(".wattline-plot .main-svg").count() > 0, "its curves", 60)
        page.screenshot(path=ARTIFACTS / "k8s-dashboard-run.png")
        assert requests.outside() == []


def test_every_pod_stays_below_its_limit(work: Work, report: Callable[[str], None]) -> None:
    """Under the fleet's load no pod's memory reaches its limit, and all of them together fit in 6 GB."""
    for line in work.peaks.table():
        report(line)
    assert work.peaks.looks > 10
    assert SERVERS | {"trainer"} <= work.peaks.by_workload.keys()
    assert {name: usage for name, usage in work.peaks.by_workload.items() if not 0 < usage.rss < usage.limit} == {}
    assert max(work.peaks.sum_rss, work.peaks.sum_working_set) < SIX_GB
    assert {each.workload: each.reason for each in work.installation.servers() if each.restarts} == {}
