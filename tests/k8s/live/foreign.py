"""Somebody's Job that never heard of Wattline, with the sidecar added to it as a person would add it."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path
from typing import Any

import yaml

from tests.k8s.live.installation import REGISTRY, TAG, Installation
from tests.k8s.rendered import ROOT, kustomize
from wattline_common import store

__all__ = ["J_PER_CPU_S", "ForeignJob"]

J_PER_CPU_S = 1000.0  # so much that memory is nothing beside it
_SAID = "CPU seconds: "
# A container has no tool for it; the tracker's image has psutil.
_KILL = (
    "import psutil\n"
    "for each in psutil.process_iter(['cmdline']):\n"
    "    if 'watch' in (each.info['cmdline'] or []): each.kill()\n"
)


class ForeignJob:
    """Such a Job, in the installation's own namespace, and its run in the store."""

    def __init__(self, installation: Installation, *components: str, grace_s: int = 30, **environment: str) -> None:
        self._installation = installation
        self.name = f"foreign-{uuid.uuid4().hex[:6]}"
        self.model_name = f"meta-llama/{self.name}"
        objects = {each["kind"]: each for each in self._built(["sidecar", *components])}
        job = objects["Job"]
        job["metadata"]["name"] = self.name
        job["spec"]["template"]["metadata"]["annotations"]["wattline.model-name"] = self.model_name
        spec = job["spec"]["template"]["spec"]
        spec["terminationGracePeriodSeconds"] = grace_s
        for variable in spec["containers"][0]["env"]:
            variable["value"] = environment.get(variable["name"], variable["value"])
        for each in (objects["ConfigMap"], job):
            installation.kubectl("apply", "-f", "-", stdin=json.dumps(each))

    def _built(self, components: list[str]) -> list[Any]:
        """Build their kustomization with the components; all that differs is where this Wattline is."""
        namespace, tree = self._installation.namespace, self._installation.tree
        for path in (tree / "components" / "sidecar").rglob("*.env"):
            path.write_text(path.read_text("utf-8").replace(".wattline.svc", f".{namespace}.svc"), "utf-8")
        theirs = tree / "theirs"
        shutil.rmtree(theirs, ignore_errors=True)
        shutil.copytree(ROOT / "tests" / "k8s" / "foreign", theirs)
        kustomization = yaml.safe_load((theirs / "kustomization.yaml").read_text("utf-8"))
        settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "wattline"}, "data": self._meter()}
        kustomization |= {
            "namespace": namespace,
            "components": [f"../components/{name}" for name in components],
            "patches": [{"patch": yaml.safe_dump(settings)}],
            "images": [
                {"name": f"wattline/{name}", "newName": f"{REGISTRY or 'wattline'}/{name}", "newTag": TAG}
                for name in ("dashboard", "tracker")
            ],
        }
        Path(theirs, "kustomization.yaml").write_text(yaml.safe_dump(kustomization), "utf-8")
        return kustomize(theirs)

    def _meter(self) -> dict[str, str]:
        """Charge each CPU second so much: in this model the host's power is shared by CPU time alone."""
        nodes = self._installation.kubectl.json("get", "nodes")["items"]
        (cpus,) = {int(node["status"]["capacity"]["cpu"]) for node in nodes}  # as the Job may go to any
        return {"WATTLINE_CPU_MODEL": "tdp-linear", "WATTLINE_CPU_TDP_W": str(J_PER_CPU_S * cpus)}

    @property
    def target(self) -> str:
        """What kubectl calls it."""
        return f"job/{self.name}"

    def pod(self) -> Any:
        """Return its pod."""
        (found,) = self._installation.get("pods", "-l", f"batch.kubernetes.io/job-name={self.name}")
        return found

    def said_cpu_s(self) -> float:
        """Return the CPU seconds that it has told last, those of its Python at the start with them; 0 before."""
        lines = self._installation.logs(self.target, "-c", "training").splitlines()
        return next((float(line.removeprefix(_SAID)) for line in reversed(lines) if line.startswith(_SAID)), 0.0)

    def run(self) -> store.Document | None:
        """Return its run's summary, None before there is one."""
        found = self._installation.ask_store(
            lambda database: list(database[store.TRAINING_RUN_SUMMARY].find({"model_name": self.model_name}))
        )
        assert len(found or []) < 2, f"several runs of one Job: {found}"
        return found[0] if found else None

    def measured_cpu_s(self) -> float:
        """Return the CPU seconds that its run's energy stands for, as far as it is stored; 0 before."""
        run = self.run()
        return run["energy_kwh"] * 3.6e6 / J_PER_CPU_S if run else 0.0

    def stored_events(self) -> int:
        """Return how many of its run's events are stored."""
        wanted = {"model_name": self.model_name}
        counted = self._installation.ask_store(
            lambda database: database[store.TRAINING_METRICS].count_documents(wanted)
        )
        return counted or 0

    def sources_ended(self) -> list[bool]:
        """Return of each of its run's sources, the oldest first, whether it has told its end."""
        sources = (self.run() or {"sources": {}})["sources"].values()
        in_order = sorted(sources, key=lambda source: source["first_timestamp_us"])
        return ["finished" in source for source in in_order]

    def kill_sidecar(self) -> None:
        """Kill the watcher, as a node without memory would."""
        pod = self.pod()["metadata"]["name"]
        self._installation.kubectl.run(
            "exec", "-n", self._installation.namespace, pod, "-c", "wattline", "--", "python", "-c", _KILL
        )

    def sidecar_restarts(self) -> int:
        """Return how often the watcher was started again."""
        statuses = self.pod()["status"]["initContainerStatuses"]
        return int(next(each["restartCount"] for each in statuses if each["name"] == "wattline"))

    def told(self) -> str:
        """Return what a person would look at first."""
        said = self._installation.kubectl.run(
            "logs", "-n", self._installation.namespace, self.target, "--all-containers", "--prefix", "--tail=15"
        )
        return f"{said.stdout}{said.stderr}{self._installation.told()}"
