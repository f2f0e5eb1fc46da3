"""The segments of one source's folder, oldest first: read, acknowledged, and removed when all of it is acknowledged.

Before a segment goes, its events are added to ``account.json`` beside it, so that a report knows of them. One that was
damaged, or of which Kafka refused an event, is kept aside.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from wattline.accounts import Account, Bookkeeper
from wattline.json_files import read_json
from wattline.spool_aside import keep_aside
from wattline.spool_records import Record, scan

__all__ = ["SUFFIX", "Item", "Outlet", "Segment", "SegmentQueue", "read_account", "segment_paths"]

SUFFIX = ".seg"
_ACCOUNT = "account.json"


@dataclass(slots=True)
class Segment:
    """One file: what has been read of it, and what of that is not settled."""

    path: Path
    complete: bool
    """Whether nothing will be appended any more."""
    offset: int = 0
    unread: deque[Record] = field(default_factory=deque)
    outstanding: int = 0
    settled: int = 0
    refused: int = 0
    """Of the settled ones, those that were not delivered and never can be."""
    damaged: int = 0
    exhausted: bool = False
    """Whether it was read to its end after nothing could be appended any more."""
    gone: bool = False

    @property
    def number(self) -> int:
        """Its place in the order."""
        return int(self.path.stem)


@dataclass(frozen=True, slots=True)
class Item:
    """A record that was taken out, and the segment it stands in; None when it was in memory only."""

    record: Record
    segment: Segment | None


class Outlet(Protocol):
    """What is delivered from: every item that was taken is settled or given back, by the same thread."""

    def take(self) -> Item | None:
        """Return the next record, None when there is none now."""
        ...

    def settle(self, item: Item, *, delivered: bool) -> None:
        """Hear that a record was delivered, or never can be."""
        ...

    def give_back(self, item: Item) -> None:
        """Take a record back; `take` will return it again."""
        ...


class SegmentQueue:
    """An `Outlet` over the files of a folder; of a living source's, files may be added and its last one grows."""

    def __init__(self, folder: Path, *, complete: bool) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        self._bookkeeper: Bookkeeper | None = None
        self._kept = read_account(folder)
        self._segments: deque[Segment] = deque()
        for path in segment_paths(folder, after=self.through):
            self.add(path, complete=complete)
        self.damaged = 0

    @property
    def through(self) -> int:
        """Number of the last segment that is done with."""
        return int(self._kept.get("through", 0))

    @property
    def dropped(self) -> int:
        """Records of this folder that were given up."""
        return int(self._kept.get("dropped", 0))

    def add(self, path: Path, *, complete: bool = False) -> None:
        """Read on with this file when those before it are through."""
        with self._lock:
            for segment in self._segments:
                segment.complete = True
            self._segments.append(Segment(path, complete))

    def complete(self) -> None:
        """Hear that nothing will be appended any more."""
        with self._lock:
            for segment in self._segments:
                segment.complete = True
            self._retire()

    def take(self) -> Item | None:
        """Return the next record."""
        with self._lock:
            for segment in self._segments:
                if not segment.unread:
                    self._read_on(segment)
                if segment.unread:
                    segment.outstanding += 1
                    return Item(segment.unread.popleft(), segment)
            self._retire()
            return None

    def settle(self, item: Item, *, delivered: bool) -> None:
        """Count it; remove the segment when this was its last."""
        with self._lock:
            if item.segment is None or item.segment.gone:
                return
            item.segment.outstanding -= 1
            item.segment.settled += 1
            if not delivered:
                item.segment.refused += 1
                self._kept["dropped"] = self.dropped + 1
            if item.segment.complete:
                self._retire()

    def give_back(self, item: Item) -> None:
        """Put it before what was not yet read."""
        with self._lock:
            if item.segment is not None and not item.segment.gone:
                item.segment.outstanding -= 1
                item.segment.unread.appendleft(item.record)

    def drop_oldest(self) -> bool:
        """Give up the oldest segment that is complete; say whether there was one."""
        with self._lock:
            if not self._segments or not self._segments[0].complete:
                return False
            self._remove(self._segments.popleft(), given_up=True)
            return True

    def is_done(self) -> bool:
        """Say whether everything was settled and no file is left."""
        with self._lock:
            self._retire()
            return not self._segments

    def account(self) -> dict[str, Any]:
        """Return the account as it was last kept."""
        return dict(self._kept.get("account", {}))

    def _read_on(self, segment: Segment) -> None:
        if segment.exhausted:
            return
        segment.exhausted = segment.complete
        try:
            with segment.path.open("rb") as file:
                file.seek(segment.offset)
                data = file.read()
        except FileNotFoundError:  # a person has removed it
            segment.complete = segment.exhausted = True
            return
        found = scan(data, complete=segment.complete)
        segment.unread.extend(found.records)
        segment.offset += found.end
        segment.damaged += found.damaged
        self.damaged += found.damaged

    def _retire(self) -> None:
        """Remove segments that are through, from the oldest on."""
        while self._segments and self._is_through(self._segments[0]):
            self._remove(self._segments.popleft())

    def _is_through(self, segment: Segment) -> bool:
        if not segment.complete or segment.outstanding or segment.unread:
            return False
        self._read_on(segment)  # what was appended since
        return not segment.unread

    def _remove(self, segment: Segment, *, given_up: bool = False) -> None:
        segment.gone = True
        with contextlib.suppress(OSError):
            self._keep(segment, scan(segment.path.read_bytes(), complete=True).records)
        counts = {"damaged records": segment.damaged, "events that cannot be sent": segment.refused}
        reasons = [f"{count} {what}" for what, count in counts.items() if count]
        with contextlib.suppress(OSError):  # what cannot be moved stays; `SourceFolder.remove` tries again
            if reasons and not given_up:
                keep_aside(segment.path, self._folder.parents[1], ", ".join(reasons))
            else:
                segment.path.unlink()

    def _keep(self, segment: Segment, records: list[Record]) -> None:
        """Add a segment's events to the account, once, and what of them is given up."""
        self._bookkeeper = self._bookkeeper or Bookkeeper()
        account = Account.from_json(self.account())
        self._bookkeeper.add(account, records)
        dropped = self.dropped + max(0, len(records) - segment.settled)
        self._kept = {"through": segment.number, "dropped": dropped, "account": account.as_json()}
        _write_json(self._folder / _ACCOUNT, self._kept)


def segment_paths(folder: Path, after: int = 0) -> list[Path]:
    """Return the segments of a folder that come after a number, in order."""
    found = [path for path in folder.glob(f"*{SUFFIX}") if path.stem.isdecimal() and int(path.stem) > after]
    return sorted(found, key=lambda path: int(path.stem))


def read_account(folder: Path) -> dict[str, Any]:
    """Return what was kept of segments that are gone; nothing when there is no such file, or it is damaged."""
    kept = read_json(folder / _ACCOUNT)
    if not isinstance(kept, dict):
        return {}
    try:
        Account.from_json(kept.get("account", {}))
    except ValueError:
        return {}
    counts = (kept.get(name, 0) for name in ("through", "dropped"))
    return kept if all(type(count) is int and count >= 0 for count in counts) else {}


def _write_json(path: Path, data: object) -> None:
    """Write a file, whole or not at all."""
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    try:
        unfinished.write_text(json.dumps(data), encoding="utf-8")
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
