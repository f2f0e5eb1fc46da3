"""The cluster overlay on one node: passwords and TLS to the broker, and a stream whose executors are pods of their own.

Cut to one broker, small requests and the embedded store: tests/k8s/overlays/small-cluster says how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.k8s.kubectl import Kubectl
from tests.k8s.live.fleet import Fleet, audit_inside, wait_equal
from tests.k8s.live.foreign import ForeignJob
from tests.k8s.live.installation import wait_until
from tests.k8s.live.small_cluster import SmallCluster
from wattline_common import store

pytestmark = pytest.mark.timeout(1800)

READY_S, EXECUTORS_S, FIRST_S, HEALED_S, EQUAL_S = 900.0, 300.0, 180.0, 300.0, 600.0
FLEET = ("--runs", "8", "--days", "1", "--live", "5", "--emit-interval", "1")
Report = Callable[[str], None]


@pytest.fixture(scope="module")
def cluster(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory, report: Report) -> Iterator[SmallCluster]:
    """Apply the overlay to nothing, and wait for its executors; in the end all of it goes."""
    found = SmallCluster(kubectl, tmp_path_factory.mktemp("cluster"))
    found.create()
    try:
        found.apply()
        ready_s = found.wait_settled(READY_S)
        report(f"the cluster overlay, from nothing to all ready: {ready_s:.0f} s")
        yield found
    finally:
        found.remove()


def test_executors_book_a_fleet_and_one_may_be_killed(cluster: SmallCluster, report: Report) -> None:
    """Two executors share the work; one is killed while events wait; another takes its place, and all is equal.

    The ledger is the simulator's own. State lies on the claim that driver and executors share.
    """
    wait_until(lambda: len(cluster.executors()) == 2, cluster.told, EXECUTORS_S)
    before = _stored(cluster)
    fleet = Fleet(cluster, *FLEET)
    wait_until(lambda: _stored(cluster) > before, cluster.told, FIRST_S, every_s=0.2)
    victim = cluster.executors()[0]["metadata"]
    booked = _stored(cluster) - before
    cluster.kubectl.run(
        "delete", "pod", "-n", cluster.namespace, victim["name"], "--grace-period=0", "--force", timeout_s=60
    )
    back_s = wait_until(lambda: _are_replaced(cluster, victim["uid"]), cluster.told, HEALED_S)
    wait_until(fleet.is_stored, cluster.told, HEALED_S)
    fleet.stop()
    ledger = fleet.ledger(240)
    events = ledger["totals"]["events"]
    assert 0 < booked < events / 2, f"{booked} of {events} events were booked: no batch was under way"
    equal_s = wait_equal(cluster, ledger, EQUAL_S)
    report(
        f"an executor killed when {booked} events were booked: another there after {back_s:.0f} s; all {events} events "
        f"equal {equal_s:.0f} s after the fleet's end"
    )
    assert audit_inside(cluster)["clean"]


def test_state_is_on_the_claim_that_all_share(cluster: SmallCluster) -> None:
    """Each executor mounts the driver's claim, which many may; what one wrote there the driver sees."""
    claims = {each["metadata"]["name"]: each["spec"] for each in cluster.get("persistentvolumeclaims")}
    name = "checkpoint-streaming-0"
    assert (claims[name]["accessModes"], claims[name]["storageClassName"]) == (["ReadWriteMany"], cluster.shared_class)
    for pod in cluster.executors():
        assert name in [each.get("persistentVolumeClaim", {}).get("claimName") for each in pod["spec"]["volumes"]]
        listing = ["sh", "-c", "find /var/lib/wattline/checkpoint/*/state -name '*.zip' -o -name '*.changelog'"]
        seen = [cluster.execute(f"pod/{each}", *listing) for each in (pod["metadata"]["name"], "streaming-0")]
        assert all(each.returncode == 0 and each.stdout for each in seen), seen


def _stored(cluster: SmallCluster) -> int:
    return cluster.ask_store(lambda database: database[store.TRAINING_METRICS].count_documents({})) or 0


def _are_replaced(cluster: SmallCluster, uid: str) -> bool:
    uids = [pod["metadata"]["uid"] for pod in cluster.executors()]
    return len(uids) == 2 and uid not in uids


def test_who_has_a_password_and_no_one_else_reaches_the_broker(cluster: SmallCluster) -> None:
    """SCRAM over TLS: the users that were drawn may, with their passwords; no other password, and nothing in plain."""
    for client in ("streaming", "trainer", "registry"):
        login = cluster.secret(f"kafka-{client}")
        done = cluster.log_in(login["KAFKA_SASL_USERNAME"], login["KAFKA_SASL_PASSWORD"])
        assert "training.events" in done.stdout, done.stderr
    assert cluster.log_in("streaming", "guessed").returncode != 0
    assert cluster.log_in("streaming", cluster.secret("kafka-streaming")["KAFKA_SASL_PASSWORD"], "PLAINTEXT").returncode
    (service,) = [each for each in cluster.get("services") if each["metadata"]["name"] == "kafka"]
    assert {port["name"]: port["port"] for port in service["spec"]["ports"]} == {"kafka": 9094, "controller": 9093}


def test_a_foreign_job_is_booked_by_password_over_tls(cluster: SmallCluster, report: Report) -> None:
    """The sidecar with `sidecar/login` brings its run through as anybody with a login does."""
    login = cluster.secret("kafka-trainer")
    literals = [f"--from-literal={key}={value}" for key, value in login.items()]
    make = ("create", "secret", "generic", "-n", cluster.namespace)
    cluster.kubectl(*make, "wattline-kafka", *literals)
    cluster.kubectl(*make, "wattline-kafka-ca", f"--from-file={cluster.tree.parent / 'tls' / 'ca.crt'}")
    job = ForeignJob(cluster, "sidecar/login", CPU_S="15")
    wait_until(lambda: cluster.job_ended(job.name), job.told, 300)
    assert cluster.job_ended(job.name) == "Complete"
    wait_until(lambda: job.sources_ended() == [True], job.told, 120)
    said_s, measured_s = job.said_cpu_s(), job.measured_cpu_s()
    report(f"by password over TLS: a foreign Job told {said_s:.2f} CPU s, its run has {measured_s:.2f}")
    assert said_s - 1.6 < measured_s < said_s + 1.5
