"""Where the spool is: one folder for each source below one root, and the accounts of sources that were delivered.

spool/<source_id>/lock           held by the process that writes or delivers it, with its host and pid in it
spool/<source_id>/00000001.seg   segments
spool/<source_id>/account.json   what the segments that are gone said
kept-aside/                      segments that could not be delivered whole
runs.jsonl                       accounts of sources of which nothing is left to deliver, newest last
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattline.accounts import Account, Bookkeeper
from wattline.identity import as_text, host_name
from wattline.json_files import parsed, read_json
from wattline.locks import Lock, is_locked
from wattline.private_files import open_private
from wattline.spool_aside import FOLDER, keep_aside, take_back
from wattline.spool_records import scan
from wattline.spool_segments import SUFFIX, Item, SegmentQueue, read_account, segment_paths

__all__ = ["Leftover", "SourceFolder", "SpoolRoot", "Waiting"]

_LOCK = "lock"
_HISTORY_BYTES = 1_000_000  # about two thousand sources
_PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """What of one source is not delivered yet."""

    account: Account
    """All that is known of the source, with what was delivered already."""
    live: bool
    """Whether a process holds it: its own, or one that delivers it."""
    here: bool
    """Whether it was written on this host."""
    events: int
    bytes: int
    dropped: int
    damaged: int


class SourceFolder:
    """The folder of one source, alive or dead."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = Lock(path / _LOCK)

    @property
    def source_id(self) -> str:
        """The source's identity."""
        return self.path.name

    @property
    def live(self) -> bool:
        """Whether a living process holds it."""
        return is_locked(self.path / _LOCK)

    @property
    def owner(self) -> dict[str, Any]:
        """Host, pid and run_id of who made it."""
        found = read_json(self.path / _LOCK)
        return found if isinstance(found, dict) else {}

    @property
    def here(self) -> bool:
        """Whether it is this host's: only here a lock says for sure whether its process lives."""
        return bool(self.owner.get("host", host_name()) == host_name())

    def bytes(self) -> int:
        """Return the size of its segments."""
        return sum(_size(path) for path in segment_paths(self.path))

    def waiting(self) -> Waiting:
        """Read everything that is there; changes nothing, so the source may be alive."""
        while True:
            kept = read_account(self.path)
            account = Account.from_json(kept.get("account", {}))
            bookkeeper, events, size, damaged, live = Bookkeeper(), 0, 0, 0, self.live
            for path in segment_paths(self.path, after=int(kept.get("through", 0))):
                data = _content(path)
                found = scan(data, complete=not live)
                bookkeeper.add(account, found.records)
                events, size, damaged = events + len(found.records), size + len(data), damaged + found.damaged
            if read_account(self.path).get("through") == kept.get("through"):  # else one went meanwhile: anew
                break
        account.source_id = account.source_id or self.source_id
        account.run_id = account.run_id or as_text(self.owner.get("run_id", "unknown"))
        dropped = int(kept.get("dropped", 0))
        account.events_dropped = max(account.events_dropped, dropped)
        return Waiting(account, live, self.here, events, size, dropped, damaged)

    def remove(self) -> None:
        """Remove the folder, which this process holds; a segment that is left is kept aside, or else stays."""
        for path in self.path.iterdir():
            with contextlib.suppress(OSError):
                if path.suffix == SUFFIX:
                    keep_aside(path, self.path.parents[1], "it was left when all else was delivered")
                elif path.name != _LOCK:
                    path.unlink(missing_ok=True)
        self.lock.release(remove=True)
        with contextlib.suppress(OSError):
            self.path.rmdir()


class Leftover:
    """An `Outlet` over what a process that is gone has left; held until `close`."""

    def __init__(self, root: SpoolRoot, folder: SourceFolder) -> None:
        self._root = root
        self.folder = folder
        self._queue = SegmentQueue(folder.path, complete=True)

    @property
    def damaged(self) -> int:
        """Damaged places that were stepped over."""
        return self._queue.damaged

    def take(self) -> Item | None:
        """Return the next record."""
        return self._queue.take()

    def settle(self, item: Item, *, delivered: bool) -> None:
        """Hear that a record was delivered, or never can be."""
        self._queue.settle(item, delivered=delivered)

    def give_back(self, item: Item) -> None:
        """Take a record back."""
        self._queue.give_back(item)

    def drop_oldest(self) -> bool:
        """Give up the oldest segment; say whether there was one."""
        return self._queue.drop_oldest()

    def is_done(self) -> bool:
        """Say whether nothing is left."""
        return self._queue.is_done()

    def close(self) -> None:
        """Let go of the folder: removed, and its account kept, when nothing is left of it."""
        if self._queue.is_done():
            self._root.archive(self.folder, self._queue.dropped)
        else:
            self.folder.lock.release()


