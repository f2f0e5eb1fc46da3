"""Wattline's own services as processes beside the servers: started, watched, ended; `down` knows them, too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from wattline_common.errors import ResourceError
from wattline_stack.processes import ProcessTable, spawn

__all__ = ["Service", "Services"]

_TAIL_LINES = 12


class Service:
    """One started service."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Return the exit code; none while it runs."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, when it still runs."""
        if self.exit_code is None:
            self._process.send_signal(number)

    def wait(self, timeout_s: float) -> bool:
        """Return whether it ended within the time."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def tail(self) -> str:
        """Return the end of its log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-_TAIL_LINES:])


class Services:
    """The services of one data folder."""

    def __init__(
        self, data_dir: Path, environment: Mapping[str, str], *, defaults: Mapping[str, str] | None = None
    ) -> None:
        self._data_dir = data_dir
        # What the user has set reaches the services, too.
        self._environment = {**(defaults or {}), **os.environ, **environment}
        self._table = ProcessTable(data_dir)
        self.started: list[Service] = []

    def start(self, name: str, arguments: Sequence[str]) -> Service:
        """Start `python -m` with the arguments; raise `ResourceError` when a service of that name still runs."""
        left = self._table.running().get(name)
        if left is not None:
            raise ResourceError(
                f"{name} still runs as process {left.pid} on {self._data_dir}: stop it by `python -m wattline_stack "
                "down`, or name another folder by WATTLINE_DATA_DIR"
            )
        log = self._data_dir / "logs" / f"{name}.log"
        self._data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        log.parent.mkdir(exist_ok=True)
        process, record = spawn([sys.executable, "-m", *arguments], self._data_dir, log, self._environment)
        self._table.put(name, record)
        service = Service(name, process, log)
        self.started.append(service)
        return service

    def run(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run `python -m` with the arguments to its end and return its output."""
        command = [sys.executable, "-m", *arguments]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)

    def end(self, service: Service, timeout_s: float) -> bool:
        """End a service by SIGTERM, after the deadline by SIGKILL, and forget it; return whether SIGTERM was enough."""
        service.signal(signal.SIGTERM)
        obeyed = service.wait(timeout_s)
        if not obeyed:
            service.signal(signal.SIGKILL)
            service.wait(timeout_s)
        self._table.put(service.name, None)
        self.started.remove(service)
        return obeyed
