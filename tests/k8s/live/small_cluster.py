"""The cluster overlay on one node: cut to one broker, and what it needs is made as k8s/README.md says.

Where the cluster has no StorageClass `wattline-shared`, the shared claim is of the default class: on one node all pods
may mount it.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.k8s.kubectl import Kubectl
from tests.k8s.live.installation import REGISTRY, TAG, Installation
from tests.k8s.rendered import ROOT
from tools.image.kustomization import EMPTY

__all__ = ["SmallCluster"]

SHARED_CLASS = "wattline-shared"
_ALONE = (  # one voter, and one replica of everything
    (r"^controller\.quorum\.voters=(0@[^,]+),.*$", r"controller.quorum.voters=\1"),
    (r"^(.*\.replication\.factor)=3$", r"\1=1"),
    (r"^(.*\bmin\.(?:isr|insync\.replicas))=2$", r"\1=1"),
)
_SMALL = (  # a request that two cores can hold beside everything else; one task at a time, so that both have some
    (r"^(spark\.executor\.cores)\s+\d+$", r"\1 1\nspark.kubernetes.executor.request.cores 100m"),
)


class SmallCluster(Installation):
    """The overlay small-cluster, with certificates of its own."""

    def __init__(self, kubectl: Kubectl, folder: Path) -> None:
        super().__init__(kubectl, "small-cluster", folder)
        cluster, small = self.tree / "overlays" / "cluster", folder / "tests/k8s/overlays/small-cluster"
        _rewrite(cluster / "kafka/server.properties", small / "server.properties", _ALONE)
        conf = self.tree / "components/spark-executors/spark-defaults.conf"
        _rewrite(conf, small / "spark-defaults.conf", _SMALL)
        self.shared_class = _shared_class(kubectl)
        claim = self.tree / "components/spark-executors/shared-claim.yaml"
        _rewrite(claim, claim, ((f"^(  value: ){SHARED_CLASS}$", rf"\g<1>{self.shared_class}"),))
        images = [
            {"name": name, "newName": f"{REGISTRY}/{name.rpartition('/')[2]}" if REGISTRY else name, "newTag": TAG}
            for name in self.images
        ]
        # What a push writes; here by tag, as an image that was brought to a node has no digest to name.
        Path(cluster, "images/kustomization.yaml").write_text(yaml.safe_dump(EMPTY | {"images": images}), "utf-8")

    def create(self) -> None:
        """Make the namespace, and in it the Secret of the brokers, by the very commands that the README gives."""
        super().create()
        folder = self.tree.parent / "tls"
        folder.mkdir()
        commands = _readme_commands().replace("wattline", self.namespace)
        bash, where = ["bash", "-euc", commands], self.kubectl.environment()
        done = subprocess.run(bash, cwd=folder, env=where, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def executors(self) -> list[Any]:
        """Return the pods that Spark made and that live."""
        pods = self.get("pods", "-l", "spark-role=executor")
        return [
            pod for pod in pods if pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]
        ]

    def log_in(self, user: str, password: str, protocol: str = "SASL_SSL") -> subprocess.CompletedProcess[str]:
        """Ask the broker for its topics from the stream's pod, as somebody."""
        code = (
            "import sys\nfrom confluent_kafka.admin import AdminClient\n"
            "settings = {'bootstrap.servers': 'kafka:9094', 'security.protocol': sys.argv[3], 'log_level': 0,\n"
            "            'ssl.ca.location': '/etc/wattline/kafka/ca.crt', 'sasl.mechanism': 'SCRAM-SHA-512',\n"
            "            'sasl.username': sys.argv[1], 'sasl.password': sys.argv[2]}\n"
            "print(sorted(AdminClient(settings).list_topics(timeout=15).topics))\n"
        )
        return self.execute("statefulset/streaming", "python", "-c", code, user, password, protocol)

    def secret(self, name: str) -> dict[str, str]:
        """Return what an overlay's secret file says."""
        lines = Path(self.tree, f"overlays/cluster/secrets/{name}.env").read_text("utf-8").splitlines()
        return dict(line.split("=", 1) for line in lines)


def _shared_class(kubectl: Kubectl) -> str:
    """Return the class of the shared claim: the one that the overlay names, else the cluster's default."""
    classes = {each["metadata"]["name"]: each["metadata"] for each in kubectl.json("get", "storageclasses")["items"]}
    default = "storageclass.kubernetes.io/is-default-class"
    defaults = [name for name, each in classes.items() if each.get("annotations", {}).get(default) == "true"]
    return SHARED_CLASS if SHARED_CLASS in classes else defaults[0]


def _readme_commands() -> str:
    """Return the README's commands for a trial of `kafka-tls`."""
    text = (ROOT / "k8s" / "README.md").read_text("utf-8")
    (block,) = re.findall(r"For a trial:\n\n((?:      .+\n)+)", text)
    return str(block)


def _rewrite(source: Path, target: Path, changes: tuple[tuple[str, str], ...]) -> None:
    text = source.read_text("utf-8")
    for pattern, replacement in changes:
        text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        assert count, f"{source.name} has no {pattern}"
    target.write_text(text, "utf-8")
