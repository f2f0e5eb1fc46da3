"""What must be there before servers start: memory and disk. A lack is named with its remedy, before anything begins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import psutil

from wattline_common.errors import ResourceError
from wattline_stack.servers.base import Server

__all__ = ["require_disk", "require_memory"]

DISK_MB = 500  # an empty stack takes 30 MB; Kafka's segments and the journal need room to grow


def require_memory(servers: Sequence[Server]) -> None:
    """Raise `ResourceError` when the machine has less memory free than the servers take when busy."""
    needed_mb = sum(server.memory_mb for server in servers)
    free_mb = psutil.virtual_memory().available >> 20
    if free_mb < needed_mb:
        parts = ", ".join(f"{server.title} {server.memory_mb}" for server in servers)
        raise ResourceError(
            f"{free_mb} MB of memory are free, and the servers need {needed_mb} MB ({parts}): end other programs, "
            "lower WATTLINE_STORE_HEAP_MB, or point a part at a server elsewhere by KAFKA_BOOTSTRAP_SERVERS, "
            "SCHEMA_REGISTRY_URL or MONGODB_URI"
        )


def require_disk(data_dir: Path) -> None:
    """Raise `ResourceError` when the disk of the data folder is nearly full."""
    free_mb = psutil.disk_usage(str(data_dir)).free >> 20
    if free_mb < DISK_MB:
        raise ResourceError(
            f"the disk of {data_dir} has {free_mb} MB free, and {DISK_MB} MB are needed: free some, or name another "
            "folder by WATTLINE_DATA_DIR"
        )
