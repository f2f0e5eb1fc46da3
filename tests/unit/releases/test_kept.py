"""What a release has left behind is kept for ever, and nobody changes it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.releases import kept
from tests.releases.kept import Release

ROOT = Path(__file__).parents[3]


def _release(folder: Path, version: str = "1.2.3") -> Release:
    release = Release(version, folder / version)
    (release.spool / "spool").mkdir(parents=True)
    (release.spool / "spool" / "1.seg").write_bytes(b"events")
    release.archive.write_bytes(b"archive")
    release.ledger.write_text("{}")
    return release


def test_what_is_kept_is_as_it_was_sealed() -> None:
    """Every file, by its digest: what a version has left cannot be made to suit a later one."""
    assert kept.releases()
    assert kept.altered() == []


def test_every_released_version_is_kept() -> None:
    """A section of the changelog that has a number is a release."""
    released = re.findall(r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    missing = set(released) - {release.version for release in kept.releases()}
    assert not missing, "run `make release-data` at each of these versions"


@pytest.mark.parametrize("change", ["altered", "removed", "added"])
def test_a_change_is_told(tmp_path: Path, change: str) -> None:
    """Of any file, wherever it lies."""
    release = _release(tmp_path)
    kept.seal(release)
    assert kept.altered(tmp_path) == []
    path = release.spool / "spool" / ("2.seg" if change == "added" else "1.seg")
    if change == "removed":
        path.unlink()
    else:
        path.write_bytes(b"other events")
    assert kept.altered(tmp_path) == [path.relative_to(tmp_path).as_posix()]


def test_versions_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """0.10.0 comes after 0.9.0; each is sealed by itself."""
    for version in ("0.10.0", "0.9.0"):
        kept.seal(_release(tmp_path, version))
    assert [release.version for release in kept.releases(tmp_path)] == ["0.9.0", "0.10.0"]
    assert kept.altered(tmp_path) == []
