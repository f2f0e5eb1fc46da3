"""A backup gives back every byte or says why not, and never costs what was there."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattline_common.errors import ResourceError
from wattline_stack.backup import FORMAT, HEADER, SUMS, backup, restore
from wattline_stack.processes import ProcessTable, spawn
from wattline_stack.progress import SilentProgress

SILENT = SilentProgress()
NAMES = st.text("abcXYZ019-_. é", min_size=1, max_size=12).filter(lambda name: name not in {".", "..", "lock", "logs"})
FILES = st.dictionaries(st.tuples(NAMES, NAMES), st.binary(max_size=3000), min_size=1, max_size=6)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Give a folder with data."""
    return _folder(tmp_path / "data", {"store/journal": b"written", "kafka/log/0.log": os.urandom(300_000)})


def _folder(at: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_bytes(content)
    return at


def _contents(folder: Path) -> dict[str, bytes]:
    held = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    held.pop("lock", None)
    return held


@given(FILES)
@settings(max_examples=20)  # each syncs a file to the disk
def test_what_is_restored_is_what_was_saved(files: dict[tuple[str, str], bytes]) -> None:
    """Names, bytes and the permission to write, whatever they are."""
    with tempfile.TemporaryDirectory() as folder:
        made = _folder(Path(folder, "data"), {f"d{first}/{second}": body for (first, second), body in files.items()})
        before = _contents(made)
        saved = backup(made, Path(folder, "one.tar.gz"), SILENT)
        report = restore(Path(folder, "one.tar.gz"), Path(folder, "other"), SILENT)
        assert _contents(Path(folder, "other")) == before
        assert saved == report
        assert (report.files, report.data_bytes) == (len(before), sum(map(len, before.values())))


def test_pids_logs_and_locks_are_no_data(data: Path, tmp_path: Path) -> None:
    """What belongs to this moment and this machine is not brought back elsewhere; nor are links followed."""
    _folder(data, {"logs/streaming.log": b"noise", "processes.json": b"{}", "lock": b""})
    logs = ("kafka/server.log", "kafka/server.log.1", "kafka/output.log", "store/server.log")
    _folder(data, dict.fromkeys(logs, b"noise"))
    (data / "store" / "outside").symlink_to("/etc/hostname")
    backup(data, tmp_path / "one.tar.gz", SILENT)
    restore(tmp_path / "one.tar.gz", tmp_path / "other", SILENT)
    assert set(_contents(tmp_path / "other")) == {"store/journal", "kafka/log/0.log"}


def test_an_archive_is_for_its_owner_only(data: Path, tmp_path: Path) -> None:
    """It holds who trained what."""
    backup(data, tmp_path / "one.tar.gz", SILENT)
    assert (tmp_path / "one.tar.gz").stat().st_mode & 0o777 == 0o600


def test_a_place_that_cannot_be_written_is_told(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parent that is a file, and a disk that is full: with the remedy, and without a rest."""
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="folder that can be written"):
        backup(data, tmp_path / "file" / "one.tar.gz", SILENT)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match=r"No space left.*with room"):
        backup(data, tmp_path / "one.tar.gz", SILENT)
    assert not [path for path in tmp_path.iterdir() if "one.tar.gz" in path.name]


def test_a_file_system_without_links_takes_an_archive(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As FAT has none; there, too, nothing is overwritten."""

    def none(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    backup(data, tmp_path / "one.tar.gz", SILENT)
    assert (tmp_path / "one.tar.gz").stat().st_mode & 0o777 == 0o600
    restore(tmp_path / "one.tar.gz", tmp_path / "other", SILENT)
    assert _contents(tmp_path / "other") == _contents(data)
    assert [path.name for path in tmp_path.iterdir() if "one.tar.gz" in path.name] == ["one.tar.gz"]


def test_nothing_is_overwritten(data: Path, tmp_path: Path) -> None:
    """Neither an archive nor data, unless that is asked for; and then they are put aside."""
    backup(data, tmp_path / "one.tar.gz", SILENT)
    with pytest.raises(ResourceError, match="exists already"):
        backup(data, tmp_path / "one.tar.gz", SILENT)
    (data / "store" / "journal").write_bytes(b"newer")
    with pytest.raises(ResourceError, match="--replace"):
        restore(tmp_path / "one.tar.gz", data, SILENT)
    assert (data / "store" / "journal").read_bytes() == b"newer"
    report = restore(tmp_path / "one.tar.gz", data, SILENT, replace=True)
    assert (data / "store" / "journal").read_bytes() == b"written"
    assert report.replaced is not None
    assert (report.replaced / "store" / "journal").read_bytes() == b"newer"
    assert not [path for path in tmp_path.iterdir() if "restoring" in path.name]


def test_what_runs_is_neither_saved_nor_replaced(data: Path, tmp_path: Path) -> None:
    """The message names what runs, and how to stop it."""
    backup(data, tmp_path / "one.tar.gz", SILENT)
    process, record = spawn(["sleep", "60"], data, tmp_path / "log")
    try:
        ProcessTable(data).put("kafka", record)
        with pytest.raises(ResourceError, match=r"kafka on .*still at work.*wattline_stack down"):
            backup(data, tmp_path / "two.tar.gz", SILENT)
        with pytest.raises(ResourceError, match="still at work"):
            restore(tmp_path / "one.tar.gz", data, SILENT, replace=True)
    finally:
        process.kill()
        process.wait()
    assert not (tmp_path / "two.tar.gz").exists()


def test_no_data_and_a_file_within_the_data_are_refused(data: Path, tmp_path: Path) -> None:
    """An empty backup would be believed in; one within the folder would save itself."""
    with pytest.raises(ResourceError, match="WATTLINE_DATA_DIR"):
        backup(tmp_path / "nowhere", tmp_path / "one.tar.gz", SILENT)
    with pytest.raises(ResourceError, match="name a file outside"):
        backup(data, data / "one.tar.gz", SILENT)
    assert not list(tmp_path.glob("*.tar.gz"))


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 0.999])
def test_an_archive_that_was_cut_off_changes_nothing(data: Path, tmp_path: Path, part: float) -> None:
    """Wherever it was cut."""
    whole = tmp_path / "one.tar.gz"
    backup(data, whole, SILENT)
    (tmp_path / "cut.tar.gz").write_bytes(whole.read_bytes()[: int(whole.stat().st_size * part)])
    _refused(tmp_path / "cut.tar.gz", data)


def test_an_archive_without_its_last_member_was_cut_off(data: Path, tmp_path: Path) -> None:
    """Also where the cut fell between two files, and somebody packed it anew."""
    backup(data, tmp_path / "one.tar.gz", SILENT)
    _repacked(tmp_path / "one.tar.gz", tmp_path / "less.tar.gz", drop=SUMS)
    _refused(tmp_path / "less.tar.gz", data, "cut off")


def test_a_changed_a_missing_and_a_further_file_are_noticed(data: Path, tmp_path: Path) -> None:
    """By the sums, where the format of the archive is all right."""
    backup(data, tmp_path / "one.tar.gz", SILENT)
    _repacked(tmp_path / "one.tar.gz", tmp_path / "changed.tar.gz", put={"data/store/journal": b"Written"})
    _repacked(tmp_path / "one.tar.gz", tmp_path / "missing.tar.gz", drop="data/store/journal")
    _repacked(tmp_path / "one.tar.gz", tmp_path / "further.tar.gz", put={"data/store/more": b"more"})
    for name in ("changed", "missing"):
        _refused(tmp_path / f"{name}.tar.gz", data, "data/store/journal is not what was saved")
    _refused(tmp_path / "further.tar.gz", data, "data/store/more is not what was saved")


@pytest.mark.parametrize("name", ["data/../../out", "/out", "data/../out", "out"])
def test_a_member_that_points_elsewhere_is_refused(data: Path, tmp_path: Path, name: str) -> None:
    """An archive may come from anybody: nothing is written beside the folder."""
    backup(data, tmp_path / "one.tar.gz", SILENT)
    _repacked(tmp_path / "one.tar.gz", tmp_path / "odd.tar.gz", put={name: b"evil"})
    before = set(tmp_path.parent.iterdir()) | set(tmp_path.iterdir())
    _refused(tmp_path / "odd.tar.gz", data)
    assert set(tmp_path.parent.iterdir()) | set(tmp_path.iterdir()) == before
    assert not Path("/out").exists()


def test_a_newer_format_names_the_remedy(data: Path, tmp_path: Path) -> None:
    """What this version cannot know it does not guess."""
    backup(data, tmp_path / "one.tar.gz", SILENT)
    newer = json.dumps({"format": FORMAT + 1, "created_at": "", "wattline": "9.0"}).encode()
    _repacked(tmp_path / "one.tar.gz", tmp_path / "newer.tar.gz", put={HEADER: newer})
    _refused(tmp_path / "newer.tar.gz", data, r"the Wattline that wrote it \(9\.0\)")


def test_something_else_is_no_backup(data: Path, tmp_path: Path) -> None:
    """A text, an archive of something else, a folder."""
    (tmp_path / "text").write_text("hello")
    (tmp_path / "text.gz").write_bytes(gzip.compress(b"hello"))
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz") as tar:
        tar.add(data / "store" / "journal", "journal")
    for name in ("text", "text.gz", "other.tar.gz"):
        _refused(tmp_path / name, data, "no backup of Wattline's")
    with pytest.raises(ResourceError, match="is no file"):
        restore(tmp_path, data, SILENT)


def _refused(archive: Path, data: Path, why: str = "nothing was changed") -> None:
    before = _contents(data)
    with pytest.raises(ResourceError, match=why):
        restore(archive, data, SILENT, replace=True)
    assert _contents(data) == before


def _repacked(archive: Path, into: Path, *, drop: str = "", put: Mapping[str, bytes] | None = None) -> None:
    """Write the archive again, without a member or with other ones."""
    others = dict(put or {})
    with tarfile.open(archive) as old, tarfile.open(into, "w:gz") as new:
        for entry in old:
            content = old.extractfile(entry)
            body = content.read() if content else b""
            if entry.name == SUMS:
                for name in [name for name in others if name not in old.getnames()]:
                    _add(new, name, others[name])
            if entry.name == drop:
                continue
            if entry.isdir():
                new.addfile(entry)
            else:
                _add(new, entry.name, others.get(entry.name, body))


def _add(tar: tarfile.TarFile, name: str, body: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(body)
    tar.addfile(entry, io.BytesIO(body))
