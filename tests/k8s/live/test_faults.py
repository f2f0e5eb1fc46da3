"""Pods deleted, images and settings changed while a fleet is live: nothing is lost, and it heals in two minutes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest

from tests.k8s.live.conftest import Ready
from tests.k8s.live.fleet import running_fleet, wait_equal
from tests.k8s.live.installation import Installation, wait_until
from tests.requirements import require

pytestmark = pytest.mark.timeout(900)

HEALED_S = 120.0
EQUAL_S = 240.0
WORKLOADS = ("kafka", "registry", "mongodb", "streaming", "dashboard")
LIVE_FLEET = ("--runs", "0", "--live", "5", "--emit-interval", "1")
NEXT_TAG = "WATTLINE_TEST_UPGRADE_TAG"
Report = Callable[[str], None]


def uids(installation: Installation) -> dict[str, str]:
    """Return the identity of each workload's pod."""
    return {each.workload: each.uid for each in installation.servers()}


@contextmanager
def under_load(ready: Ready, what: str, rolls: set[str], report: Report) -> Iterator[Installation]:
    """Have a fleet under way while the block strikes; then hold the cluster to all that is promised.

    Within HEALED_S after the block everything must be ready and events emitted after the strike stored; just the pods
    of ``rolls`` may be others than before; and in the end the collections must equal the fleet's ledger.
    """
    installation = ready.installation
    with running_fleet(installation, *LIVE_FLEET) as fleet:
        before, restarts = uids(installation), {each.workload: each.restarts for each in installation.servers()}
        began_s = time.monotonic()
        yield installation
        wait_until(lambda: _have_rolled(installation, before, rolls), installation.told, HEALED_S)
        ready_s = time.monotonic() - began_s
        wait_until(fleet.is_stored, installation.told, HEALED_S)
        healed_s = time.monotonic() - began_s
        after = {each.workload: each for each in installation.servers()}
        assert {name for name in WORKLOADS if after[name].uid != before[name]} == rolls
        assert {name for name in set(WORKLOADS) - rolls if after[name].restarts != restarts[name]} == set()
        fleet.stop()
        ledger = fleet.ledger(120)
    equal_s = wait_equal(installation, ledger, EQUAL_S)
    report(
        f"{what}: ready {ready_s:.0f} s, new events stored {healed_s:.0f} s after it; "
        f"all {ledger['totals']['events']} events equal {equal_s:.0f} s after the fleet's end"
    )
    assert healed_s <= HEALED_S


def _have_rolled(installation: Installation, before: Mapping[str, str], rolls: set[str]) -> bool:
    now = uids(installation)
    return installation.is_settled() and all(now[name] != before[name] for name in rolls)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_deleted_pod_heals(ready: Ready, report: Report, workload: str) -> None:
    """Whichever pod is deleted, another takes its place, alone, and every event is booked once."""
    with under_load(ready, f"{workload}'s pod deleted", {workload}, report) as installation:
        (pod,) = [each.name for each in installation.servers() if each.workload == workload]
        installation.kubectl("delete", "pod", "-n", installation.namespace, pod, "--wait=false")


@pytest.mark.parametrize(
    ("workload", "name", "value"),
    [("streaming", "WATTLINE_SETTLE_DELAY_S", "20"), ("dashboard", "WATTLINE_DASHBOARD_REFRESH_S", "2")],
)
def test_a_changed_setting_rolls_its_readers_only(
    ready: Ready, report: Report, workload: str, name: str, value: str
) -> None:
    """A setting that is changed in mid-run is in force within two minutes, in the pods that read it."""
    with under_load(ready, f"{name} changed", {workload}, report) as installation:
        installation.change(settings={workload: {name: value}})
        installation.apply()
    assert installation.execute(_owner(workload), "printenv", name).stdout.strip() == value


@pytest.mark.parametrize("workloads", [{"streaming"}, set(WORKLOADS)], ids=["streaming", "all"])
def test_a_rolling_upgrade(ready: Ready, report: Report, workloads: set[str]) -> None:
    """New images replace the old ones in mid-run: of one workload, and then of the others."""
    tag = os.environ.get(NEXT_TAG, "")
    if not tag:
        require(
            "kubernetes-upgrade",
            f"{NEXT_TAG} is not set",
            "build the images under a second tag, bring them to the nodes, and set it to that tag",
        )
    images = {"mongodb": "store"}
    wanted = {f"wattline/{images.get(workload, workload)}": tag for workload in workloads}
    installation = ready.installation
    rolls = {each for each in workloads if not _image(installation, each).endswith(f":{tag}")}
    with under_load(ready, f"upgrade of {', '.join(sorted(rolls))}", rolls, report):
        installation.change(tags=wanted)
        installation.apply()
    assert {_image(installation, each).rpartition(":")[2] for each in workloads} == {tag}


def _owner(workload: str) -> str:
    return f"{'deployment' if workload == 'dashboard' else 'statefulset'}/{workload}"


def _image(installation: Installation, workload: str) -> str:
    (found,) = [
        each["spec"]["containers"][0]["image"]
        for each in installation.get("pods", "-l", f"app.kubernetes.io/name={workload}")
    ]
    return str(found)
