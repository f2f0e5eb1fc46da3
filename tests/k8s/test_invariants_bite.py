"""Each invariant, broken on purpose in a rendered copy, complains: a check that cannot fail is none."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.k8s import connections, invariants
from tests.k8s.conftest import Render
from tests.k8s.environment import unread_variables
from tests.k8s.rendered import Combination, Object, named, of_kind, pods

Break = Callable[[list[Object]], Any]

CLUSTER = Combination("cluster")
LOCAL = Combination("local", ("network-policies",))


def container(objects: Sequence[Object], owner: str = "StatefulSet/kafka") -> Object:
    """Return a workload's first container."""
    (pod,) = [each for each in pods(objects) if each.owner == owner]
    found: Object = pod.spec["containers"][0]
    return found


def spec(objects: Sequence[Object], owner: str = "StatefulSet/kafka") -> Object:
    """Return a workload's pod."""
    (pod,) = [each for each in pods(objects) if each.owner == owner]
    return pod.spec


def policy(objects: Sequence[Object], name: str) -> Object:
    """Return what a network policy says."""
    found: Object = named(objects, "NetworkPolicy", name)["spec"]
    return found


def config(objects: Sequence[Object], name: str) -> Object:
    """Return a config map's data."""
    found: Object = named(objects, "ConfigMap", name)["data"]
    return found


def add(objects: list[Object], kind: str, **parts: Any) -> None:
    """Add an object."""
    objects.append({"kind": kind, "metadata": {"name": "added"}, **parts})


def drop(objects: list[Object], *policies: str) -> None:
    """Remove network policies."""
    for name in policies:
        objects.remove(named(objects, "NetworkPolicy", name))


