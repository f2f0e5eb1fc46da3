"""The table of rights in SECURITY.md is what the manifests give, and what the code says it needs: no more, no less."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import pytest

from tests.k8s.conftest import Render
from tests.k8s.rendered import ROOT, Combination, Object, Pod, of_kind, pods, text_of
from wattline_common.kafka_rights import RIGHTS

OVERLAYS = ("local", "cluster")
NOTHING = "\N{EN DASH}"
_HASH = re.compile(r"-[a-z0-9]{10}$")


def _table() -> dict[str, dict[str, str]]:
    """Return the table's rows by component, each by column."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    lines = text[text.index("| component |") :].split("\n\n")[0].splitlines()
    heads, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: dict(zip(heads, row, strict=True)) for row in rows}


TABLE = _table()


def _component(pod: Pod) -> str:
    """Return whose pod it is: the executors are the stream's."""
    return "streaming" if pod.is_spark_executor else pod.owner.partition("/")[2]


def _secrets(pod: Pod) -> Iterator[str]:
    for container in pod.containers:
        for source in container.get("envFrom", []):
            if "secretRef" in source:
                yield _HASH.sub("", source["secretRef"]["name"])
        for variable in container.get("env", []):
            if "secretKeyRef" in variable.get("valueFrom", {}):
                yield _HASH.sub("", variable["valueFrom"]["secretKeyRef"]["name"])
    for volume in pod.spec.get("volumes", []):
        if "secret" in volume:
            items = ", ".join(item["path"] for item in volume["secret"].get("items", [])) or "all"
            yield f"{_HASH.sub('', volume['secret']['secretName'])}: {items}"


def _told(cell: str) -> set[str]:
    return set() if cell in {NOTHING, "outside"} else set(cell.split(", "))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_pod_sees_the_secrets_of_the_table(overlay: str, render: Render) -> None:
    """Every pod of an overlay stands in the table, and sees what stands there."""
    seen: dict[str, set[str]] = {}
    for pod in pods(render(Combination(overlay))):
        seen.setdefault(_component(pod), set()).update(_secrets(pod))
    assert seen == {
        name: _told(row[f"secrets it sees, {overlay}"])
        for name, row in TABLE.items()
        if row[f"secrets it sees, {overlay}"] != "outside"
    }


def _verbs(objects: list[Object], account: str) -> set[str]:
    """Return what a ServiceAccount may do, as the table writes it."""
    bound = {
        binding["roleRef"]["name"]
        for binding in of_kind(objects, "RoleBinding", "ClusterRoleBinding")
        if account in {subject["name"] for subject in binding["subjects"]}
    }
    roles = [role for role in of_kind(objects, "Role", "ClusterRole") if role["metadata"]["name"] in bound]
    return {
        f"{resource}: {' '.join(rule['verbs'])}"
        for role in roles
        for rule in role["rules"]
        for resource in rule["resources"]
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_pod_may_do_in_the_cluster_what_the_table_says(overlay: str, render: Render) -> None:
    """A token only where there are rights, and these to the verb; cluster-wide there is none."""
    objects = render(Combination(overlay))
    assert of_kind(objects, "ClusterRole", "ClusterRoleBinding") == []
    has_executors = bool(of_kind(objects, "Role"))
    for pod in pods(objects):
        cell = TABLE[_component(pod)]["Kubernetes API"]
        wanted = set() if cell == NOTHING or not has_executors or pod.is_spark_executor else set(cell.split("; "))
        account = pod.spec.get("serviceAccountName", "spark-executor" if pod.is_spark_executor else "default")
        assert _verbs(objects, account) == wanted, pod.owner
        assert (pod.spec.get("automountServiceAccountToken") is not False) == bool(wanted), pod.owner


def test_mongodbs_users_have_the_roles_of_the_table(render: Render) -> None:
    """The script that makes them gives one role each, on the one database."""
    script = text_of(render(Combination("local")), "ConfigMap", "mongodb-users")["users.js"]
    made = re.findall(r'user: "(\w+)",.*?roles: \[(.*?)\]', script, re.DOTALL)
    roles = {user: re.findall(r'role: "(\w+)", db: "(\w+)"', granted) for user, granted in made}
    column = "MongoDB `energy_emissions`"
    told = {name: row[column] for name, row in TABLE.items() if row[column] not in {NOTHING, "is it"}}
    assert roles == {name: [(role, "energy_emissions")] for name, role in told.items()}


def test_kafkas_rights_are_those_of_the_table() -> None:
    """The command grants what stands here."""
    told: Mapping[str, Mapping[str, tuple[str, ...]]] = {
        name: {
            topic.strip("`"): tuple(operations.split())
            for topic, _, operations in (part.partition(": ") for part in row["Kafka"].split("; "))
        }
        for name, row in TABLE.items()
        if row["Kafka"].startswith("`")
    }
    assert told == RIGHTS


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_user_of_kafka_has_a_password_of_its_own(overlay: str, render: Render) -> None:
    """A login that is lost opens what one component may do, not everything."""
    found = [
        text_of(render(Combination(overlay)), "Secret", _HASH.sub("", each["metadata"]["name"]))
        for each in of_kind(render(Combination(overlay)), "Secret")
    ]
    logins = [
        (values["KAFKA_SASL_USERNAME"], values["KAFKA_SASL_PASSWORD"])
        for values in found
        if "KAFKA_SASL_USERNAME" in values
    ]
    assert len({user for user, _ in logins}) == len({password for _, password in logins}) == len(logins)
    assert len(logins) == {"local": 0, "cluster": 3}[overlay]
