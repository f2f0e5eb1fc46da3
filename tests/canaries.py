"""Where a secret must never be seen, and how tests look there; a canary is a secret that says so."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pymongo.database import Database

__all__ = ["CANARY", "files_with", "processes_with", "stored_with"]

CANARY = "canary"


def files_with(secret: str, folder: Path) -> list[Path]:
    """Return the files below a folder in which a secret stands: logs, checkpoint, spool, data of servers."""
    return [path for path in folder.rglob("*") if path.is_file() and secret.encode() in _content(path)]


def processes_with(secrets: Iterable[str]) -> list[str]:
    """Return the command lines, of every process that there is, in which one of the secrets stands."""
    lines = [_content(path / "cmdline") for path in Path("/proc").iterdir() if path.name.isdigit()]
    assert any(lines), "no process's command line can be read"
    found = [line for line in lines if any(secret.encode() in line for secret in secrets)]
    return [line.replace(b"\0", b" ").decode(errors="replace")[:300] for line in found]


def stored_with(secret: str, database: Database[dict[str, Any]]) -> list[str]:
    """Return the documents of a store in which a secret stands."""
    return [
        f"{name}: {document!r:.300}"
        for name in database.list_collection_names()
        for document in database[name].find()
        if secret in repr(document)
    ]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it is gone by now, or nobody's to read
        return b""
