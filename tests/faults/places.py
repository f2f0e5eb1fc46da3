"""Places where the stream is struck, and who strikes: a listener to commands to the store, in each of its processes.

A place is a command that is about to be sent, or was just answered, so that the service itself knows nothing of it.
Which fault is armed stands in a file; the process that passes the place for the n-th time takes that file and strikes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
from pymongo import monitoring

from wattline_common import store
from wattline_common.store import SETTLEMENT
from wattline_streaming.executor import book as real_book
from wattline_streaming.settings import StreamingSettings

__all__ = [
    "ARMED",
    "FOLDER_VARIABLE",
    "STRUCK",
    "WRITES",
    "Fault",
    "Place",
    "book",
    "kill_session",
    "listen",
    "session",
]

FOLDER_VARIABLE = "WATTLINE_TEST_FAULTS_DIR"
ARMED, STRUCK, WRITES = "armed.json", "struck.json", "writes.jsonl"
_IDENTITIES = {"insert": "documents", "update": "updates"}
_SLOW_S = 1.0


@dataclass(frozen=True)
class Place:
    """A moment of a kind of write; ``settled`` tells windows that the settler writes from those of the stream."""

    moment: str  # started or succeeded
    command: str
    collection: str
    settled: bool | None = None


@dataclass(frozen=True)
class Fault:
    """A signal at the n-th pass of a place in one process.

    It goes to ``victim`` after ``wait_share`` of the time that the command will take; without one, to the whole stream.
    """

    place: Place
    passes: int
    number: int
    signal: int = signal.SIGKILL
    victim: int = 0
    wait_share: float = 0.0

    @classmethod
    def read(cls, path: Path) -> Fault | None:
        """Return the fault that is armed."""
        try:
            fields = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        return cls(**(fields | {"place": Place(**fields["place"])}))

    def arm(self, path: Path) -> None:
        """Write the fault, at once or not at all."""
        new = path.with_suffix(".new")
        new.write_text(json.dumps(dataclasses.asdict(self)))
        new.rename(path)


@dataclass(frozen=True)
class _Command:
    """What is remembered of a command until its answer."""

    name: str
    collection: str
    ids: Sequence[Any]
    settled: bool | None
    started_s: float


class _Listener(monitoring.CommandListener):
    """Strikes, and notes the writes that failed or were slow: these were under way when a server was struck."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._under_way: dict[int, _Command] = {}
        self._passes: Counter[int] = Counter()
        self._s_per_document = 0.0

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Remember a write, and strike before it is sent."""
        field = _IDENTITIES.get(event.command_name)
        if field is None or field not in event.command:
            return
        parts = event.command[field]
        ids = [part["_id"] if field == "documents" else part["q"].get("_id") for part in parts]
        collection, settled = event.command[event.command_name], _settled(parts[0])
        command = _Command(event.command_name, collection, ids, settled, time.monotonic())
        self._under_way[event.request_id] = command
        self._look("started", command)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Strike after a write was answered."""
        command = self._under_way.pop(event.request_id, None)
        if command is None:
            return
        self._look("succeeded", command)
        taken_s = time.monotonic() - command.started_s
        if command.collection == store.TRAINING_METRICS:
            self._s_per_document = taken_s / len(command.ids)
        if taken_s > _SLOW_S:
            self._note(command, failed=False)

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Note a write without an answer."""
        command = self._under_way.pop(event.request_id, None)
        if command is not None:
            self._note(command, failed=True)

    def _look(self, moment: str, command: _Command) -> None:
        fault = Fault.read(self._folder / ARMED)
        if fault is None or fault.place != Place(moment, command.name, command.collection, command.settled):
            return
        self._passes[fault.number] += 1
        if self._passes[fault.number] < fault.passes:
            return
        try:
            (self._folder / ARMED).rename(self._folder / f"taken-{fault.number}.json")
        except FileNotFoundError:
            return  # another process was first
        wait_s = fault.wait_share * self._s_per_document * len(command.ids)
        if wait_s:
            threading.Thread(target=self._strike, args=(fault, command, wait_s)).start()
        else:
            self._strike(fault, command, 0.0)

    def _strike(self, fault: Fault, command: _Command, wait_s: float) -> None:
        time.sleep(wait_s)
        if fault.victim:
            os.kill(fault.victim, fault.signal)
        record = {"number": fault.number, "at_s": time.monotonic(), "ids": command.ids, "pid": os.getpid()}
        new = self._folder / f"struck-{fault.number}.json"
        new.write_text(json.dumps(record))
        new.rename(self._folder / STRUCK)
        if not fault.victim:
            kill_session(os.getsid(0))

    def _note(self, command: _Command, *, failed: bool) -> None:
        line = {
            "collection": command.collection,
            "started_s": command.started_s,
            "ended_s": time.monotonic(),
            "failed": failed,
        }
        with (self._folder / WRITES).open("a") as file:
            file.write(json.dumps(line) + "\n")


def _settled(part: Any) -> bool | None:
    """Return whether a write of a window is the settler's; nothing for any other write."""
    aggregate = part["u"].get("$max", {}).get("aggregate") if "u" in part else None
    return None if aggregate is None else bool(aggregate["revision"] >= SETTLEMENT)


def session(leader: int) -> list[int]:
    """Return what lives of a session: the driver leads one, of Spark's JVM, Python's daemon and its workers."""
    return [process.pid for process in psutil.process_iter() if _is_of(process, leader)]


def _is_of(process: psutil.Process, leader: int) -> bool:
    try:
        return os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def kill_session(leader: int) -> None:
    """End all of a session by SIGKILL, the caller last when it is one of it."""
    for pid in sorted(session(leader), key=lambda pid: pid == os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@functools.lru_cache(maxsize=1)
def listen() -> None:
    """Listen in this process, on every client that is made from now on."""
    monitoring.register(_Listener(Path(os.environ[FOLDER_VARIABLE])))


def book(
    settings: StreamingSettings,
    cluster_id: str,
    branches: tuple[tuple[int, str], ...],
    batches: Iterator[pa.RecordBatch],
) -> Iterator[pa.RecordBatch]:
    """Do what the executor does, in a Python worker that listens."""
    listen()
    return real_book(settings, cluster_id, branches, batches)
