"""Promises of the manifests on a real API server, in namespaces of their own.

WATTLINE_TEST_KUBECONFIG names the cluster. Nothing must run there: pods may stay pending.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.k8s.kubectl import Kubectl
from tests.k8s.rendered import COMBINATIONS, Combination, copy_tree

DEADLINE_S = 60.0
KINDS = (
    *("statefulsets", "deployments", "cronjobs", "services", "configmaps", "secrets", "serviceaccounts"),
    *(
        "networkpolicies",
        "ingresses",
        "poddisruptionbudgets",
        "roles",
        "rolebindings",
        "podmonitors",
        "prometheusrules",
    ),
)
CRDS = Path(__file__).with_name("crds.yaml")
# kubectl says so though nothing changes: of a StatefulSet with claims, of a budget (its selector is always replaced),
# and of a Secret with a long value, whose lines kustomize breaks.
_SAYS_CONFIGURED = re.compile(r"(statefulset\.apps|poddisruptionbudget\.policy|secret)/\S+ configured")


@pytest.fixture(scope="module")
def monitoring(kubectl: Kubectl) -> Iterator[None]:
    """Give the cluster the two kinds of the Prometheus operator, unless it has them.

    They are ours, and small: they know the fields that the component uses, and refuse any other.
    """
    wanted = [each["metadata"]["name"] for each in yaml.safe_load_all(CRDS.read_text(encoding="utf-8"))]
    if all(kubectl.run("get", "crd", name).returncode == 0 for name in wanted):
        yield
        return
    kubectl("apply", "-f", str(CRDS))
    kubectl("wait", "--for=condition=Established", "--timeout=60s", *(f"crd/{name}" for name in wanted))
    yield
    kubectl("delete", "-f", str(CRDS))


class Installation:
    """A combination in a copy of the tree, with a namespace that nothing else has."""

    def __init__(self, kubectl: Kubectl, combination: Combination, folder: Path) -> None:
        self.kubectl = kubectl
        self.namespace = f"wattline-test-{uuid.uuid4().hex[:8]}"
        tree = copy_tree(folder)
        self.overlay = combination.prepare(tree)
        self.namespace_folder = tree / "namespace"
        _replace(self.overlay / "kustomization.yaml", "namespace: wattline", f"namespace: {self.namespace}")
        _replace(self.namespace_folder / "namespace.yaml", "name: wattline", f"name: {self.namespace}")

    def apply(self) -> list[str]:
        """Apply namespace and overlay as a person would; return what was said of each object."""
        said = self.kubectl("apply", "-k", str(self.namespace_folder)) + self.kubectl("apply", "-k", str(self.overlay))
        return said.splitlines()

    def versions(self) -> dict[str, str]:
        """Return what changes with each object of the overlay: its generation, or without one its version."""
        selector = "app.kubernetes.io/part-of=wattline"
        items = self.kubectl.json("get", "-n", self.namespace, ",".join(KINDS), "-l", selector)["items"]
        meta = {f"{each['kind']}/{each['metadata']['name']}": each["metadata"] for each in items}
        return {name: str(each.get("generation") or each["resourceVersion"]) for name, each in meta.items()}

    def claims(self) -> set[str]:
        """Return the claims that are there to stay."""
        found = self.kubectl.json("get", "-n", self.namespace, "persistentvolumeclaims")["items"]
        return {each["metadata"]["name"] for each in found if "deletionTimestamp" not in each["metadata"]}


@pytest.fixture(params=COMBINATIONS, ids=str)
def installation(
    request: pytest.FixtureRequest, kubectl: Kubectl, monitoring: None, tmp_path: Path
) -> Iterator[Installation]:
    """Return a combination that is not applied yet; in the end its namespace goes, with all that is in it."""
    found = Installation(kubectl, request.param, tmp_path)
    yield found
    kubectl.run("delete", "namespace", found.namespace, "--wait=false", "--ignore-not-found")


def test_applied_twice_and_deleted(installation: Installation) -> None:
    """No warning, no change by a second time; deleting it leaves namespace and claims, and it can come back to them."""
    first = installation.apply()
    assert all(line.endswith("created") for line in first), first
    wanted = {"data-kafka-0", "checkpoint-streaming-0"}
    _until(lambda: wanted <= installation.claims(), f"claims {wanted}")
    versions = installation.versions()

    assert installation.kubectl.run("diff", "-k", str(installation.overlay)).returncode == 0
    second = installation.apply()
    assert [e for e in second if not e.endswith("unchanged") and not _SAYS_CONFIGURED.fullmatch(e)] == []
    assert installation.versions() == versions

    claims = installation.claims()
    installation.kubectl("delete", "-k", str(installation.overlay))
    assert installation.versions() == {}
    assert installation.claims() == claims
    namespace = installation.kubectl.json("get", "namespace", installation.namespace)
    assert namespace["status"]["phase"] == "Active"

    assert all(line.endswith(("created", "unchanged")) for line in installation.apply())
    assert installation.claims() >= claims


def test_what_is_not_restricted_is_refused(kubectl: Kubectl, tmp_path: Path) -> None:
    """The namespace holds pods to the profile `restricted`: the promise is the API server's, not our tests' alone."""
    installation = Installation(kubectl, Combination("local"), tmp_path)
    kubectl("apply", "-k", str(installation.namespace_folder))
    try:
        done = kubectl.run("run", "root", "-n", installation.namespace, "--image=wattline/kafka:dev")
        assert done.returncode != 0
        assert 'violates PodSecurity "restricted' in done.stderr
    finally:
        kubectl.run("delete", "namespace", installation.namespace, "--wait=false")


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(re.findall(rf"^\s*{old}$", text, re.MULTILINE)) == 1, f"{path}: {old}"
    path.write_text(re.sub(rf"^(\s*){old}$", rf"\g<1>{new}", text, flags=re.MULTILINE), encoding="utf-8")


def _until(holds: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline_s, f"no {what} after {DEADLINE_S:g} s"
        time.sleep(0.2)
