"""The way back: the data folder of stopped servers as one archive that was read again, and a folder from an archive."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO

from wattline_common.errors import ResourceError
from wattline_stack.locks import exclusive
from wattline_stack.processes import TABLE_FILE, ProcessTable
from wattline_stack.progress import ProgressView, Update

__all__ = ["BackupReport", "backup", "restore"]

FORMAT = 1
HEADER, SUMS = "wattline-backup.json", "sha256sums.json"
"""The first and the last member of an archive; one without the last was cut off."""
DATA = "data"
LOCK = "lock"
_NOT_DATA = {LOCK, TABLE_FILE, "logs"}
_SERVER_LOGS = ("server.log", "output.log")
"""In each server's own folder, with what follows when they are rolled; segments of topics end in .log, too."""
_CHUNK_BYTES = 1 << 20
_DAMAGE = (tarfile.TarError, EOFError, OSError, ValueError, KeyError, TypeError)


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What an archive holds: number of files, their bytes, when it was made (UTC, ISO 8601), and what was put aside."""

    files: int
    data_bytes: int
    created_at: str
    replaced: Path | None = None


@dataclass(slots=True)
class _Sums:
    """SHA-256 of each file by its name, and the megabytes read so far."""

    update: Update
    by_name: dict[str, str] = field(default_factory=dict)
    data_bytes: int = 0

    def reading(self, name: str, file: IO[bytes]) -> _Summed:
        return _Summed(file, lambda digest: self.by_name.__setitem__(name, digest), self._count)

    def _count(self, size: int) -> None:
        self.data_bytes += size
        self.update(self.data_bytes >> 20)


class _Summed(io.RawIOBase):
    """A file that is summed while somebody reads it to its end."""

    def __init__(self, file: IO[bytes], done: Callable[[str], None], count: Callable[[int], None]) -> None:
        super().__init__()
        self._file, self._done, self._count, self._sum = file, done, count, hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        self._sum.update(chunk)
        self._count(len(chunk))
        return chunk

    def close(self) -> None:
        if not self.closed:
            self._done(self._sum.hexdigest())
        super().close()


def backup(data_dir: Path, archive: Path, progress: ProgressView) -> BackupReport:
    """Write the data of stopped servers to ``archive`` (.tar.gz, for its owner only) and read it again.

    Raises `ResourceError` when there is nothing to save, when something runs on the folder, when the archive exists,
    lies in the folder itself or cannot be written. An archive appears only once it is complete and was read again.
    """
    if not data_dir.is_dir() or not any(_data_files(data_dir)):
        raise ResourceError(f"{data_dir} holds no data: name the folder by WATTLINE_DATA_DIR")
    if archive.exists():
        raise ResourceError(f"{archive} exists already, and a backup is never overwritten: name another file")
    if archive.absolute().is_relative_to(data_dir.absolute()):
        raise ResourceError(f"{archive} lies in the folder that it is to save: name a file outside of {data_dir}")
    with exclusive(data_dir / LOCK, progress, f"starting or stopping the servers of {data_dir}"):
        _require_stopped(data_dir)
        try:
            return _backup(data_dir, archive, progress)
        except OSError as error:
            raise ResourceError(
                f"{data_dir} could not be saved to {archive} ({error}): name a file in a folder that can be written, "
                "on a disk with room for it"
            ) from error


def _backup(data_dir: Path, archive: Path, progress: ProgressView) -> BackupReport:
    archive.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{archive.name}.", dir=archive.parent)  # mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            _write(data_dir, file, progress)
            file.flush()
            os.fsync(file.fileno())
        report = _read(temporary, None, progress)
        _give_name(temporary, archive)
        return report
    finally:
        temporary.unlink(missing_ok=True)


def _give_name(temporary: Path, archive: Path) -> None:
    """Let it appear under its name; raise `FileExistsError` where a file of that name has appeared meanwhile."""
    try:
        os.link(temporary, archive)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        os.close(os.open(archive, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        temporary.replace(archive)


def restore(archive: Path, data_dir: Path, progress: ProgressView, *, replace: bool = False) -> BackupReport:
    """Make the data folder what it was when ``archive`` was written; every file's sum is compared first.

    Raises `ResourceError`, with the folder as it was, when the archive is damaged, cut off or from a newer Wattline,
    when something runs on the folder, or when it holds data and ``replace`` is not set. Replaced data are never
    deleted: the report names the folder where they are.
    """
    if not archive.is_file():
        raise ResourceError(f"{archive} is no file")
    with contextlib.ExitStack() as held:
        if data_dir.exists():
            held.enter_context(exclusive(data_dir / LOCK, progress, f"starting or stopping the servers of {data_dir}"))
            _require_stopped(data_dir)
        full = data_dir.exists() and any(_data_files(data_dir))
        if full and not replace:
            raise ResourceError(
                f"{data_dir} holds data: name another folder by WATTLINE_DATA_DIR, or add --replace, which keeps the "
                "present data beside it under another name"
            )
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        unpacked = Path(tempfile.mkdtemp(prefix=f".{data_dir.name}.restoring-", dir=data_dir.parent))
        try:
            report = _read(archive, unpacked, progress)
            return _put_in_place(unpacked / DATA, data_dir, report)
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)


def _put_in_place(made: Path, data_dir: Path, report: BackupReport) -> BackupReport:
    if not data_dir.exists():
        made.rename(data_dir)
        return report
    now = datetime.datetime.now(datetime.UTC)
    aside = data_dir.with_name(f"{data_dir.name}.before-restore-{now:%Y%m%d-%H%M%S-%f}")
    data_dir.rename(aside)
    made.rename(data_dir)
    if any(path.name not in {LOCK, TABLE_FILE} for path in aside.iterdir()):
        return dataclasses.replace(report, replaced=aside)
    shutil.rmtree(aside)
    return report


def _require_stopped(data_dir: Path) -> None:
    running = ProcessTable(data_dir).running()
    if running:
        raise ResourceError(
            f"{', '.join(sorted(running))} on {data_dir} still at work: stop it first, by Ctrl-C in the demo's "
            "terminal or by: python -m wattline_stack down"
        )


def _data_files(data_dir: Path) -> Iterator[Path]:
    for path in sorted(data_dir.rglob("*")):
        if path.is_file() and not path.is_symlink() and _is_data(path.relative_to(data_dir)):
            yield path


def _is_data(path: Path) -> bool:
    first, *below = path.parts
    return first not in _NOT_DATA and not (len(below) == 1 and below[0].startswith(_SERVER_LOGS))


def _write(data_dir: Path, file: IO[bytes], progress: ProgressView) -> None:
    files = list(_data_files(data_dir))
    total_mb = sum(path.stat().st_size for path in files) >> 20
    header = {"format": FORMAT, "created_at": _now(), "wattline": _version()}
    with (
        progress.task(f"saving {data_dir}", total_mb) as update,
        tarfile.open(fileobj=file, mode="w:gz", format=tarfile.PAX_FORMAT) as tar,
    ):
        sums = _Sums(update)
        _add(tar, HEADER, header)
        for folder in sorted({parent for path in files for parent in path.relative_to(data_dir).parents}):
            entry = tar.gettarinfo(data_dir / folder, str(Path(DATA) / folder))
            tar.addfile(_anonymous(entry))
        for path in files:
            entry = tar.gettarinfo(path, str(Path(DATA) / path.relative_to(data_dir)))
            entry.type = tarfile.REGTYPE  # also for a second name of the same file
            entry.linkname, entry.size = "", path.stat().st_size
            with path.open("rb") as content, sums.reading(entry.name, content) as summed:
                tar.addfile(_anonymous(entry), summed)
        _add(tar, SUMS, sums.by_name)


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _add(tar: tarfile.TarFile, name: str, content: Mapping[str, object]) -> None:
    body = json.dumps(content, indent=1).encode()
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(body), 0o600
    tar.addfile(entry, io.BytesIO(body))


def _read(archive: Path, into: Path | None, progress: ProgressView) -> BackupReport:
    """Compare every file with its sum, writing it below ``into`` if that is given."""
    text = f"reading {archive} again" if into is None else f"unpacking {archive}"
    try:
        with progress.task(text) as update, tarfile.open(archive, mode="r|gz") as tar:
            sums = _Sums(update)
            said: dict[str, str] | None = None
            header: dict[str, object] = {}
            for entry in tar:
                if entry.name in {HEADER, SUMS}:
                    content = json.load(_content(tar, entry))
                    if entry.name == SUMS:
                        said = content
                    else:
                        header = _checked(content, archive)
                else:
                    _take(tar, entry, into, sums)
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's, not the archive's
            raise ResourceError(f"{archive} could not be unpacked: {error}") from error
        raise ResourceError(
            f"{archive} is damaged or no backup of Wattline's ({error}); nothing was changed"
        ) from error
    if said is None or not header:
        raise ResourceError(f"{archive} was cut off, or is no backup of Wattline's; nothing was changed")
    different = sorted(name for name in said.keys() | sums.by_name if said.get(name) != sums.by_name.get(name))
    if different:
        raise ResourceError(f"{archive} is damaged: {different[0]} is not what was saved; nothing was changed")
    return BackupReport(len(said), sums.data_bytes, str(header["created_at"]))


def _take(tar: tarfile.TarFile, entry: tarfile.TarInfo, into: Path | None, sums: _Sums) -> None:
    """Sum one member and write it; its name and kind are nobody's to trust."""
    entry = tarfile.data_filter(entry, str(into or "/nowhere"))
    if Path(entry.name).parts[:1] != (DATA,) or not (entry.isreg() or entry.isdir()):
        raise ValueError(f"{entry.name} is not what a backup holds")
    target = None if into is None else into / entry.name
    if entry.isdir():
        if target is not None:
            target.mkdir(parents=True, exist_ok=True)
            target.chmod(0o700 | (entry.mode or 0))
        return
    with sums.reading(entry.name, _content(tar, entry)) as summed:
        if target is None:
            while summed.read(_CHUNK_BYTES):
                pass
            return
        with target.open("xb") as file:
            while chunk := summed.read(_CHUNK_BYTES):
                file.write(chunk)
        target.chmod(0o600 | (entry.mode or 0))


def _content(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(entry)
    if content is None:
        raise ValueError(f"{entry.name} has no content")
    return content


def _checked(header: dict[str, object], archive: Path) -> dict[str, object]:
    if header["format"] != FORMAT:
        raise ResourceError(
            f"{archive} has format {header['format']}, and this Wattline reads format {FORMAT}: restore it with the "
            f"Wattline that wrote it ({header.get('wattline')}) or a newer one; nothing was changed"
        )
    return header


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _version() -> str:
    try:
        return version("wattline-stack")
    except PackageNotFoundError:  # run from a checkout
        return "a checkout"