BREAKS: list[tuple[str, Combination, invariants.Complaints, Break]] = [
    ("root", LOCAL, invariants.privileges, lambda o: spec(o)["securityContext"].update(runAsNonRoot=False)),
    ("user 0", LOCAL, invariants.privileges, lambda o: spec(o)["securityContext"].update(runAsUser=0)),
    ("no seccomp", LOCAL, invariants.privileges, lambda o: spec(o)["securityContext"].pop("seccompProfile")),
    ("host network", LOCAL, invariants.privileges, lambda o: spec(o).update(hostNetwork=True)),
    ("host path", LOCAL, invariants.privileges, lambda o: spec(o)["volumes"].append({"name": "h", "hostPath": {}})),
    ("service links", LOCAL, invariants.privileges, lambda o: spec(o).pop("enableServiceLinks")),
    (
        "writable root",
        LOCAL,
        invariants.privileges,
        lambda o: container(o)["securityContext"].pop("readOnlyRootFilesystem"),
    ),
    (
        "escalation",
        LOCAL,
        invariants.privileges,
        lambda o: container(o)["securityContext"].pop("allowPrivilegeEscalation"),
    ),
    (
        "capability",
        LOCAL,
        invariants.privileges,
        lambda o: container(o)["securityContext"]["capabilities"].update(add=["NET_RAW"]),
    ),
    ("privileged", LOCAL, invariants.privileges, lambda o: container(o)["securityContext"].update(privileged=True)),
    (
        "init container",
        LOCAL,
        invariants.privileges,
        lambda o: spec(o, "StatefulSet/streaming")["initContainers"][2].pop("securityContext"),
    ),
    (
        "executor",
        CLUSTER,
        invariants.privileges,
        lambda o: config(o, "spark").update(
            {"executor.yaml": config(o, "spark")["executor.yaml"].replace("ALL", "KILL")}
        ),
    ),
    ("pod token", LOCAL, invariants.tokens, lambda o: spec(o).update(automountServiceAccountToken=True)),
    (
        "driver token without a role",
        LOCAL,
        invariants.tokens,
        lambda o: spec(o, "StatefulSet/streaming").pop("automountServiceAccountToken"),
    ),
    (
        "account token",
        LOCAL,
        invariants.tokens,
        lambda o: named(o, "ServiceAccount", "kafka").pop("automountServiceAccountToken"),
    ),
    ("default account", LOCAL, invariants.tokens, lambda o: spec(o).pop("serviceAccountName")),
    ("wildcard verb", CLUSTER, invariants.tokens, lambda o: of_kind(o, "Role")[0]["rules"][0].update(verbs=["*"])),
    ("no liveness", LOCAL, invariants.missing_probes, lambda o: container(o).pop("livenessProbe")),
    (
        "probe of no port",
        LOCAL,
        invariants.missing_probes,
        lambda o: container(o)["readinessProbe"]["tcpSocket"].update(port="gone"),
    ),
    ("no memory limit", LOCAL, invariants.missing_limits, lambda o: container(o)["resources"]["limits"].pop("memory")),
    ("no CPU request", LOCAL, invariants.missing_limits, lambda o: container(o)["resources"]["requests"].pop("cpu")),
    (
        "boundless scratch",
        LOCAL,
        invariants.missing_limits,
        lambda o: spec(o)["volumes"].append({"name": "s", "emptyDir": {}}),
    ),
    (
        "boundless executor",
        CLUSTER,
        invariants.missing_limits,
        lambda o: config(o, "spark").update({"spark-defaults.conf": "spark.executor.memory 1g"}),
    ),
    (
        "no heap",
        LOCAL,
        invariants.heaps_without_room,
        lambda o: config(o, "kafka-env").update(JAVA_OPTS="-XX:+UseSerialGC"),
    ),
    (
        "too much heap",
        LOCAL,
        invariants.heaps_without_room,
        lambda o: config(o, "kafka-env").update(JAVA_OPTS="-Xmx700m"),
    ),
    ("latest", LOCAL, invariants.floating_images, lambda o: container(o).update(image="wattline/kafka:latest")),
    ("no tag", LOCAL, invariants.floating_images, lambda o: container(o).update(image="host:5000/wattline/kafka")),
    (
        "tag in the cluster",
        CLUSTER,
        invariants.images_without_digest,
        lambda o: container(o).update(image="wattline/kafka:1.0"),
    ),
    (
        "executor by tag",
        CLUSTER,
        invariants.images_without_digest,
        lambda o: next(
            e for e in container(o, "StatefulSet/streaming")["env"] if e["name"] == "SPARK_EXECUTOR_IMAGE"
        ).update(value="wattline/streaming:1.0"),
    ),
    (
        "password in a config map",
        CLUSTER,
        invariants.shown_secrets,
        lambda o: config(o, "endpoints").update(
            X=base64.b64decode(named(o, "Secret", "kafka-trainer")["data"]["KAFKA_SASL_PASSWORD"]).decode()
        ),
    ),
    (
        "address with a password",
        LOCAL,
        invariants.shown_secrets,
        lambda o: config(o, "endpoints").update(X="mongodb://a:b@h/"),
    ),
    ("claim in the overlay", LOCAL, invariants.volatile_claims, lambda o: add(o, "PersistentVolumeClaim")),
    ("namespace in the overlay", LOCAL, invariants.volatile_claims, lambda o: add(o, "Namespace")),
    (
        "claims deleted",
        LOCAL,
        invariants.volatile_claims,
        lambda o: named(o, "StatefulSet", "kafka")["spec"].update(
            persistentVolumeClaimRetentionPolicy={"whenDeleted": "Delete"}
        ),
    ),
    (
        "selector of nobody",
        LOCAL,
        connections.dead_services,
        lambda o: named(o, "Service", "kafka")["spec"].update(selector={"a": "b"}),
    ),
    ("port of nobody", LOCAL, connections.dead_services, lambda o: container(o)["ports"][0].update(containerPort=9999)),
    (
        "nowhere governed",
        LOCAL,
        connections.dead_services,
        lambda o: named(o, "StatefulSet", "kafka")["spec"].update(serviceName="x"),
    ),
    (
        "ingress to nowhere",
        CLUSTER,
        connections.dead_services,
        lambda o: named(o, "Service", "dashboard")["spec"]["ports"][0].update(name="x"),
    ),
    (
        "budget for nobody",
        CLUSTER,
        connections.dead_services,
        lambda o: named(o, "PodDisruptionBudget", "kafka")["spec"]["selector"].update(matchLabels={"a": "b"}),
    ),
    ("no such secret", LOCAL, connections.dangling_references, lambda o: o.remove(named(o, "Secret", "mongodb"))),
    (
        "no such config map",
        LOCAL,
        connections.dangling_references,
        lambda o: o.remove(named(o, "ConfigMap", "streaming")),
    ),
    ("volume without a mount", LOCAL, connections.unmounted_volumes, lambda o: container(o)["volumeMounts"].pop()),
    ("mount without a volume", LOCAL, connections.unmounted_volumes, lambda o: spec(o)["volumes"].pop()),
    ("variable of nobody", LOCAL, unread_variables, lambda o: config(o, "endpoints").update(WATTLINE_NOBODY_READS="1")),
    (
        "variable of another service",
        LOCAL,
        unread_variables,
        lambda o: config(o, "dashboard").update(WATTLINE_WATERMARK_S="1"),
    ),
    ("variable of no file", LOCAL, unread_variables, lambda o: config(o, "kafka").update({"server.properties": ""})),
    (
        "policy for nobody",
        LOCAL,
        connections.dead_flows,
        lambda o: policy(o, "trainer-to-kafka")["podSelector"].update(matchLabels={"a": "b"}),
    ),
    (
        "policy by no port",
        LOCAL,
        connections.dead_flows,
        lambda o: policy(o, "trainer-to-kafka")["egress"][0]["ports"][0].update(port="gone"),
    ),
    (
        "policy by every port",
        LOCAL,
        connections.dead_flows,
        lambda o: policy(o, "trainer-to-kafka")["egress"][0].pop("ports"),
    ),
    (
        "port outside",
        CLUSTER,
        connections.dead_flows,
        lambda o: policy(o, "driver-to-kubernetes")["egress"][0]["ports"][0].update(port=22),
    ),
    (
        "one end only",
        LOCAL,
        connections.one_sided_flows,
        lambda o: o.remove(named(o, "NetworkPolicy", "kafka-from-trainer")),
    ),
    (
        "flow forgotten",
        LOCAL,
        connections.forbidden_flows,
        lambda o: drop(o, "registry-from-stream", "stream-to-registry"),
    ),
]


@pytest.mark.parametrize(
    ("combination", "complaints", "broken"), [each[1:] for each in BREAKS], ids=[e[0] for e in BREAKS]
)
def test_a_break_is_found(
    combination: Combination, complaints: invariants.Complaints, broken: Break, render: Render
) -> None:
    """What is sound is not complained of, and what is broken is."""
    objects = render(combination)
    before = complaints(objects)
    broken(objects)
    assert len(complaints(objects)) > len(before)
