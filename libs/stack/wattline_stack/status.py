"""One server as seen from outside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["ServerStatus", "folder_bytes"]

BLOCK_BYTES = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """State of one server: running, starting, stopped, or external (a real server is named instead)."""

    name: str
    state: str
    endpoint: str
    pid: int | None = None
    rss_bytes: int | None = None
    data_bytes: int | None = None
    log: Path | None = None

    @property
    def is_up(self) -> bool:
        """Say whether clients can be pointed at it."""
        return self.state in {"running", "external"}


def folder_bytes(folder: Path) -> int:
    """Return what a folder takes on disk: Kafka's index files are sparse, so their lengths would mislead."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_blocks * BLOCK_BYTES
        except FileNotFoundError:  # servers come and go with files
            continue
    return total