class SpoolRoot:
    """The root of it all. Everything here may raise `OSError`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def spool(self) -> Path:
        """Where the sources' folders are."""
        return self.path / "spool"

    @property
    def kept_aside(self) -> Path:
        """Where segments are that could not be delivered whole."""
        return self.path / FOLDER

    @property
    def history_path(self) -> Path:
        """The file of accounts."""
        return self.path / "runs.jsonl"

    def create(self, source_id: str, run_id: str, destination: str) -> SourceFolder:
        """Make and hold a folder for a source of this process; ``destination`` says which Kafka its events are for."""
        folder = SourceFolder(self.spool / source_id)
        until_s = time.monotonic() + _PATIENCE_S
        while not folder.lock.held:
            self._make_own()
            folder.path.mkdir(exist_ok=True, mode=0o700)
            with contextlib.suppress(FileNotFoundError):  # taken for an empty one that is left, and removed
                folder.lock.acquire()
            if time.monotonic() > until_s:
                raise BlockingIOError(f"{folder.path} is held by another process")
        owner = {"host": host_name(), "pid": os.getpid(), "run_id": run_id, "destination": destination}
        folder.lock.write(json.dumps(owner))
        return folder

    def _make_own(self) -> None:
        """Make the root for its owner alone: who trains what is nobody else's to read. One that is there stays."""
        for folder in (self.path, self.spool):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def folders(self) -> list[SourceFolder]:
        """Return the folders of all sources, oldest first."""
        if not self.spool.is_dir():
            return []
        found = [(each.stat().st_mtime, each) for each in self.spool.iterdir() if each.is_dir()]
        return [SourceFolder(path) for _, path in sorted(found)]

    def leftovers(self, *, destination: str | None = None, other_hosts: bool = False) -> Iterator[Leftover]:
        """Claim one folder after the other of processes that are gone; with a destination, of those it was for."""
        for folder in self.folders():
            with contextlib.suppress(OSError):
                owner = folder.owner
                if destination not in {None, owner.get("destination")}:
                    continue
                if (folder.here or other_hosts) and folder.lock.acquire():
                    folder.lock.write(json.dumps(owner))
                    yield Leftover(self, folder)

    def take_back(self) -> int:
        """Put into the spool again what was kept aside; return of how many sources."""
        return take_back(self.path, self.spool)

    def archive(self, folder: SourceFolder, dropped: int = 0) -> None:
        """Keep the account of a folder of which nothing is left, and remove it."""
        account = Account.from_json(read_account(folder.path).get("account", {}))
        account.events_dropped = max(account.events_dropped, dropped)
        if account.source_id:
            with contextlib.suppress(OSError):
                self._append(account)
        folder.remove()

    def history(self) -> list[Account]:
        """Return the accounts of sources that were delivered, oldest first; a damaged line is left out.

        A source has a second one when what was kept aside of it was delivered later: the one with more events holds.
        """
        found: dict[str, Account] = {}
        for line in _content(self.history_path).decode(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                account = Account.from_json(parsed(line))
                known = found.get(account.source_id)
                if account.source_id and (known is None or known.events <= account.events):
                    found[account.source_id] = account
        return list(found.values())

    def _append(self, account: Account) -> None:
        lock = Lock(self.history_path.with_suffix(".lock"))
        until_s = time.monotonic() + _PATIENCE_S
        while not lock.acquire() and time.monotonic() < until_s:
            time.sleep(0.01)
        try:
            with open_private(self.history_path, "a") as file:
                file.write(f"{json.dumps(account.as_json())}\n")
            if lock.held and _size(self.history_path) > _HISTORY_BYTES:
                self._forget_half()
        finally:
            lock.release()

    def _forget_half(self) -> None:
        lines = self.history_path.read_text(encoding="utf-8").splitlines(keepends=True)
        unfinished = self.history_path.with_suffix(".part")
        with open_private(unfinished, "w") as file:
            file.writelines(lines[len(lines) // 2 :])
        unfinished.replace(self.history_path)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
