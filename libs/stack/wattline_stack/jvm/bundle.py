"""One folder of Java parts for all checkouts: fetched once, checked whenever it is used, safe under concurrent use."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from wattline_common.errors import ResourceError
from wattline_stack.jvm.fetch import fetch
from wattline_stack.jvm.java import install_java
from wattline_stack.jvm.launcher import compile_launcher, launcher_key
from wattline_stack.jvm.pins import load_pins, sha256_of, write_pins
from wattline_stack.locks import exclusive
from wattline_stack.progress import ProgressView, SilentProgress

__all__ = ["Bundle", "pin", "provision", "unpack"]

MANIFEST = "manifest.json"
NEEDED_MB = 1200  # download, its copy and the unpacked registry, all at once
Manifest = dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class Bundle:
    """The provisioned parts: Java, a folder of kafka/, registry/, store/ and spark/, and the compiled launcher."""

    java: Path
    folder: Path
    launcher: Path

    def jars(self, part: str) -> tuple[Path, ...]:
        """Return the jars of one part, in an order that never changes (Java's class archive depends on it)."""
        return tuple(sorted((self.folder / part).glob("*.jar")))


def provision(cache_dir: Path, repository: str = "", progress: ProgressView | None = None) -> Bundle:
    """Return the parts, downloading, unpacking and compiling what is not yet there.

    Needs no network when it is all there. Raises `ResourceError` on a wrong sum, no network, or too little disk.
    """
    view = progress or SilentProgress()
    pins = load_pins()
    folder = cache_dir / f"jvm-{pins.key}"
    launcher = cache_dir / f"launcher-{launcher_key(pins.key)}.jar"
    cache_dir.mkdir(parents=True, exist_ok=True)
    java = install_java(cache_dir)
    if not (_is_whole(folder) and launcher.exists()):
        with exclusive(cache_dir / "lock", view, "the download"):
            if not _is_whole(folder):
                _install(java, folder, repository, view)
            if not launcher.exists():
                compile_launcher(java, folder, launcher, view)
    return Bundle(java, folder, launcher)


def pin(cache_dir: Path, repository: str, progress: ProgressView) -> None:
    """Download afresh what ivy.xml names and write its sums: for whoever changes a version."""
    cache_dir.mkdir(parents=True, exist_ok=True)
    work = cache_dir / "download-to-pin"
    shutil.rmtree(work, ignore_errors=True)
    write_pins(fetch(install_java(cache_dir), work, repository, None, progress))
    shutil.rmtree(work)


def _install(java: Path, folder: Path, repository: str, progress: ProgressView) -> None:
    cache_dir = folder.parent
    free_mb = psutil.disk_usage(str(cache_dir)).free >> 20
    if free_mb < NEEDED_MB:
        raise ResourceError(
            f"{cache_dir} has {free_mb} MB free, and the download needs {NEEDED_MB} MB: free some, or name another "
            "folder by WATTLINE_CACHE_DIR"
        )
    work = cache_dir / f"download-{folder.name}"
    target = fetch(java, work, repository, load_pins(), progress)
    with progress.task("unpacking the registry (once)"):
        unpack(target / "registry")
    manifest = {name: [stat.st_size, stat.st_mtime_ns] for name, stat in _stats(target)}
    (target / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    if folder.exists():  # damaged: out of the way first, as running servers may still read from it
        folder.rename(work / "damaged")
    target.rename(folder)
    shutil.rmtree(work)


def unpack(folder: Path) -> None:
    """Put the content of a folder's archives in their place."""
    for archive in folder.glob("*.tar.gz"):
        with tarfile.open(archive) as tar:
            if hasattr(tarfile, "data_filter"):
                tar.extractall(folder, filter="data")
            else:  # Python 3.11 before 3.11.4, as in Debian 12; the archive is one whose sum was right
                tar.extractall(folder)  # noqa: S202
        archive.unlink()


def _is_whole(folder: Path) -> bool:
    """Compare all files with what was verified at installing: size and time at once, the sum where those differ."""
    try:
        manifest: Manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    found = {name: [stat.st_size, stat.st_mtime_ns] for name, stat in _stats(folder)}
    if found == manifest:
        return True
    pinned = load_pins().sums
    return found.keys() == manifest.keys() and all(
        name in pinned and sha256_of(folder / name) == pinned[name] for name in found if found[name] != manifest[name]
    )


def _stats(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    for path in folder.rglob("*"):
        if path.is_file() and path.name != MANIFEST:
            yield path.relative_to(folder).as_posix(), path.stat()
