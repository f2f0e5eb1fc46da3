"""The spool of one source: events are on disk within moments, so that the end of the process, of any kind, loses none.

A thread writes, so that no training waits for a disk. Where nothing can be written the records stay in memory.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from typing import BinaryIO

from wattline.guard import Problems
from wattline.spool_folders import Leftover, SourceFolder, SpoolRoot
from wattline.spool_records import Record
from wattline.spool_segments import SUFFIX, Item, SegmentQueue
from wattline_common.errors import ContractError
from wattline_common.events import Event

__all__ = ["Spool"]

_SEGMENT_BYTES = 1_000_000
_SEGMENT_S = 60.0  # a delivered segment goes when it is complete, so its age bounds what a kill lets be sent twice
_RETRY_S = 10.0
_CLOSE_S = 2.0


class Spool:
    """An `Outlet` that is filled by `append`, which neither blocks nor raises.

    Written records are with the operating system: SIGKILL takes none of them, a power cut what was not yet flushed to
    the disk (no fsync is made). When all sources together exceed ``cap_bytes`` the oldest segment goes and its events
    are counted. While nothing can be written, ``queue_events`` records are kept in memory, and the oldest goes.
    """

    def __init__(
        self,
        root: SpoolRoot,
        source_id: str,
        run_id: str,
        problems: Problems,
        *,
        cap_bytes: int,
        queue_events: int,
        destination: str = "",
    ) -> None:
        self._root = root
        self._source_id, self._run_id = source_id, run_id
        self._destination = destination
        self._problems = problems
        self._cap_bytes = cap_bytes
        self._segment_bytes = min(_SEGMENT_BYTES, cap_bytes // 8)
        self._queue_events = queue_events
        # Re-entrant, since a signal handler may stop the run while the same thread is in here. Never held during I/O.
        self._changed = threading.Condition(threading.RLock())
        self._events: deque[Event] = deque()
        self._memory: deque[Record] = deque()
        self._folder: SourceFolder | None = None
        self._queue: SegmentQueue | None = None
        self._file: BinaryIO | None = None
        self._number = 0
        self._bytes = 0
        self._begun_s = 0.0
        self._retry_at_s = 0.0
        self._closing = False
        self._writer = threading.Thread(target=self._work, name="wattline-spool", daemon=True)
        self._lost = 0
        self._written = self._settled = 0

    @property
    def dropped(self) -> int:
        """Events that were given up."""
        return self._lost + (self._queue.dropped if self._queue else 0)

    @property
    def place(self) -> str:
        """The root, for messages."""
        return str(self._root.path)

    def start(self) -> None:
        """Start to write."""
        self._writer.start()

    def append(self, event: Event) -> None:
        """Take an event."""
        with self._changed:
            self._events.append(event)
            while len(self._events) > self._queue_events:  # a disk that hangs
                self._events.popleft()
                self._lost += 1
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> None:
        """Wait until there may be something to take."""
        with self._changed:
            if not self._memory:
                self._changed.wait(timeout_s)

    def close(self) -> None:
        """Write what is left; nothing can be appended any more."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._writer.ident is not None:
            self._writer.join(_CLOSE_S)

    def take(self) -> Item | None:
        """Return the next record, of the disk first."""
        item = self._queue.take() if self._queue else None
        if item is not None:
            return item
        with self._changed:
            return Item(self._memory.popleft(), None) if self._memory else None

    def settle(self, item: Item, *, delivered: bool) -> None:
        """Hear that a record was delivered, or never can be."""
        with self._changed:
            if item.segment is None and not delivered:
                self._lost += 1
            if item.segment is not None:
                self._settled += 1
        if self._queue is not None:
            self._queue.settle(item, delivered=delivered)

    def give_back(self, item: Item) -> None:
        """Take a record back."""
        if item.segment is not None and self._queue is not None:
            self._queue.give_back(item)
            return
        with self._changed:
            self._memory.appendleft(item.record)
            self._drop_surplus()

    def is_done(self) -> bool:
        """Say whether, after `close`, everything was settled."""
        with self._changed:
            if self._writer.is_alive() or self._events or self._memory:
                return False
        return self._queue is None or self._queue.is_done()

    def end(self) -> tuple[int, int]:
        """Let go of the folder, removed when nothing is left; return how many events are kept there, and lost."""
        with self._changed:
            lost = len(self._events) + len(self._memory)
            self._lost += lost
            self._events.clear()
            self._memory.clear()
        if self._folder is None or self._queue is None or self._writer.is_alive():
            return 0, lost
        done = self._queue.is_done()
        with self._problems.guard("leaving the spool"):
            if done:
                self._root.archive(self._folder, self.dropped)
            else:
                self._folder.lock.release()
        return 0 if done else max(1, self._written - self._settled), lost

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._events and not self._closing:
                    self._changed.wait(_SEGMENT_S)
                events = list(self._events)
                self._events.clear()
                ends = self._closing
            for event in events:
                self._keep(event)
            with self._changed:
                self._changed.notify_all()
                if ends and not self._events:
                    break
        with self._problems.guard("closing the spool"):
            self._complete()

    def _keep(self, event: Event) -> None:
        try:
            record = Record.of(event)
        except ContractError as error:
            self._lost += 1
            self._problems.report("dropped event", f"an event cannot be written: {error}")
            return
        except Exception as error:  # noqa: BLE001  # a library that does not load; nothing may end this thread
            self._lost += 1
            self._problems.report("encoding", "an event cannot be encoded and is lost", error)
            return
        with self._changed:
            self._memory.append(record)
        if time.monotonic() >= self._retry_at_s:
            try:
                self._write_memory()
            except Exception as error:  # noqa: BLE001  # whatever a file system raises
                self._retry_at_s = time.monotonic() + _RETRY_S
                self._abandon_file()
                self._problems.report(
                    "spool",
                    f"the spool at {self.place} cannot be written, so events wait in memory, where the end of the "
                    "process loses them; set WATTLINE_SPOOL_DIR to a folder that can be",
                    error,
                )
        with self._changed:
            self._drop_surplus()

    def _write_memory(self) -> None:
        """Write the records that wait in memory."""
        while True:
            with self._changed:
                if not self._memory:
                    return
                record = self._memory.popleft()
            try:
                self._write(record.frame())
            except BaseException:
                with self._changed:
                    self._memory.appendleft(record)
                raise
            self._written += 1

    def _write(self, frame: bytes) -> None:
        is_old = time.monotonic() - self._begun_s > _SEGMENT_S
        if self._file is None or is_old or self._bytes + len(frame) > self._segment_bytes:
            self._begin_segment()
        if self._file is None or self._file.write(frame) != len(frame):
            raise OSError("the disk took a part of a record only")
        self._bytes += len(frame)

    def _begin_segment(self) -> None:
        if self._folder is None:
            self._folder = self._root.create(self._source_id, self._run_id, self._destination)
        if self._queue is None:
            self._queue = SegmentQueue(self._folder.path, complete=False)
        self._complete_file()
        self._number += 1
        path = self._folder.path / f"{self._number:08}{SUFFIX}"
        self._file = path.open("xb", buffering=0)
        self._bytes, self._begun_s = 0, time.monotonic()
        self._queue.add(path)
        self._make_room()

    def _make_room(self) -> None:
        """Drop the oldest segments, of dead sources first, while all of them are too large; living ones keep theirs."""
        excess = sum(folder.bytes() for folder in self._root.folders()) - (self._cap_bytes - self._segment_bytes)
        if excess <= 0:
            return
        self._problems.report(
            "spool full",
            f"the spool at {self.place} is full, so the oldest events go; `wattline flush` or a higher "
            "WATTLINE_SPOOL_MB makes room",
        )
        for leftover in self._root.leftovers():
            excess -= _shrink(leftover, excess)
            if excess <= 0:
                return
        while self._queue is not None and self._folder is not None and excess > 0:
            before = self._folder.bytes()
            if not self._queue.drop_oldest():
                return
            excess -= before - self._folder.bytes()

    def _complete(self) -> None:
        self._complete_file()
        if self._queue is not None:
            self._queue.complete()

    def _complete_file(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _abandon_file(self) -> None:
        """End a segment after a failure, without the torn record."""
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            os.ftruncate(self._file.fileno(), self._bytes)
        with contextlib.suppress(OSError):
            self._complete_file()

    def _drop_surplus(self) -> None:
        while len(self._memory) > self._queue_events:
            self._memory.popleft()
            self._lost += 1


def _shrink(leftover: Leftover, excess: int) -> int:
    """Drop segments of a dead source until so many bytes are free; return how many were freed."""
    before = leftover.folder.bytes()
    freed = 0
    while freed < excess and leftover.drop_oldest():
        freed = before - leftover.folder.bytes()
    leftover.close()
    return freed
