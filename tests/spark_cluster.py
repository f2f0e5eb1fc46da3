"""A Spark standalone cluster of real processes on loopback: a master and workers, each with a core."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyspark

from tests.line import wait_for
from wattline_stack.demo import FAST_START_JAVA_OPTIONS

__all__ = ["SparkCluster", "fetched_json", "running_cluster"]

LOOPBACK = "127.0.0.1"
SPARK_HOME = Path(pyspark.__file__).parent


@dataclass(frozen=True)
class SparkCluster:
    """Ports of the master, and its workers' by what it says."""

    port: int
    web_port: int

    def state(self) -> dict[str, Any]:
        """Return what the master says of workers and applications."""
        found: dict[str, Any] = fetched_json(f"http://{LOOPBACK}:{self.web_port}/json/")
        return found

    def worker_web_ports(self) -> set[int]:
        """Return the web ports of the workers that live."""
        alive = [worker for worker in self.state()["workers"] if worker["state"] == "ALIVE"]
        return {urlsplit(worker["webuiaddress"]).port or 0 for worker in alive}


def fetched_json(url: str) -> Any:
    """Return what a server on loopback says."""
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  # http on loopback
        return json.load(answer)


@contextmanager
def running_cluster(cluster: SparkCluster, folder: Path, java_home: Path, *, workers: int) -> Iterator[SparkCluster]:
    """Start the cluster and wait for its workers; in the end stop all of it."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("SPARK_", "PYSPARK_"))},
        "JAVA_HOME": str(java_home),
        "SPARK_LOCAL_IP": LOOPBACK,
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_DAEMON_JAVA_OPTS": FAST_START_JAVA_OPTIONS,
    }
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *arguments: str) -> None:
        command = [str(SPARK_HOME / "bin" / "spark-class"), f"org.apache.spark.deploy.{name}", *arguments]
        with (folder / f"{len(started)}.log").open("wb") as log:
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))

    folder.mkdir()
    try:
        start("master.Master", "--host", LOOPBACK, "--port", str(cluster.port), "--webui-port", str(cluster.web_port))
        for number in range(workers):
            work = ["--cores", "1", "--memory", "1g", "--webui-port", "0", "--work-dir", str(folder / str(number))]
            start("worker.Worker", "--host", LOOPBACK, *work, f"spark://{LOOPBACK}:{cluster.port}")
        wait_for(lambda: _workers(cluster) == workers, lambda: f"{workers} workers; logs in {folder}", 60)
        yield cluster
    finally:
        for process in reversed(started):
            process.terminate()
        for process in reversed(started):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)


def _workers(cluster: SparkCluster) -> int:
    try:
        return len(cluster.worker_web_ports())
    except OSError:
        return 0
