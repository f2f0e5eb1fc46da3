"""The sidecar adds itself to a Job and changes nothing that the Job said; what it is allowed, and what it is told."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.k8s import invariants
from tests.k8s.environment import environment, unread_variables
from tests.k8s.rendered import ROOT, Object, Pod, kustomize, named, of_kind, pods, text_of

FOREIGN = Path(__file__).with_name("foreign")
Sidecar = Callable[..., list[Object]]


@pytest.fixture
def sidecar(tmp_path: Path) -> Sidecar:
    """Return a function that renders somebody's Jobs with components, as their own kustomization would."""

    def rendered(*components: str, **change: Any) -> list[Object]:
        shutil.copytree(ROOT / "k8s" / "components", tmp_path / "components", dirs_exist_ok=True)
        shutil.copytree(FOREIGN, tmp_path / "theirs", dirs_exist_ok=True)
        path = tmp_path / "theirs" / "kustomization.yaml"
        kustomization = yaml.safe_load((FOREIGN / "kustomization.yaml").read_text("utf-8"))
        kustomization |= {"components": [f"../components/{name}" for name in components], **change}
        path.write_text(yaml.safe_dump(kustomization), encoding="utf-8")
        return kustomize(path.parent)

    return rendered


def _pod(objects: list[Object]) -> Pod:
    (pod,) = pods(objects)
    return pod


def _ours(objects: list[Object]) -> Object:
    (found,) = [each for each in _pod(objects).containers if each["name"] == "wattline"]
    return found


def _without_ours(job: Object) -> Object:
    """Take away what the sidecar is said to add."""
    found = copy.deepcopy(job)
    spec = found["spec"]["template"]["spec"]
    assert spec.pop("shareProcessNamespace") is True
    spec["initContainers"] = [each for each in spec["initContainers"] if each["name"] != "wattline"]
    spec["volumes"] = [each for each in spec["volumes"] if not each["name"].startswith("wattline-")]
    return found


@pytest.mark.parametrize("components", [["sidecar"], ["sidecar", "sidecar/login"]], ids=" + ".join)
def test_a_job_is_what_it_was(sidecar: Sidecar, components: list[str]) -> None:
    """Nothing that the Job says of itself is changed or lost."""
    (before,) = of_kind(sidecar(), "Job")
    (after,) = of_kind(sidecar(*components), "Job")
    assert _without_ours(after) == before


def test_it_starts_before_all_others_and_keeps_nobody_waiting(sidecar: Sidecar) -> None:
    """It is a native sidecar: first of all, ended after the rest, without a probe that a training would wait for."""
    first = _pod(sidecar("sidecar")).spec["initContainers"][0]
    assert (first["name"], first["restartPolicy"]) == ("wattline", "Always")
    assert not first.keys() & {"startupProbe", "readinessProbe", "livenessProbe", "lifecycle"}


@pytest.mark.parametrize("components", [["sidecar"], ["sidecar", "sidecar/login"]], ids=" + ".join)
def test_it_is_as_confined_as_can_be(sidecar: Sidecar, components: list[str]) -> None:
    """It fits the profile `restricted` whatever its pod says, and what it reads needs no right."""
    objects = sidecar(*components)
    assert _ours(objects)["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    spec = _pod(objects).spec
    assert not spec.keys() & {"hostPID", "hostNetwork", "hostIPC"}
    assert not [volume for volume in spec["volumes"] if "hostPath" in volume]
    assert invariants.missing_limits(objects) == []
    assert invariants.floating_images(objects) == []


def test_a_guaranteed_pod_stays_guaranteed(sidecar: Sidecar) -> None:
    """Its limits are its requests: whoever has CPUs to himself keeps them."""
    resources = _ours(sidecar("sidecar"))["resources"]
    assert resources["requests"] == resources["limits"]
    assert resources["limits"].keys() == {"cpu", "memory"}


@pytest.mark.parametrize("components", [["sidecar"], ["sidecar", "sidecar/login"]], ids=" + ".join)
def test_the_tracker_reads_what_it_is_told(sidecar: Sidecar, components: list[str]) -> None:
    """Each variable is one of the tracker's, or stands in its arguments; the spool fits its volume."""
    login = {"KAFKA_SASL_USERNAME": "", "KAFKA_SASL_PASSWORD": ""}
    objects = [*sidecar(*components), {"kind": "Secret", "metadata": {"name": "wattline-kafka"}, "data": login}]
    theirs = {"CPU_S", "EXIT_CODE", "IGNORES_SIGTERM"}
    assert [line for line in unread_variables(objects) if line.rpartition(" ")[2] not in theirs] == []
    ours = _ours(objects)
    given = environment(objects, _pod(objects), ours)
    (mount,) = [each for each in ours["volumeMounts"] if each["name"] == "wattline-spool"]
    assert given["WATTLINE_SPOOL_DIR"] == mount["mountPath"]
    (volume,) = [each for each in _pod(objects).spec["volumes"] if each["name"] == "wattline-spool"]
    spool_bytes = int(given["WATTLINE_SPOOL_MB"]) * 10**6
    assert spool_bytes < invariants.bytes_of(volume["emptyDir"]["sizeLimit"])


def test_a_setting_is_changed_by_a_patch(sidecar: Sidecar) -> None:
    """As README.md shows it; a change makes a new name, so that a Job never runs with half of it."""
    patch = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "wattline"}}
    before = sidecar("sidecar")
    after = sidecar("sidecar", patches=[{"patch": yaml.safe_dump(patch | {"data": {"WATTLINE_REGION": "FRA"}})}])
    assert text_of(after, "ConfigMap", "wattline")["WATTLINE_REGION"] == "FRA"
    names = [named(each, "ConfigMap", "wattline")["metadata"]["name"] for each in (before, after)]
    assert names[0] != names[1]
    assert _ours(after)["envFrom"] == [{"configMapRef": {"name": names[1]}}]


def test_the_login_is_that_of_the_cluster(sidecar: Sidecar) -> None:
    """Outside the namespace it is the same as inside, but for the place."""
    objects = sidecar("sidecar", "sidecar/login")
    lines = (ROOT / "k8s/overlays/cluster/endpoints.env").read_text("utf-8").splitlines()
    inside = dict(line.split("=", 1) for line in lines)
    inside.pop("KAFKA_REPLICATION_FACTOR")  # for who makes topics
    host, port = inside["KAFKA_BOOTSTRAP_SERVERS"].split(":")
    given = text_of(objects, "ConfigMap", "wattline")
    assert inside | {"KAFKA_BOOTSTRAP_SERVERS": f"{host}.wattline.svc:{port}"} == {key: given[key] for key in inside}
    place = Path(given["KAFKA_SSL_CA_LOCATION"]).parent
    assert [each["mountPath"] for each in _ours(objects)["volumeMounts"] if each["name"] == "wattline-kafka-ca"] == [
        str(place)
    ]
    assert {"secretRef": {"name": "wattline-kafka"}} in _ours(objects)["envFrom"]
