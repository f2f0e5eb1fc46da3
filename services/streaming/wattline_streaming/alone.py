"""One driver at a time on a checkpoint folder: who holds its lock."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from wattline_common.errors import ConfigurationError, StopError

__all__ = ["alone", "only_driver"]


@contextlib.contextmanager
def only_driver(checkpoint_dir: Path) -> Iterator[None]:
    """Hold the checkpoint folder; raise `StopError` when another driver does."""
    with alone(checkpoint_dir) as mine:
        if not mine:
            raise StopError(
                f"another streaming service works on WATTLINE_CHECKPOINT_DIR={checkpoint_dir}: "
                "stop it, or name another folder and another store"
            )
        yield


@contextlib.contextmanager
def alone(checkpoint_dir: Path) -> Iterator[bool]:
    """Hold the checkpoint folder and give true; give false when another process holds it.

    Raises `ConfigurationError` when nothing can be written there.
    """
    try:
        checkpoint_dir.mkdir(parents=True, exist_ok=True)
        file = Path(checkpoint_dir, "driver.lock").open("w", encoding="ascii")  # noqa: SIM115 - closed below
    except OSError as error:
        raise ConfigurationError(
            f"WATTLINE_CHECKPOINT_DIR={checkpoint_dir} cannot be written ({error.strerror}): mend that or name another "
            "folder, and the topic is read again from its start"
        ) from error
    with file as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
