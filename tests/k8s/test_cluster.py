"""Promises of overlays/cluster alone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.k8s import invariants
from tests.k8s.conftest import Render
from tests.k8s.rendered import BLOCK_MANAGER_PORT, COMBINATIONS, Combination, Object, named, of_kind, text_of

CLUSTER = [each for each in COMBINATIONS if each.overlay == "cluster"]


@pytest.fixture
def cluster(render: Render) -> list[Object]:
    """Return the overlay as it is."""
    return render(Combination("cluster"))


def properties(objects: list[Object]) -> dict[str, str]:
    """Return Kafka's settings."""
    lines = text_of(objects, "ConfigMap", "kafka")["server.properties"].splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.mark.parametrize("combination", CLUSTER, ids=str)
def test_images_by_digest(combination: Combination, render: Render) -> None:
    """What runs is what was pushed, executors too."""
    assert invariants.images_without_digest(render(combination)) == []


def test_three_replicas_two_of_them_in_sync(cluster: list[Object]) -> None:
    """One broker may go without loss and without a stop, and no one machine holds two."""
    kafka = named(cluster, "StatefulSet", "kafka")["spec"]
    settings = properties(cluster)
    assert kafka["replicas"] == 3
    assert settings["default.replication.factor"] == settings["offsets.topic.replication.factor"] == "3"
    assert settings["transaction.state.log.replication.factor"] == "3"
    assert settings["min.insync.replicas"] == settings["transaction.state.log.min.isr"] == "2"
    assert len(settings["controller.quorum.voters"].split(",")) == 3
    assert text_of(cluster, "ConfigMap", "endpoints")["KAFKA_REPLICATION_FACTOR"] == "3"
    (term,) = kafka["template"]["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    assert term["labelSelector"]["matchLabels"] == kafka["selector"]["matchLabels"]


def test_kafka_lets_nobody_in_without_a_password_or_a_certificate(cluster: list[Object]) -> None:
    """Clients and brokers log in by SCRAM over TLS, controllers by certificate; no port is open besides."""
    settings = properties(cluster)
    assert settings["listeners"] == "SASL_SSL://:9094,CONTROLLER://:9093"
    assert settings["listener.security.protocol.map"] == "SASL_SSL:SASL_SSL,CONTROLLER:SSL"
    assert settings["listener.name.controller.ssl.client.auth"] == "required"
    assert settings["sasl.enabled.mechanisms"] == "SCRAM-SHA-512"
    assert "PLAINTEXT" not in "".join(settings.values())
    endpoints = text_of(cluster, "ConfigMap", "endpoints")
    assert (endpoints["KAFKA_SECURITY_PROTOCOL"], endpoints["KAFKA_SASL_MECHANISM"]) == ("SASL_SSL", "SCRAM-SHA-512")


def test_every_client_of_kafka_has_a_password_of_its_own_and_the_authority(cluster: list[Object]) -> None:
    """The users that Kafka is given at its format are those that clients log in as; each container can check it."""
    users = dict(user.split("=", 1) for user in text_of(cluster, "Secret", "kafka")["KAFKA_SCRAM_USERS"].split(","))
    clients: dict[str, str] = {"broker": text_of(cluster, "Secret", "kafka")["KAFKA_BROKER_PASSWORD"]}
    for name in ("registry", "streaming", "trainer"):
        login = text_of(cluster, "Secret", f"kafka-{name}")
        clients[login["KAFKA_SASL_USERNAME"]] = login["KAFKA_SASL_PASSWORD"]
    assert users == clients
    assert len(set(users.values())) == len(users)
    for kind, name, container in (
        ("StatefulSet", "streaming", "streaming"),
        ("StatefulSet", "streaming", "ensure-topics"),
        ("StatefulSet", "registry", "registry"),
        ("CronJob", "trainer", "trainer"),
    ):
        spec = _pod_spec(named(cluster, kind, name))
        (found,) = [e for e in [*spec.get("initContainers", []), *spec["containers"]] if e["name"] == container]
        assert "/etc/wattline/kafka" in [mount["mountPath"] for mount in found["volumeMounts"]]
        logins = [each["secretRef"]["name"] for each in found["envFrom"] if "secretRef" in each]
        assert any(login.startswith(f"kafka-{name}-") for login in logins), (container, logins)


def test_nobody_but_brokers_sees_the_key(cluster: list[Object]) -> None:
    """Of kafka-tls a client gets the authority's certificate only."""
    for each in of_kind(cluster, "StatefulSet", "Deployment", "CronJob"):
        for volume in _pod_spec(each).get("volumes", []):
            if volume.get("secret", {}).get("secretName") == "kafka-tls" and each["metadata"]["name"] != "kafka":
                assert [item["key"] for item in volume["secret"]["items"]] == ["ca.crt"]


def test_several_of_what_may_be_several(cluster: list[Object]) -> None:
    """Whatever has replicas has a budget and is spread."""
    for each in of_kind(cluster, "StatefulSet", "Deployment"):
        name = each["metadata"]["name"]
        if each["spec"].get("replicas", 1) > 1:
            assert named(cluster, "PodDisruptionBudget", name)["spec"]["maxUnavailable"] == 1
            (spread,) = each["spec"]["template"]["spec"]["topologySpreadConstraints"]
            assert spread["labelSelector"]["matchLabels"] == each["spec"]["selector"]["matchLabels"]


def test_mongodb_is_outside(cluster: list[Object]) -> None:
    """The overlay runs no database; its address is a secret, one for who writes and one for who reads."""
    assert not [each for each in cluster if each["metadata"]["name"].startswith("mongodb")]
    uris = {text_of(cluster, "Secret", f"{who}-store")["MONGODB_URI"] for who in ("streaming", "dashboard")}
    assert len(uris) == 2


def test_checkpoint_is_shared_with_the_executors(cluster: list[Object]) -> None:
    """Executors mount the driver's own claim, at its place, and many nodes may."""
    stream = named(cluster, "StatefulSet", "streaming")["spec"]
    (claim,) = stream["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    (container,) = stream["template"]["spec"]["containers"]
    places = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    conf = text_of(cluster, "ConfigMap", "spark")["spark-defaults.conf"]
    settings = dict(line.split(None, 1) for line in conf.splitlines() if line and not line.startswith("#"))
    volume = "spark.kubernetes.executor.volumes.persistentVolumeClaim.checkpoint"
    assert settings[f"{volume}.options.claimName"] == "checkpoint-streaming-0"
    assert settings[f"{volume}.mount.path"] == places["checkpoint"]
    checkpoint = text_of(cluster, "ConfigMap", "streaming")["WATTLINE_CHECKPOINT_DIR"]
    assert checkpoint.startswith(places["checkpoint"] + "/")
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert settings["spark.driver.port"] == str(ports["spark-driver"])
    assert settings["spark.driver.blockManager.port"] == str(ports["blockmanager"])
    assert settings["spark.blockManager.port"] == str(BLOCK_MANAGER_PORT)  # what the policies of executors go by


def _pod_spec(workload: Object) -> Any:
    spec = workload["spec"]
    return (spec["jobTemplate"]["spec"] if workload["kind"] == "CronJob" else spec)["template"]["spec"]
