"""Promises of the rendered manifests: the base, both overlays, and each overlay with each component."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.k8s import connections, invariants
from tests.k8s.conftest import Render
from tests.k8s.environment import unread_variables
from tests.k8s.rendered import COMBINATIONS, ROOT, Combination, Object, kustomize, named, of_kind, pods, text_of

SIX_GB = 6 * 10**9
ON_ONE_MACHINE = [each for each in COMBINATIONS if each.overlay == "local" and "spark-executors" not in each.components]
EVERYWHERE = (
    invariants.privileges,
    invariants.tokens,
    invariants.missing_probes,
    invariants.missing_limits,
    invariants.shown_secrets,
    invariants.volatile_claims,
    connections.dead_services,
)
IN_OVERLAYS = (
    invariants.heaps_without_room,
    unread_variables,
    invariants.floating_images,
    connections.dangling_references,
    connections.unmounted_volumes,
    connections.dead_flows,
    connections.one_sided_flows,
    connections.forbidden_flows,
)


@pytest.mark.parametrize("complaints", EVERYWHERE, ids=lambda each: each.__name__)
def test_holds_everywhere(complaints: invariants.Complaints, objects: list[Object]) -> None:
    """The base says nothing that an overlay would have to take back."""
    assert complaints(objects) == []


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
@pytest.mark.parametrize("complaints", IN_OVERLAYS, ids=lambda each: each.__name__)
def test_holds_in_overlays(complaints: invariants.Complaints, combination: Combination, render: Render) -> None:
    """What is applied is complete and connected."""
    assert complaints(render(combination)) == []


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_names_and_labels(combination: Combination, render: Render) -> None:
    """All of it is in one namespace and has one label; a change of configuration changes its name, so pods roll."""
    for each in render(combination):
        metadata = each["metadata"]
        assert metadata["namespace"] == "wattline", each
        assert metadata["labels"]["app.kubernetes.io/part-of"] == "wattline", each
        if each["kind"] in {"ConfigMap", "Secret"} and "grafana_dashboard" not in metadata["labels"]:
            assert re.search(r"-[a-z0-9]{10}$", metadata["name"]), metadata["name"]


@pytest.mark.parametrize("combination", ON_ONE_MACHINE, ids=str)
def test_local_fits_six_gigabytes(combination: Combination, render: Render) -> None:
    """All pods of the local overlay and one training, at their limits, take less than 6 GB."""
    total = 0
    for pod in pods(render(combination)):
        limits = [invariants.bytes_of(each["resources"]["limits"]["memory"]) for each in pod.spec["containers"]]
        first = [
            invariants.bytes_of(each["resources"]["limits"]["memory"]) for each in pod.spec.get("initContainers", [])
        ]
        total += max([sum(limits), *first])
    assert total <= SIX_GB


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_one_driver(combination: Combination, render: Render) -> None:
    """There is one stream: a second would only wait for the checkpoint's lock."""
    assert named(render(combination), "StatefulSet", "streaming")["spec"].get("replicas", 1) == 1


def test_training_is_suspended(objects: list[Object]) -> None:
    """A training runs when somebody asks for it."""
    assert named(objects, "CronJob", "trainer")["spec"]["suspend"] is True


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_streaming_ensures_what_it_needs(combination: Combination, render: Render) -> None:
    """Topics, subjects and indexes are made before the stream starts."""
    spec = named(render(combination), "StatefulSet", "streaming")["spec"]["template"]["spec"]
    assert [" ".join(each["command"]) for each in spec["initContainers"]] == [
        "python -m wattline_common.kafka",
        "python -m wattline_common.registry register",
        "python -m wattline_common.store",
    ]


def test_registry_keeps_what_it_acknowledged(objects: list[Object]) -> None:
    """A registry with a file is started so that a kill gives no id to another schema."""
    url = text_of(objects, "ConfigMap", "registry-env")["APICURIO_DATASOURCE_URL"]
    assert url.endswith(";WRITE_DELAY=0") if ":file:" in url else url.startswith("jdbc:h2:mem:")


def test_namespace_is_restricted_and_apart() -> None:
    """The namespace asks for the profile `restricted`; no overlay holds it, so none deletes it."""
    (namespace,) = kustomize(ROOT / "k8s" / "namespace")
    labels = namespace["metadata"]["labels"]
    assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "audit", "warn")} == {"restricted"}


def test_no_secret_is_tracked() -> None:
    """Neither a file of an overlay's secrets/ nor a manifest of kind Secret is in the repository."""
    listing = ["git", "ls-files", "k8s"]
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = [ROOT / line for line in listed.stdout.splitlines()]
    assert not [path for path in paths if path.parent.name == "secrets"]
    assert not [path for path in paths if path.suffix == ".yaml" and "\nkind: Secret\n" in path.read_text()]
    for overlay in ("local", "cluster"):
        ignored = ["git", "check-ignore", "--quiet", f"k8s/overlays/{overlay}/secrets/kafka.env"]
        assert subprocess.run(ignored, cwd=ROOT, check=False).returncode == 0


def test_executors_are_as_confined_as_their_driver(render: Render) -> None:
    """Spark's pods have the label that policies go by, and no token; their template is in the driver's pod."""
    objects = render(Combination("cluster"))
    (executor,) = [pod for pod in pods(objects) if pod.is_spark_executor]
    (driver,) = [pod for pod in pods(objects) if pod.owner == "StatefulSet/streaming"]
    component = "app.kubernetes.io/component"
    assert executor.labels[component] == driver.labels[component] == "stream"
    verbs = {rule["resources"][0]: set(rule["verbs"]) for rule in of_kind(objects, "Role")[0]["rules"]}
    assert verbs == {  # what Spark 4.1 was seen to ask for, and no more
        "pods": {"create", "get", "list", "watch", "delete", "deletecollection"},
        "configmaps": {"create", "deletecollection"},
    }
    assert not of_kind(objects, "ClusterRole", "ClusterRoleBinding")
