"""Server processes outlive the command that started them: in a session of their own, known again by identity."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

__all__ = ["ProcessRecord", "ProcessTable", "find", "spawn"]

TABLE_FILE = "processes.json"
SAME_START_S = 2.0  # the system's clock may be corrected between two looks


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """Identity of a process: a pid alone may since belong to somebody else."""

    pid: int
    create_time_s: float


class ProcessTable:
    """Which server runs as which process, kept in the data folder."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / TABLE_FILE

    def read(self) -> dict[str, ProcessRecord]:
        """Return what was last written; an unreadable file counts as empty."""
        try:
            rows = json.loads(self._path.read_text(encoding="utf-8"))
            return {name: ProcessRecord(int(row["pid"]), float(row["create_time_s"])) for name, row in rows.items()}
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def running(self) -> dict[str, psutil.Process]:
        """Return the recorded servers that are alive and really the ones that were started."""
        found = {name: find(record) for name, record in self.read().items()}
        return {name: process for name, process in found.items() if process is not None}

    def put(self, name: str, record: ProcessRecord | None) -> None:
        """Write or remove one entry."""
        rows = {key: asdict(value) for key, value in self.read().items() if key != name}
        if record is not None:
            rows[name] = asdict(record)
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
        temporary.replace(self._path)


def find(record: ProcessRecord) -> psutil.Process | None:
    """Return the recorded process when it is alive and the same; a zombie is not alive."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.create_time_s) < SAME_START_S
        if same and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def spawn(
    command: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str] | None = None
) -> tuple[subprocess.Popen[bytes], ProcessRecord]:
    """Start a process in its own session (Ctrl-C in the caller's terminal does not reach it), its output to ``log``.

    Without ``environment`` it gets none: a server's settings are its command line.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={"LC_ALL": "C.UTF-8"} if environment is None else dict(environment),
        )
    finally:
        os.close(descriptor)
    return process, ProcessRecord(process.pid, psutil.Process(process.pid).create_time())
