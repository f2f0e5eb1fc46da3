"""Segments that could not be delivered whole, kept beside the spool: a person, or a later release, may still read them.

kept-aside/<source_id>/00000001.seg   the file as it was, with what of it was delivered, too
kept-aside/<source_id>/reasons.txt    a line for each: its name, and why
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from wattline.private_files import open_private

__all__ = ["FOLDER", "keep_aside", "take_back"]

FOLDER = "kept-aside"
_REASONS = "reasons.txt"
_MOST_BYTES = 50_000_000


def keep_aside(segment: Path, root: Path, reason: str) -> None:
    """Move a segment out of the spool at ``root``; the oldest of them go when all are too large. Raises `OSError`."""
    folder = root / FOLDER / segment.parent.name
    for each in (folder.parent, folder):
        each.mkdir(exist_ok=True, mode=0o700)
    segment.replace(folder / segment.name)
    with contextlib.suppress(OSError), open_private(folder / _REASONS, "a") as reasons:  # a full disk: better no reason
        reasons.write(f"{segment.name}: {reason}\n")
    _forget_oldest(folder.parent, segment.suffix)


def take_back(root: Path, spool: Path) -> int:
    """Move the folders of all that was kept aside into the spool again; return how many. Raises `OSError`."""
    taken = 0
    for folder in sorted((root / FOLDER).glob("*/")):
        if not (spool / folder.name).exists():  # else its source is still being delivered
            spool.mkdir(exist_ok=True, mode=0o700)
            folder.rename(spool / folder.name)
            taken += 1
    return taken


def _forget_oldest(aside: Path, suffix: str) -> None:
    sizes = [(each.stat().st_mtime, each.stat().st_size, each) for each in aside.glob(f"*/*{suffix}")]
    total = 0
    for _, size, path in sorted(sizes, reverse=True):
        total += size
        if total > _MOST_BYTES:
            with contextlib.suppress(OSError):
                path.unlink()
            if not any(path.parent.glob(f"*{suffix}")):
                shutil.rmtree(path.parent, ignore_errors=True)
