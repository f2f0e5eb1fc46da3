"""Small file systems of their own, to be filled up or made read-only; root may mount them, others do without."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

__all__ = ["disks", "filled", "mounted", "read_only"]

_SIZES_MB = {"store": 2048, "checkpoint": 256}
_FILLER = "filler"


def _mount(folder: Path, *options: str) -> bool:
    try:
        command = ["mount", *options, str(folder)]
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


@contextmanager
def mounted(folder: Path, size_kb: int) -> Iterator[Path]:
    """Mount a file system of that size at a folder for a while; raise `OSError` where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    if not _mount(folder, "-t", "tmpfs", "-o", f"size={size_kb}k", "none"):
        raise PermissionError(f"no file system can be mounted at {folder}: that takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607


@contextmanager
def disks(folder: Path) -> Iterator[Mapping[str, Path]]:
    """Give store and checkpoint of a data folder disks of their own, by name; nothing where none can be mounted.

    What is on them is kept beside them in the end, and put there again in the beginning.
    """
    with contextlib.ExitStack() as stack:
        own = {}
        for name, size_mb in _SIZES_MB.items():
            place, kept = folder / name, folder / f"{name}.kept"
            try:
                stack.enter_context(mounted(place, size_mb * 1024))
            except PermissionError:
                break
            if kept.exists():
                shutil.copytree(kept, place, dirs_exist_ok=True, symlinks=True)
            stack.callback(_keep, place, kept)
            own[name] = place
        yield own


def _keep(place: Path, kept: Path) -> None:
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(place, kept, symlinks=True)


@contextmanager
def filled(disk: Path) -> Iterator[int]:
    """Leave no room on a disk for a while; yield how many bytes that took."""
    filler = disk / _FILLER
    try:
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(1 << 20)):
                pass
        with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        yield filler.stat().st_size
    finally:
        filler.unlink()


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """Let nothing be written to a disk for a while; nothing must have a file of it open for writing at first."""
    if not _mount(disk, "-o", "remount,ro"):
        raise PermissionError(f"{disk} cannot be made read-only: something writes to it")
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)  # noqa: S607
