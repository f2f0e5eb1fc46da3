"""What each pod of an installation takes of its memory, as the kubelets tell: the highest of many looks."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tests.k8s.invariants import bytes_of
from tests.k8s.live.installation import Installation

__all__ = ["Peaks", "Usage", "watched_memory"]

_EVERY_S = 5.0
_MEBI = 2**20


@dataclass(frozen=True)
class Usage:
    """Bytes of a pod: anonymous memory, the working set (what an eviction goes by), and its limit."""

    rss: int
    working_set: int
    limit: int

    def highest(self, other: Usage) -> Usage:
        """Return the highest of two looks."""
        return Usage(max(self.rss, other.rss), max(self.working_set, other.working_set), self.limit)


@dataclass
class Peaks:
    """The highest usage by workload, and the highest sums over all pods at one moment."""

    by_workload: dict[str, Usage] = field(default_factory=dict)
    sum_rss: int = 0
    sum_working_set: int = 0
    looks: int = 0

    def add(self, usages: Mapping[str, Usage]) -> None:
        """Take one look into account."""
        for workload, usage in usages.items():
            self.by_workload[workload] = usage.highest(self.by_workload.get(workload, usage))
        self.sum_rss = max(self.sum_rss, sum(each.rss for each in usages.values()))
        self.sum_working_set = max(self.sum_working_set, sum(each.working_set for each in usages.values()))
        self.looks += 1

    def table(self) -> list[str]:
        """Return it as the table of k8s/README.md."""
        rows = ["| pod | RSS | working set | limit |", "|---|---|---|---|"]
        rows += [
            f"| {workload} | {usage.rss / _MEBI:.0f} Mi | {usage.working_set / _MEBI:.0f} Mi "
            f"| {usage.limit / _MEBI:.0f} Mi |"
            for workload, usage in sorted(self.by_workload.items())
        ]
        limits = sum(usage.limit for usage in self.by_workload.values())
        together = (self.sum_rss, self.sum_working_set, limits)
        return [*rows, f"| all, at one moment | {' | '.join(f'{each / _MEBI:.0f} Mi' for each in together)} |"]


@contextmanager
def watched_memory(installation: Installation) -> Iterator[Peaks]:
    """Look at it every few seconds until the block ends."""
    peaks, over = Peaks(), threading.Event()

    def watch() -> None:
        while not over.wait(_EVERY_S):
            with suppress(AssertionError, subprocess.TimeoutExpired):  # an API that is slow costs a look
                peaks.add(_usages(installation))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peaks
    finally:
        over.set()
        thread.join()


def _usages(installation: Installation) -> dict[str, Usage]:
    """Return the usage of every running pod by its workload; a kubelet measures each some 10 s."""
    pods = {each["metadata"]["name"]: each for each in installation.get("pods")}
    nodes = {each["spec"]["nodeName"] for each in pods.values() if "nodeName" in each["spec"]}
    found: dict[str, Usage] = {}
    for node in nodes:
        told = installation.kubectl.run("get", "--raw", f"/api/v1/nodes/{node}/proxy/stats/summary")
        if told.returncode:
            continue
        for stats in json.loads(told.stdout)["pods"]:
            reference = stats["podRef"]
            if reference["namespace"] == installation.namespace and reference["name"] in pods:
                pod = pods[reference["name"]]
                workload = pod["metadata"]["labels"]["app.kubernetes.io/name"]
                found[_free_name(found, workload)] = _usage(pod, stats)
    return found


def _free_name(found: Mapping[str, Usage], workload: str) -> str:
    """Pods of one workload are told apart by number, from the second on."""
    same = sum(name.partition(" ")[0] == workload for name in found)
    return f"{workload} {same + 1}" if same else workload


def _usage(pod: Any, stats: Any) -> Usage:
    memory = [each["memory"] for each in stats.get("containers", []) if "memory" in each]
    limits = [each["resources"]["limits"]["memory"] for each in pod["spec"]["containers"]]
    return Usage(
        rss=sum(each.get("rssBytes", 0) for each in memory),
        working_set=sum(each.get("workingSetBytes", 0) for each in memory),
        limit=sum(map(bytes_of, limits)),
    )
