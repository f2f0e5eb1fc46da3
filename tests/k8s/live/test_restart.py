"""The node ends without a warning in the middle of the stream's work, and everything comes back by itself."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.k8s.live.conftest import Ready
from tests.k8s.live.fleet import Fleet, audit_inside, running_fleet, wait_equal
from tests.k8s.live.installation import Installation, wait_until
from tests.requirements import require
from wattline_common import store

pytestmark = pytest.mark.timeout(1200)

RESTART = "WATTLINE_TEST_NODE_RESTART"
BACK_S = 300.0
LIVE = ("--runs", "0", "--live", "5", "--emit-interval", "1")
MESSAGES = (
    "from wattline_common import kafka\n"
    "from wattline_common.settings import Endpoints\n"
    "at = Endpoints.from_environment().kafka_bootstrap_servers\n"
    "print(sum(end - first for first, end in kafka.offsets(at, kafka.TRAINING_EVENTS).values()))\n"
)


def test_a_node_restart(ready: Ready, report: Callable[[str], None]) -> None:
    """What Kafka had acknowledged before the node's end is booked after it, though nobody did anything."""
    command = os.environ.get(RESTART, "")
    if not command:
        require(
            "kubernetes-restart",
            f"{RESTART} is not set",
            "set it to a command that ends the cluster's node as a power cut does, and starts it again",
        )
    installation = ready.installation
    ledger = Fleet(installation, "--runs", "8", "--days", "1", "--seed", "9").ledger(240)
    with running_fleet(installation, *LIVE) as live:
        cut_off = list(live.emitted())
        before = {each.workload: each for each in installation.servers()}
        began_s = time.monotonic()
        subprocess.run(command, shell=True, check=True, timeout=600)  # noqa: S602 - what a person would type
        restarted_s = time.monotonic() - began_s
        wait_until(lambda: installation.kubectl.run("get", "--raw", "/readyz").returncode == 0, lambda: "the API", 120)

        def is_back() -> bool:
            now = {each.workload: each for each in installation.servers()}
            started = [
                name
                for name, each in now.items()
                if each.restarts > before[name].restarts or each.uid != before[name].uid
            ]
            return len(started) == len(before) and installation.is_settled()

        wait_until(is_back, installation.told, BACK_S)
        back_s = time.monotonic() - began_s - restarted_s
    wait_until(lambda: is_all_stored(installation), installation.told, 120)
    assert statuses(installation, cut_off) == ["RUNNING"] * len(cut_off), "these runs were to be cut off"
    equal_s = wait_equal(installation, ledger, 300)
    report(
        f"node restart under {len(cut_off)} live runs: up after {restarted_s:.0f} s, all pods ready {back_s:.0f} s "
        f"after that; each message is stored once, and a fleet of before equals its ledger after {equal_s:.0f} s"
    )
    assert audit_inside(installation)["clean"]
    with running_fleet(installation, "--runs", "0", "--live", "1") as fleet:
        fleet.stop()
        wait_equal(installation, fleet.ledger(120), 120)


def is_all_stored(installation: Installation) -> bool:
    """Return whether the store has as many events as the topic has messages, and some; no producer here sends twice."""
    told = installation.execute("statefulset/streaming", "python", "-c", MESSAGES)
    stored = installation.ask_store(lambda database: database[store.TRAINING_METRICS].count_documents({}))
    return told.returncode == 0 and 0 < int(told.stdout) == stored


def statuses(installation: Installation, runs: list[str]) -> list[str]:
    """Return the status of each of these runs."""
    wanted = {"_id": {"$in": runs}}
    found = installation.ask_store(lambda database: list(database[store.TRAINING_RUN_SUMMARY].find(wanted)))
    return [summary["status"] for summary in found or []]
