"""A TCP proxy that can be slow, silent or cut off, as a network can."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any

__all__ = ["Proxy"]

_CHUNK_BYTES = 65_536


class Proxy:
    """Carries connections from a loopback port of its own to another one, from `start` until `close`."""

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self.delay_s = 0.0
        """What each chunk waits before it is passed on."""
        self.silent = False
        """Whether chunks are kept instead of passed on: neither side is told."""
        self.carried_bytes = 0
        self.kept_bytes = 0
        self._target_port = target_port
        self._links: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def start(self) -> None:
        """Listen on a free port."""
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0)).result(10)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> int:
        """Cut every connection off, without a farewell; return how many."""
        return int(self._call(self._cut()).result(10))

    def close(self) -> None:
        """End all of it."""
        self._loop.call_soon_threadsafe(self._server.close)
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _call(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _cut(self) -> int:
        links = list(self._links)
        for link in links:
            link.transport.abort()
        return len(links) // 2

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        self._links |= {writer, back}
        await asyncio.gather(self._carry(reader, back), self._carry(there, writer))
        self._links -= {writer, back}

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK_BYTES):
                await asyncio.sleep(self.delay_s)
                if self.silent:
                    self.kept_bytes += len(chunk)
                while self.silent:
                    await asyncio.sleep(0.05)
                    if writer.is_closing():
                        return
                writer.write(chunk)
                await writer.drain()
                self.carried_bytes += len(chunk)
        with contextlib.suppress(OSError):
            writer.close()
