"""What the stack knows of any server it starts."""

from __future__ import annotations

import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from wattline_stack.jvm.bundle import Bundle
from wattline_stack.ports import HOST, Ports
from wattline_stack.settings import StackSettings

__all__ = ["FAST_START", "Server"]

# Half the time to the first answer; what works hard, as the store does, is compiled well instead.
FAST_START = "-XX:TieredStopAtLevel=1"
CONNECT_TIMEOUT_S = 1.0


class Server(ABC):
    """One server on loopback ports, with its data and logs in its own folder."""

    name: ClassVar[str]
    title: ClassVar[str]
    port_names: ClassVar[tuple[str, ...]]
    uses_launcher: ClassVar[bool] = False

    def __init__(self, settings: StackSettings, ports: Ports, archives: Sequence[Path] = ()) -> None:
        self.settings = settings
        self.ports = ports
        self.archives = tuple(archives)
        self.folder = settings.data_dir / self.name

    @property
    @abstractmethod
    def endpoint(self) -> str:
        """The address that clients use."""

    @property
    @abstractmethod
    def memory_mb(self) -> int:
        """What it takes when busy: heap and all around it."""

    @property
    def log(self) -> Path:
        """Where it says what it does."""
        return self.folder / "server.log"

    @property
    def output(self) -> Path:
        """Where its standard output and error go; only a server that writes its log itself has another file here."""
        return self.log

    @abstractmethod
    def command(self, bundle: Bundle) -> list[str]:
        """Return the command line."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Say whether it answers as its clients need it to; false while it starts."""

    def prepare(self, bundle: Bundle) -> None:  # noqa: ARG002 - for subclasses
        """Make what must be there before the start."""
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)

    def explain(self, exit_code: int) -> str:  # noqa: ARG002 - for subclasses
        """Return what a person should do about an early end that this server has a word for, or nothing."""
        return ""

    def _java(self, bundle: Bundle, heap_mb: int, *options: str) -> list[str]:
        shared = [f"-XX:SharedArchiveFile={os.pathsep.join(map(str, self.archives))}"] if self.archives else []
        return [
            *(str(bundle.java), f"-Xmx{heap_mb}m", "-XX:+UseSerialGC"),
            *("-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError", f"-Djava.io.tmpdir={self.folder / 'tmp'}"),
            *shared,
            *options,
        ]

    def _accepts(self, port: int) -> bool:
        try:
            socket.create_connection((HOST, port), CONNECT_TIMEOUT_S).close()
        except OSError:
            return False
        return True
