"""Small helpers of the stack's own integration tests."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymongo

from wattline_stack import Stack, StackSettings

__all__ = ["client", "compact", "journal", "only", "running", "store_status"]

EXTERNAL = {"kafka": "kafka_bootstrap_servers", "registry": "schema_registry_url", "store": "mongodb_uri"}
FILLER_BYTES = 200_000


def only(name: str, settings: StackSettings, data_dir: Path, **changes: Any) -> Stack:
    """Return a stack whose other servers are said to be elsewhere, so that only this one starts."""
    external: dict[str, Any] = {field: "" if server == name else "elsewhere" for server, field in EXTERNAL.items()}
    return Stack(dataclasses.replace(settings, data_dir=data_dir, **external, **changes))


@contextmanager
def running(stack: Stack) -> Iterator[Stack]:
    """Start a stack and stop it in the end, whatever happens."""
    stack.start()
    try:
        yield stack
    finally:
        stack.stop()


@contextmanager
def client(stack: Stack) -> Iterator[pymongo.MongoClient[dict[str, Any]]]:
    """Connect to a stack's store."""
    endpoint = next(each.endpoint for each in stack.status() if each.name == "store")
    with pymongo.MongoClient[dict[str, Any]](endpoint, directConnection=True, serverSelectionTimeoutMS=5000) as made:
        yield made


def journal(stack: Stack) -> Path:
    """Return the file of the store's data."""
    return stack.settings.data_dir / "store" / "data" / "journal.bin"


def compact(stack: Stack, deadline_s: float = 60) -> None:
    """Overwrite one document until the store has compacted its journal once more; write nothing while it does."""
    with client(stack) as mongo:
        status = store_status(mongo)
        before, deadline = status["compactions"], time.monotonic() + deadline_s
        while status["compactions"] == before:
            assert time.monotonic() < deadline, f"no compaction within {deadline_s} s"
            if not status["compacting"]:
                mongo.filler.filler.replace_one({"_id": 0}, {"text": "x" * FILLER_BYTES}, upsert=True)
            status = store_status(mongo)


def store_status(mongo: pymongo.MongoClient[dict[str, Any]]) -> dict[str, Any]:
    """Return what the store says of its heap, journal and compactions."""
    return dict(mongo.admin.command("serverStatus")["wattline"])
