"""Locks on files that end with the process that holds them, even by SIGKILL; forked children do not inherit them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["Lock", "is_locked"]

_HELD: set[int] = set()


class Lock:
    """Exclusive by `flock`: between processes and within one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor is not None

    def acquire(self) -> bool:
        """Take the lock if nobody has it; say whether we hold it. Raises `OSError` where there can be no lock."""
        while self._descriptor is None:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            _HELD.add(descriptor)
            try:
                if not _flock(descriptor):
                    _close(descriptor)
                    return False
                if _is_same_file(self.path, descriptor):  # else its last holder has just removed it
                    self._descriptor = descriptor
                else:
                    _close(descriptor)
            except OSError:
                _close(descriptor)
                raise
        return True

    def write(self, text: str) -> None:
        """Say who holds it."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, text.encode(), 0)

    def release(self, *, remove: bool = False) -> None:
        """Let go of the lock, and of its file too when nobody will look for it again."""
        if self._descriptor is None:
            return
        if remove:
            with contextlib.suppress(OSError):
                self.path.unlink()
        descriptor, self._descriptor = self._descriptor, None
        _close(descriptor)


def is_locked(path: Path) -> bool:
    """Say whether a living process holds the lock; no file is no lock."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not _flock(descriptor)
    finally:
        os.close(descriptor)


def _flock(descriptor: int) -> bool:
    try:
        import fcntl  # not on every system
    except ImportError as error:
        raise OSError("this system has no file locks") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_same_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _close(descriptor: int) -> None:
    if descriptor in _HELD:  # a forked child has let go of it already, and the number may be another file's by now
        _HELD.discard(descriptor)
        os.close(descriptor)


def _let_go_in_child() -> None:
    """Close the child's copies: the lock is its parent's, and ends with it though the child lives on."""
    for descriptor in _HELD:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)
