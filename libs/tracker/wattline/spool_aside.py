"""Segments that could not be delivered whole, kept beside the spool: a person, or a later release, may still read them.

kept-aside/<source_id>-00000001.seg   the file as it was, with what of it was delivered, too
kept-aside/reasons.txt                a line for each: its name, and why
"""

from __future__ import annotations

import contextlib
from pathlib import Path

__all__ = ["FOLDER", "keep_aside"]

FOLDER = "kept-aside"
_REASONS = "reasons.txt"
_MOST_BYTES = 50_000_000


def keep_aside(segment: Path, root: Path, reason: str) -> None:
    """Move a segment out of the spool at ``root``; the oldest of them go when all are too large. Raises `OSError`."""
    folder = root / FOLDER
    folder.mkdir(exist_ok=True, mode=0o700)
    place = folder / f"{segment.parent.name}-{segment.name}"
    segment.replace(place)
    with (folder / _REASONS).open("a", encoding="utf-8") as reasons:
        reasons.write(f"{place.name}: {reason}\n")
    _forget_oldest(folder)


def _forget_oldest(folder: Path) -> None:
    kept = sorted(((each.stat().st_mtime, each.stat().st_size, each) for each in folder.glob("*.seg")), reverse=True)
    total = 0
    for _, size, path in kept:
        total += size
        if total > _MOST_BYTES:
            with contextlib.suppress(OSError):
                path.unlink()
