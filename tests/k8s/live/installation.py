"""An overlay that runs on a real cluster, in a namespace of its own, reached by kubectl alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pymongo.database import Database
from pymongo.errors import PyMongoError

from tests.k8s.kubectl import Kubectl
from tests.k8s.rendered import ROOT, Object, copy_tree, kustomize
from tools.images import IMAGES
from wattline_common import store
from wattline_common.errors import StoreUnavailableError

__all__ = ["Installation", "Server", "UnreachableError", "wait_until"]

TAG = os.environ.get("WATTLINE_IMAGE_TAG") or "dev"
REGISTRY = os.environ.get("WATTLINE_TEST_IMAGE_REGISTRY", "").rstrip("/")
_FORWARDED = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ")
_FORWARD_S = 20.0
Answer = TypeVar("Answer")


class UnreachableError(Exception):
    """What was to be reached in the cluster is not there at the moment."""


@dataclass(frozen=True)
class Server:
    """A pod of a workload that serves, as it was at one moment."""

    workload: str
    name: str
    uid: str
    is_ready: bool
    restarts: int
    reason: str  # of its containers' last end, as in OOMKilled


class Installation:
    """An overlay of tests/k8s/overlays with secrets of its own; nothing else on the cluster is touched."""

    def __init__(self, kubectl: Kubectl, overlay: str, folder: Path) -> None:
        self.kubectl = kubectl
        self.namespace = f"wattline-live-{uuid.uuid4().hex[:8]}"
        self._folder = folder
        self.tree = copy_tree(folder)
        shutil.copytree(ROOT / "tests" / "k8s" / "overlays", folder / "tests" / "k8s" / "overlays")
        self._overlay = overlay
        self._tags = {image.name: TAG for image in IMAGES}
        self._settings: dict[str, dict[str, str]] = {}
        self._applied = folder / "applied"
        self._applied.mkdir()

    @property
    def images(self) -> list[str]:
        """The names of all images, without registry and tag."""
        return list(self._tags)

    def create(self) -> None:
        """Make the namespace, as restricted as Wattline's own."""
        (namespace,) = kustomize(ROOT / "k8s" / "namespace")
        namespace["metadata"]["name"] = self.namespace
        self.kubectl("create", "-f", "-", stdin=json.dumps(namespace))

    def remove(self) -> None:
        """Take the namespace away, with all that is in it."""
        self.kubectl.run("delete", "namespace", self.namespace, "--ignore-not-found", timeout_s=300)

    def change(
        self, *, tags: Mapping[str, str] | None = None, settings: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        """Remember, for the next apply, tags by image (as in wattline/streaming) and variables by config map."""
        self._tags |= tags or {}
        for name, variables in (settings or {}).items():
            self._settings.setdefault(name, {}).update(variables)

    def apply(self) -> None:
        """Apply the overlay with all changes so far."""
        registry = f"{REGISTRY}/" if REGISTRY else "wattline/"
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": self.namespace,
            "resources": [f"../tests/k8s/overlays/{self._overlay}"],
            "images": [
                {"name": name, "newName": registry + name.rpartition("/")[2], "newTag": tag}
                for name, tag in self._tags.items()
            ],
            "configMapGenerator": [
                {"name": name, "behavior": "merge", "literals": [f"{key}={value}" for key, value in variables.items()]}
                for name, variables in self._settings.items()
            ],
        }
        (self._applied / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
        self.kubectl("apply", "-k", str(self._applied))

    def is_settled(self) -> bool:
        """Whether every workload runs what was applied, all of it ready, and nothing of before is left."""
        found = self.get("statefulsets,deployments")
        servers = self.servers()
        return (
            all(_is_rolled_out(each) for each in found)
            and len(servers) == sum(each["spec"]["replicas"] for each in found)
            and all(each.is_ready for each in servers)
        )

    def wait_settled(self, within_s: float) -> float:
        """Wait until it is; return the seconds it took."""
        return wait_until(self.is_settled, lambda: f"all pods ready:\n{self.told()}", within_s)

    def told(self) -> str:
        """Return what a person would look at first."""
        pods = self.kubectl.run("get", "pods", "-n", self.namespace, "-o", "wide").stdout
        events = self.kubectl.run("get", "events", "-n", self.namespace, "--sort-by=.lastTimestamp").stdout
        return pods + "\n".join(events.splitlines()[-15:])

    def get(self, kinds: str, *arguments: str) -> list[Any]:
        """Return objects of the namespace."""
        found: list[Any] = self.kubectl.json("get", "-n", self.namespace, kinds, *arguments)["items"]
        return found

    def servers(self) -> list[Server]:
        """Return the pods of StatefulSets and Deployments, also those that are about to end (not ready)."""
        found = []
        for pod in self.get("pods"):
            owners = {each["kind"] for each in pod["metadata"].get("ownerReferences", [])}
            if owners & {"StatefulSet", "ReplicaSet"}:
                found.append(_server(pod))
        return found

    def execute(self, target: str, *command: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command in the first container of a pod, as it is."""
        return self.kubectl.run("exec", "-n", self.namespace, target, "--", *command, timeout_s=timeout_s)

    def logs(self, target: str, *arguments: str) -> str:
        """Return what a pod has said."""
        return self.kubectl.run("logs", "-n", self.namespace, target, *arguments).stdout

    def start_job(
        self, name: str, command: Sequence[str] | None = None, arguments: Sequence[str] | None = None
    ) -> None:
        """Start a Job as `kubectl create job --from=cronjob/trainer` does, with another command if one is given."""
        made = self.kubectl(
            *("create", "job", "-n", self.namespace, name, "--from=cronjob/trainer", "--dry-run=client", "-o", "json")
        )
        job = json.loads(made)
        container = job["spec"]["template"]["spec"]["containers"][0]
        container |= {"command": list(command)} if command else {}
        container |= {"args": list(arguments)} if arguments else {}
        self.kubectl("create", "-n", self.namespace, "-f", "-", stdin=json.dumps(job))

    def job_ended(self, name: str) -> str | None:
        """Return how a Job ended, "Complete" or "Failed"; None while it goes on."""
        conditions = self.kubectl.json("get", "-n", self.namespace, f"job/{name}")["status"].get("conditions", [])
        ends = [each["type"] for each in conditions if each["status"] == "True"]
        return next((end for end in ("Complete", "Failed") if end in ends), None)

    @contextmanager
    def forward(self, target: str, port: int) -> Iterator[int]:
        """Yield a port of 127.0.0.1 that leads to a pod's or service's; raise `UnreachableError` when none does."""
        log = self._folder / f"forward-{uuid.uuid4().hex[:8]}.log"
        command = [*self.kubectl.command, "port-forward", "-n", self.namespace, target, f":{port}"]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            deadline_s = time.monotonic() + _FORWARD_S
            while not (found := _FORWARDED.search(log.read_text("utf-8"))):
                if process.poll() is not None or time.monotonic() > deadline_s:
                    raise UnreachableError(f"{target}:{port}: {log.read_text('utf-8')}")
                time.sleep(0.05)
            yield int(found[1])
        finally:
            process.terminate()
            process.wait(10)
            log.unlink()

    @contextmanager
    def open_store(self) -> Iterator[Database[store.Document]]:
        """Yield the store in the cluster: good until its pod goes."""
        with self.forward("service/mongodb", 27017) as port:
            database = store.connect(f"mongodb://127.0.0.1:{port}/?directConnection=true")
            try:
                yield database
            finally:
                database.client.close()

    def ask_store(self, question: Callable[[Database[store.Document]], Answer]) -> Answer | None:
        """Return the store's answer, None when it gave none."""
        try:
            with self.open_store() as database:
                return question(database)
        except (UnreachableError, PyMongoError, StoreUnavailableError):
            return None


def _is_rolled_out(workload: Object) -> bool:
    spec, status = workload["spec"], workload["status"]
    ready = status.get("readyReplicas", 0) == status.get("updatedReplicas", 0) == spec["replicas"]
    seen = status.get("observedGeneration") == workload["metadata"]["generation"]
    return bool(ready and seen and status.get("currentRevision") == status.get("updateRevision"))


def _server(pod: Object) -> Server:
    status, metadata = pod["status"], pod["metadata"]
    containers = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    ready = {each["type"] for each in status.get("conditions", []) if each["status"] == "True"}
    return Server(
        workload=metadata["labels"]["app.kubernetes.io/name"],
        name=metadata["name"],
        uid=metadata["uid"],
        is_ready="Ready" in ready and "deletionTimestamp" not in metadata,
        restarts=sum(each["restartCount"] for each in status.get("containerStatuses", [])),
        reason=", ".join(each["lastState"]["terminated"]["reason"] for each in containers if each.get("lastState")),
    )


def wait_until(holds: Callable[[], object], what: Callable[[], str], within_s: float, every_s: float = 1.0) -> float:
    """Poll until something holds and return the seconds it took; fail with what does not."""
    began_s = time.monotonic()
    while not holds():
        passed_s = time.monotonic() - began_s
        assert passed_s < within_s, f"not within {within_s:g} s: {what()}"
        time.sleep(every_s)
    return time.monotonic() - began_s
