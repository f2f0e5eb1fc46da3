"""Small helpers of the stack's own integration tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymongo

from wattline_stack import Stack, StackSettings

__all__ = ["client", "journal", "only", "running"]

EXTERNAL = {"kafka": "kafka_bootstrap_servers", "registry": "schema_registry_url", "store": "mongodb_uri"}


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
