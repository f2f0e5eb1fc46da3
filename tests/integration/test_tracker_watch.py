"""A sidecar's view of its pod, with real processes in a namespace of their own, and a real Kafka."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.line import topic_messages, wait_for
from tests.requirements import require
from wattline.spool_folders import SpoolRoot
from wattline_common.codec import Decoder
from wattline_common.kafka import TRAINING_EVENTS, ensure_topics
from wattline_common.registry import Registry

if TYPE_CHECKING:
    from wattline_stack import Endpoints

pytestmark = pytest.mark.timeout(600)

J_PER_CPU_S = 1000.0  # so much that memory is nothing beside it
ENDED_S = 120.0
WORK = """
import os, subprocess, sys
subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 2: pass"])
while sum(os.times()[:4]) < 6: pass
print(sum(os.times()[:4]))
"""


class Namespace:
    """A process namespace as a pod has it: a first process that only holds it open, and containers beside it."""

    def __init__(self) -> None:
        hold = [sys.executable, "-c", "import signal; signal.pause()"]
        self._holder = subprocess.Popen(["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *hold])  # noqa: S607 - util-linux of PATH
        wait_for(lambda: bool(self._children(self._holder)), lambda: "the namespace's first process", ENDED_S)
        (self._first,) = self._children(self._holder)

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
        """Start a container's first process: its parent is outside."""
        enter = ["nsenter", "--target", str(self._first.pid), "--pid", "--mount", "--", *command]
        return subprocess.Popen(enter, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)

    def inside(self, container: subprocess.Popen[str]) -> psutil.Process:
        """Return a container's first process as the host sees it."""
        wait_for(lambda: bool(self._children(container)), lambda: f"{container.args!r}", ENDED_S)
        return self._children(container)[0]

    def close(self) -> None:
        """End the namespace with all that is in it."""
        self._holder.kill()
        self._holder.wait(ENDED_S)

    @staticmethod
    def _children(process: subprocess.Popen[Any]) -> list[psutil.Process]:
        return psutil.Process(process.pid).children()


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """Give a namespace like a pod's."""
    if sys.platform != "linux" or os.geteuid() or not (shutil.which("unshare") and shutil.which("nsenter")):
        require("namespaces", "a process namespace takes root and util-linux", "run as root on Linux")
    made = Namespace()
    try:
        yield made
    finally:
        made.close()


@contextmanager
def sidecar(
    namespace: Namespace, stack: Endpoints, root: Path, run_id: str | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Watch the pod until the block has ended it."""
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
        "SCHEMA_REGISTRY_URL": stack.schema_registry_url,
        "WATTLINE_SPOOL_DIR": str(root),
        "WATTLINE_CPU_MODEL": "tdp-linear",
        "WATTLINE_CPU_TDP_W": str(J_PER_CPU_S * (os.cpu_count() or 1)),
        "WATTLINE_RUN_ID": run_id or "",
    }
    command = [sys.executable, "-m", "wattline", "watch", "--pod", "--emit-interval", "1"]
    with namespace.start(command, settings) as watcher:
        yield watcher
        watcher.kill()


def _sources(stack: Endpoints, run_id: str) -> dict[str, list[dict[str, Any]]]:
    """Return the events of a run in Kafka by source, in order."""
    decoder = Decoder(Registry(stack.schema_registry_url).schema_text)
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for message in topic_messages(stack, TRAINING_EVENTS):
        if message.key() == run_id.encode():
            datum = decoder.datum(message.value())
            of_source = found.setdefault(datum.fields["source_id"], {})
            of_source[datum.fields["seq"]] = {**datum.fields, "name": datum.record_name}
    return {source_id: [events[seq] for seq in sorted(events)] for source_id, events in found.items()}


def _cpu_s(sources: Mapping[str, Sequence[Mapping[str, Any]]]) -> float:
    """Return the CPU seconds that the energy of all samples stands for."""
    energy_kwh = math.fsum(event.get("energy_kwh", 0.0) for events in sources.values() for event in events)
    return energy_kwh * 3.6e6 / J_PER_CPU_S


def test_a_pods_other_containers_are_measured_and_delivered_at_sigterm(
    stack: Endpoints, namespace: Namespace, tmp_path: Path
) -> None:
    """What the other container used is what it says itself; the run's end is told when we are stopped."""
    ensure_topics(stack.kafka_bootstrap_servers)
    list(Registry(stack.schema_registry_url).register())
    run_id = f"pod-{uuid.uuid4().hex[:6]}"
    with sidecar(namespace, stack, tmp_path, run_id) as watcher:
        with namespace.start([sys.executable, "-c", WORK], {}) as training:
            said = training.communicate(timeout=ENDED_S)[0]
        assert training.returncode == 0
        namespace.inside(watcher).terminate()
        assert watcher.wait(ENDED_S) == 0
    sources = _sources(stack, run_id)
    (events,) = sources.values()
    assert (events[0]["name"], events[-1]["name"]) == ("RunStarted", "RunFinished")
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert (events[-1]["status"], events[-1]["events_dropped"]) == ("UNKNOWN", 0)
    # A second before its end it was seen last; what was used until it was seen first counts.
    assert float(said) - 1.6 < _cpu_s(sources) < float(said) + 0.5
    assert SpoolRoot(tmp_path).folders() == []


def test_a_watcher_that_is_killed_counts_nothing_twice(stack: Endpoints, namespace: Namespace, tmp_path: Path) -> None:
    """Started anew it goes on with the run as another source, from then on, and delivers what the first one left."""
    ensure_topics(stack.kafka_bootstrap_servers)
    list(Registry(stack.schema_registry_url).register())
    with namespace.start([sys.executable, "-c", WORK.replace("6", "12")], {}) as training:
        mark = tmp_path / "watched-run"
        with sidecar(namespace, stack, tmp_path) as first:
            wait_for(mark.exists, lambda: "the run to begin", ENDED_S)
            run_id = mark.read_text().strip()
            wait_for(lambda: _cpu_s(_sources(stack, run_id)) > 2, lambda: "2 CPU seconds", ENDED_S)
            namespace.inside(first).kill()
            assert first.wait(ENDED_S) != 0
        with sidecar(namespace, stack, tmp_path) as second:
            said = training.communicate(timeout=ENDED_S)[0]
            namespace.inside(second).terminate()
            assert second.wait(ENDED_S) == 0
    assert mark.read_text().strip() == run_id
    sources = _sources(stack, run_id)
    assert len(sources) == 2
    assert 2 < _cpu_s(sources) < float(said) + 0.5
