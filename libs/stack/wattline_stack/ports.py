"""Loopback ports: chosen free once, kept in the data folder so that a restart has the same endpoints."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Iterable
from pathlib import Path

import psutil

from wattline_common.errors import ResourceError

__all__ = ["HOST", "Ports", "is_free", "keep_ports", "require_free"]

HOST = "127.0.0.1"
PORTS_FILE = "ports.json"
# Below what Linux and macOS give to outgoing connections, which could otherwise sit on a kept port.
FIRST_PORT, LAST_PORT = 20_000, 32_000
Ports = dict[str, int]


def keep_ports(data_dir: Path, names: Iterable[str]) -> Ports:
    """Return the port of each name, choosing and keeping those that have none yet."""
    path = data_dir / PORTS_FILE
    ports: Ports = {}
    if path.exists():
        try:
            ports = {str(name): int(port) for name, port in json.loads(path.read_text(encoding="utf-8")).items()}
        except (ValueError, AttributeError) as error:
            raise ResourceError(f"{path} is not readable ({error}): remove it, and new ports are chosen") from error
    missing = [name for name in names if name not in ports]
    for name in missing:
        ports[name] = _choose(taken=set(ports.values()))
    if missing:
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(ports, indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)
    return ports


def require_free(data_dir: Path, ports: Ports) -> None:
    """Raise `ResourceError` naming the first port that another process holds, and the remedy."""
    for name, port in ports.items():
        if not is_free(port):
            raise ResourceError(
                f"port {port} on {HOST}, kept for {name}, is taken by {_holder(port)}: stop that process, or remove "
                f"{data_dir / PORTS_FILE} so that new ports are chosen (endpoints change with them)"
            )


def is_free(port: int) -> bool:
    """Say whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _choose(taken: set[int]) -> int:
    for _ in range(1000):
        port = FIRST_PORT + secrets.randbelow(LAST_PORT - FIRST_PORT)
        if port not in taken and is_free(port):
            return port
    raise ResourceError(f"no free port between {FIRST_PORT} and {LAST_PORT} on {HOST}: stop what listens there")


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            address = connection.laddr
            if connection.status == psutil.CONN_LISTEN and address and address.port == port and connection.pid:
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except psutil.Error:
        pass
    return "a process of another user"
