"""One process at a time on a shared folder: the cache of downloads, or a data folder."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wattline_stack.progress import ProgressView

__all__ = ["exclusive"]

POLL_S = 0.1


@contextmanager
def exclusive(path: Path, progress: ProgressView, what: str) -> Iterator[None]:
    """Hold the lock file ``path``; wait while another process holds it, and say so. Freed when a holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        if not _try(file.fileno()):
            with progress.task(f"waiting for another process to finish {what}"):
                while not _try(file.fileno()):
                    time.sleep(POLL_S)
        yield


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
