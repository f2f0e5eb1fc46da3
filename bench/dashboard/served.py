"""A filled store and a dashboard over it, as processes of their own, and a browser that looks."""

from __future__ import annotations

import datetime
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
from pymongo.database import Database

from bench.dashboard.fill import Filled, Size, fill
from tests.browser import dashboard_server
from wattline_common import store
from wattline_common.store import Document
from wattline_stack import Stack, StackSettings

__all__ = ["counted", "filled_store", "served", "server_of"]

_HEAP_MB = 3_600  # 150,000 events of eight GPUs each: 2.2 GB


@contextmanager
def filled_store(data_dir: Path, size: Size) -> Iterator[tuple[str, Database[Document], Filled]]:
    """Start an embedded store alone, fill it, and give its address."""
    settings = StackSettings.from_environment({**os.environ, "WATTLINE_DATA_DIR": str(data_dir), "MONGODB_URI": ""})
    # Kafka and the registry are said to be elsewhere, so that they are not started: nothing here asks them.
    elsewhere = {"kafka_bootstrap_servers": "127.0.0.1:1", "schema_registry_url": "http://127.0.0.1:1"}
    stack = Stack(replace(settings, store_heap_mb=_HEAP_MB, **elsewhere))  # type: ignore[arg-type]  # texts both
    uri = stack.start().mongodb_uri
    try:
        database = store.connect(uri)
        store.ensure(database)
        yield uri, database, fill(database, size, datetime.datetime.now(datetime.UTC))
        database.client.close()
    finally:
        stack.stop()


def counted(database: Database[Document]) -> Filled:
    """Return what is in a store that was filled before."""
    longest: dict[str, int] = {}
    for window in database[store.AGGREGATED_METRICS].find({}, {"run_id": 1, "_id": 0}):
        longest[window["run_id"]] = longest.get(window["run_id"], 0) + 1
    return Filled(
        events=database[store.TRAINING_METRICS].estimated_document_count(),
        runs=database[store.TRAINING_RUN_SUMMARY].estimated_document_count(),
        windows=database[store.AGGREGATED_METRICS].estimated_document_count(),
        rollups=database[store.AGGREGATED_ROLLUPS].estimated_document_count(),
        longest_run_id=max(longest, key=lambda run_id: longest[run_id]),
    )


@contextmanager
def served(mongodb_uri: str, log: Path, **variables: str) -> Iterator[str]:
    """Serve the dashboard over a store and give its address."""
    with dashboard_server(mongodb_uri, log, **variables) as url:
        yield url


def server_of(url: str) -> psutil.Process:
    """Return the process that listens at an address of this machine."""
    port = int(url.rpartition(":")[2])
    for child in psutil.Process().children(recursive=True):
        for connection in child.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                return child
    raise LookupError(f"nothing that was started here listens on {socket.gethostname()}:{port}")
