"""Fresh servers for one trial: a broker, a registry and a store, with topics and schemas."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from pymongo import MongoClient

from wattline_common import kafka
from wattline_common.registry import Registry
from wattline_common.store import Document
from wattline_stack import Endpoints, Stack, StackSettings
from wattline_stack.processes import ProcessTable, spawn

_TAIL_LINES = 15
__all__ = ["STORE_HEAP_MB", "Line", "running_line"]

STORE_HEAP_MB = 4_000  # so that nobody pays for a store that is full


@dataclass(frozen=True)
class Line:
    """Servers that run, and the processes that a trial starts beside them."""

    stack: Stack
    endpoints: Endpoints
    client: MongoClient[Document]
    data_dir: Path
    _started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def servers(self) -> dict[str, psutil.Process]:
        """Return the servers' processes by name."""
        return ProcessTable(self.data_dir).running()

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> psutil.Process:
        """Start a contestant; it ends with the line."""
        log = self._log(name)
        process, _ = spawn(command, self.data_dir, log, {**os.environ, **self.endpoints.environment(), **environment})
        self._started.append(process)
        return psutil.Process(process.pid)

    def tail(self, name: str) -> str:
        """Return the end of a contestant's log."""
        return "\n".join(self._log(name).read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:])

    def _log(self, name: str) -> Path:
        return self.data_dir / f"{name.replace(' ', '-').lower()}.log"

    def stop_started(self, timeout_s: float = 30.0) -> None:
        """End what was started, by SIGKILL what does not obey SIGTERM."""
        for process in self._started:
            process.terminate()
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout_s)
        self._started.clear()


@contextmanager
def running_line(data_dir: Path) -> Iterator[Line]:
    """Start the servers on a new folder; in the end stop all and remove it."""
    variables = {"WATTLINE_STORE_HEAP_MB": str(STORE_HEAP_MB), **os.environ, "WATTLINE_DATA_DIR": str(data_dir)}
    stack = Stack(StackSettings.from_environment(variables))
    endpoints = stack.start()
    try:
        kafka.ensure_topics(endpoints.kafka_bootstrap_servers)
        list(Registry(endpoints.schema_registry_url).register())
        client: MongoClient[Document] = MongoClient(endpoints.mongodb_uri, tz_aware=True)
        line = Line(stack, endpoints, client, data_dir)
        try:
            yield line
        finally:
            line.stop_started()
            client.close()
    finally:
        stack.stop()
        shutil.rmtree(data_dir, ignore_errors=True)
