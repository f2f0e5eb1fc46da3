"""The embedded store: MongoDB's wire protocol, memory and a journal (jvm/java/StoreServer.java)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pymongo
from pymongo.errors import PyMongoError

from wattline_stack.jvm.bundle import Bundle
from wattline_stack.ports import HOST
from wattline_stack.servers.base import Server

__all__ = ["StoreServer"]

PING_TIMEOUT_MS = 1000
OVERHEAD_MB = 120
DAMAGED_EXIT = 4
OUT_OF_MEMORY_EXIT = 3
# What outlives two collections is data: it goes to the old generation then, and the young one is kept small. A heap
# that grew step by step (-Xms is the whole, of which only what is used is taken) would copy all data at each step.
_MEMORY = ("-XX:NewRatio=5", "-XX:MaxTenuringThreshold=1")
SETTING = "WATTLINE_STORE_HEAP_MB"


class StoreServer(Server):
    """The read models' home where there is no MongoDB."""

    name = "store"
    title = "Store"
    port_names = ("store",)
    uses_launcher = True

    @property
    def endpoint(self) -> str:
        """MongoDB URI."""
        return f"mongodb://{HOST}:{self.ports['store']}/"

    @property
    def memory_mb(self) -> int:
        """Heap, metaspace and code."""
        return self.settings.store_heap_mb + OVERHEAD_MB

    @property
    def journal(self) -> Path:
        """The file that holds all data."""
        return self.folder / "data" / "journal.bin"

    def prepare(self, bundle: Bundle) -> None:
        """Make the folder of the journal."""
        super().prepare(bundle)
        self.journal.parent.mkdir(exist_ok=True)

    def command(self, bundle: Bundle) -> list[str]:
        """Return the command line."""
        classpath = os.pathsep.join([str(bundle.launcher), *(str(jar) for jar in bundle.jars("store"))])
        return [
            *self._java(bundle, self.settings.store_heap_mb, *_MEMORY, f"-Xms{self.settings.store_heap_mb}m"),
            f"-Dwattline.heap.setting={SETTING}",
            f"-Dwattline.fsync={str(self.settings.store_fsync).lower()}",
            *(f"-Dwattline.compact.mb={self.settings.store_compact_mb}", "-cp", classpath, "StoreServer"),
            *(HOST, str(self.ports["store"]), str(self.journal)),
        ]

    def is_ready(self) -> bool:
        """Say whether it answers a ping; it listens only after its journal was replayed."""
        if not self._accepts(self.ports["store"]):
            return False
        client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
            self.endpoint, serverSelectionTimeoutMS=PING_TIMEOUT_MS, directConnection=True
        )
        try:
            client.admin.command("ping")
        except PyMongoError:
            return False
        finally:
            client.close()
        return True

    def explain(self, exit_code: int) -> str:
        """Translate its own exit codes."""
        if exit_code == OUT_OF_MEMORY_EXIT:
            return f"its data no longer fit its heap of {self.settings.store_heap_mb} MB: raise {SETTING}"
        if exit_code == DAMAGED_EXIT:
            lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.startswith("refused: ")]
            return lines[-1].removeprefix("refused: ") if lines else ""
        return ""
