"""The life of a schema file: drafted, released, and from then on the same for ever."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tools import schemas


def _write(folder: Path, version: int, **change: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    field = {"name": "width_m", "type": "double", "doc": "Width.", "default": 0.0}
    schema = {"type": "record", "name": "Painted", "namespace": "wattline.events", "doc": "A thing.", "fields": [field]}
    schema |= change
    (folder / f"v{version}.avsc").write_text(json.dumps(schema))


def test_versions_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """v10 comes after v9, not after v1."""
    for version in range(1, 12):
        _write(tmp_path / "family/Painted", version, doc=f"Version {version}.")
    (found,) = schemas.versions(tmp_path).values()
    assert [schema["doc"] for schema in found] == [f"Version {version}." for version in range(1, 12)]


@pytest.mark.parametrize("numbers", [[2], [1, 3], [0, 1]])
def test_a_gap_in_the_versions_is_refused(tmp_path: Path, numbers: list[int]) -> None:
    """Versions are 1, 2, 3 and so on: a deleted one would be a broken promise."""
    for number in numbers:
        _write(tmp_path / "family/Painted", number)
    with pytest.raises(schemas.SchemaFolderError, match=r"expected v\d+\.avsc of a record named Painted"):
        schemas.versions(tmp_path)


def test_a_record_named_otherwise_than_its_folder_is_refused(tmp_path: Path) -> None:
    """A schema is found by its name."""
    _write(tmp_path / "family/Painted", 1, name="Drawn")
    with pytest.raises(schemas.SchemaFolderError, match="of a record named Painted"):
        schemas.versions(tmp_path)


@pytest.mark.parametrize("name", ["vnew.avsc", "draft.avsc", "v01.avsc", "V2.avsc"])
def test_a_file_name_that_is_no_version_is_refused(tmp_path: Path, name: str) -> None:
    """A schema that nobody would read is a mistake, and is said to be one."""
    _write(tmp_path / "family/Painted", 1)
    shutil.copy(tmp_path / "family/Painted/v1.avsc", tmp_path / "family/Painted" / name)
    with pytest.raises(schemas.SchemaFolderError, match="expected v"):
        schemas.versions(tmp_path)


def test_no_released_schema_has_ever_changed() -> None:
    """Events written by it are read for ever: if this fails, take the change back and draft a next version."""
    assert schemas.changed(schemas.FOLDER) == []
    assert len(schemas.released(schemas.FOLDER)) >= 7


def test_the_first_two_versions_are_released() -> None:
    """Every version 1, and version 2 of the two records that have one."""
    first = {path for path in schemas.released(schemas.FOLDER) if path.endswith("/v1.avsc")}
    assert first == {path.relative_to(schemas.FOLDER).as_posix() for path in schemas.FOLDER.glob("*/*/v1.avsc")}
    assert {"training/StepCompleted/v2.avsc", "hardware/HardwareSampled/v2.avsc"} <= set(
        schemas.released(schemas.FOLDER)
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy of schemas/."""
    return Path(shutil.copytree(schemas.FOLDER, tmp_path / "schemas"))


def test_a_draft_is_a_copy_of_the_newest_version_and_there_is_one_at_a_time(folder: Path) -> None:
    """The next file, to be changed; a second draft before the first one's release would be a mistake."""
    newest = schemas.version_paths(folder)["StepCompleted"][-1]
    path = schemas.draft(folder, "StepCompleted")
    assert path.read_bytes() == newest.read_bytes()
    assert path == newest.with_name(f"v{int(newest.stem[1:]) + 1}.avsc")
    with pytest.raises(schemas.SchemaFolderError, match="is a draft already"):
        schemas.draft(folder, "StepCompleted")
    with pytest.raises(schemas.SchemaFolderError, match=r"RECORD is one of .*StepCompleted"):
        schemas.draft(folder, "StepComplete")


def test_a_release_seals_the_drafts_once(folder: Path) -> None:
    """The digest is sha256 of the file's bytes; releasing again adds nothing; then the next draft may come."""
    path = schemas.draft(folder, "RunStarted")
    assert schemas.release(folder) == [path.relative_to(folder).as_posix()]
    assert (
        schemas.released(folder)[path.relative_to(folder).as_posix()] == hashlib.sha256(path.read_bytes()).hexdigest()
    )
    assert schemas.release(folder) == []
    assert schemas.draft(folder, "RunStarted") != path


@pytest.mark.parametrize("spoil", [lambda path: path.write_text(path.read_text() + " "), lambda path: path.unlink()])
def test_a_changed_or_deleted_release_is_found(folder: Path, spoil: Any) -> None:
    """One blank more is a change; nothing is released beside it."""
    spoil(folder / "training/RunFinished/v1.avsc")
    assert schemas.changed(folder) == ["training/RunFinished/v1.avsc"]
    with pytest.raises(schemas.SchemaFolderError, match=r"training/RunFinished/v1\.avsc; take the change back"):
        schemas.release(folder)
