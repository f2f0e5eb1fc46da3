"""What kustomize renders, of a copy of k8s/ whose secrets are thrown away, and how tests look into it."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.requirements import require
from tools import k8s_secrets

__all__ = [
    "BASE",
    "BLOCK_MANAGER_PORT",
    "COMBINATIONS",
    "NEEDS",
    "ROOT",
    "Combination",
    "Object",
    "Pod",
    "copy_tree",
    "image_name",
    "kustomize",
    "named",
    "of_kind",
    "pods",
    "text_of",
]

ROOT = Path(__file__).parents[2]
Object = dict[str, Any]
BLOCK_MANAGER_PORT = 7079

# A component that needs others, or that has no sense with an overlay, says so in its kustomization.yaml, and here.
NEEDS = {
    "budgets/prometheus": ("budgets",),
    "network-policies/budgets": ("network-policies", "budgets"),
    "network-policies/executors": ("network-policies", "spark-executors"),
}
ONLY_WITH: dict[str, set[str]] = {
    "embedded-store": {"local"},  # the cluster has no MongoDB in whose place it could stand
    "sidecar": set(),  # for Jobs of others, in kustomizations of their own: test_sidecar.py
    "sidecar/login": set(),
}


@dataclass(frozen=True)
class Combination:
    """An overlay with components beyond those it has by itself; without an overlay, the base."""

    overlay: str = ""
    components: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the name of the test that uses it."""
        return " + ".join((self.overlay or "base", *self.components))

    def prepare(self, tree: Path) -> Path:
        """Add the components to the overlay in a copy of the tree; return the folder to build."""
        if not self.overlay:
            return tree / "base"
        folder = tree / "overlays" / self.overlay
        path = folder / "kustomization.yaml"
        kustomization = yaml.safe_load(path.read_text(encoding="utf-8"))
        kustomization["components"] += [f"../../components/{name}" for name in self.components]
        path.write_text(yaml.safe_dump(kustomization), encoding="utf-8")
        return folder


def _combinations() -> Iterator[Combination]:
    folder = ROOT / "k8s" / "components"
    components = sorted(path.parent.relative_to(folder).as_posix() for path in folder.rglob("kustomization.yaml"))
    for overlay in ("local", "cluster"):
        yield Combination(overlay)
        path = ROOT / "k8s" / "overlays" / overlay / "kustomization.yaml"
        there = {name.removeprefix("../../components/") for name in yaml.safe_load(path.read_text())["components"]}
        for component in components:
            if component not in there and overlay in ONLY_WITH.get(component, {overlay}):
                lacking = (name for name in NEEDS.get(component, ()) if name not in there)
                yield Combination(overlay, (*lacking, component))


BASE = Combination()
COMBINATIONS = tuple(_combinations())


def copy_tree(into: Path) -> Path:
    """Copy k8s/ without its secrets and draw new ones."""
    tree = into / "k8s"
    shutil.copytree(ROOT / "k8s", tree, ignore=shutil.ignore_patterns("secrets"))
    for overlay in k8s_secrets.FILES:
        k8s_secrets.write(overlay, tree / "overlays" / overlay / "secrets", _address)
    return tree


def _address(who: str) -> str:
    return f"mongodb+srv://{who.split()[1].strip(',')}:a-password-of-the-test@db.example.com/"


def kustomize(folder: Path) -> list[Object]:
    """Build a folder with kustomize or kubectl, whichever is there; no warning is allowed."""
    programs = {"kustomize": "build", "kubectl": "kustomize"}
    program = next(filter(shutil.which, programs), None)
    if program is None:
        require("kustomize", "neither kustomize nor kubectl is on the PATH", "install kubectl 1.32 or kustomize 5.5")
    command = [program, programs[program], str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


@dataclass(frozen=True)
class Pod:
    """A pod as a workload makes it, or as Spark does from a template in a config map."""

    owner: str  # as in StatefulSet/kafka
    labels: Mapping[str, str]
    spec: Object

    @property
    def containers(self) -> list[Object]:
        """All containers, those that run before the others too."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def ports(self) -> dict[str, int]:
        """Its ports by name."""
        found = {port["name"]: port["containerPort"] for each in self.containers for port in each.get("ports", [])}
        return found | ({"blockmanager": BLOCK_MANAGER_PORT} if self.is_spark_executor else {})  # Spark adds it

    @property
    def is_server(self) -> bool:
        """Whether somebody waits for it to be ready."""
        return self.owner.startswith(("Deployment/", "StatefulSet/"))

    @property
    def is_spark_executor(self) -> bool:
        """Whether Spark completes and watches it."""
        return self.owner.startswith("ConfigMap/")

    def selected_by(self, labels: Mapping[str, str]) -> bool:
        """Return whether a selector of labels selects it."""
        return labels.items() <= self.labels.items()


def pods(objects: Sequence[Object]) -> list[Pod]:
    """Return the pod of every workload and of every template."""
    found = []
    for each in objects:
        owner = f"{each['kind']}/{each['metadata']['name']}"
        if each["kind"] in {"Deployment", "StatefulSet"} or each["kind"] == "Job":
            found.append(_pod(owner, each["spec"]["template"]))
        elif each["kind"] == "CronJob":
            found.append(_pod(owner, each["spec"]["jobTemplate"]["spec"]["template"]))
        elif each["kind"] == "ConfigMap":
            texts = (text for name, text in each.get("data", {}).items() if name.endswith(".yaml"))
            found += [_pod(owner, template) for template in map(yaml.safe_load, texts) if template["kind"] == "Pod"]
    return found


def _pod(owner: str, template: Object) -> Pod:
    return Pod(owner, template["metadata"].get("labels", {}), template["spec"])


def of_kind(objects: Sequence[Object], *kinds: str) -> list[Object]:
    """Return the objects of some kinds."""
    return [each for each in objects if each["kind"] in kinds]


def named(objects: Sequence[Object], kind: str, name: str) -> Object:
    """Return an object by the name it has in the tree: generated ones have a hash behind it."""
    found = [
        each
        for each in of_kind(objects, kind)
        if each["metadata"]["name"] == name or each["metadata"]["name"].rpartition("-")[0] == name
    ]
    assert len(found) == 1, f"{len(found)} objects {kind}/{name}"
    return found[0]


def image_name(container: Object) -> str:
    """Return the last part of an image's name, without tag and digest; Spark gives an executor the driver's."""
    name: str = container.get("image", "streaming").partition("@")[0].rpartition("/")[2]
    return name.partition(":")[0]


def text_of(objects: Sequence[Object], kind: str, name: str) -> dict[str, str]:
    """Return the data of a config map or secret, decoded."""
    data = named(objects, kind, name).get("data", {})
    if kind == "ConfigMap":
        return dict(data)
    return {key: base64.b64decode(value).decode() for key, value in data.items()}
