"""The cache is trusted only as far as it is unchanged."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest

from wattline_stack.jvm import bundle
from wattline_stack.jvm.pins import Pins, sha256_of


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an installed folder of one pinned jar and one unpacked file."""
    for name in ("kafka/a.jar", "registry/unpacked.jar"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(name)
    manifest = {name: [stat.st_size, stat.st_mtime_ns] for name, stat in bundle._stats(tmp_path)}
    (tmp_path / bundle.MANIFEST).write_text(json.dumps(manifest))
    pins = Pins({"kafka/a.jar": sha256_of(tmp_path / "kafka/a.jar")}, 1, "key")
    monkeypatch.setattr(bundle, "load_pins", lambda: pins)
    return tmp_path


def test_an_unchanged_folder_is_whole(installed: Path) -> None:
    """What was verified at installing and has not changed since is used as it is."""
    assert bundle._is_whole(installed)


def test_a_touched_file_is_verified_again(installed: Path) -> None:
    """A new time stamp alone is no damage when the sum is still the pinned one."""
    os.utime(installed / "kafka/a.jar", ns=(1, 1))
    assert bundle._is_whole(installed)


@pytest.mark.parametrize("name", ["kafka/a.jar", "registry/unpacked.jar"])
def test_a_changed_or_missing_file_makes_it_unusable(installed: Path, name: str) -> None:
    """Damage is found before a server is started from it."""
    (installed / name).write_text("changed")
    assert not bundle._is_whole(installed)
    (installed / name).unlink()
    assert not bundle._is_whole(installed)


def test_an_unfinished_folder_is_not_whole(tmp_path: Path) -> None:
    """Without the manifest, which is written last, nothing counts as installed."""
    assert not bundle._is_whole(tmp_path / "nothing")


@pytest.mark.parametrize("filters", [True, False], ids=["filters", "Python 3.11.2 has no filters"])
def test_an_archive_is_unpacked_and_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, filters: bool) -> None:
    """Debian 12's Python is older than tarfile's filters, and unpacks all the same."""
    if not filters:
        monkeypatch.delattr("tarfile.data_filter")
    (tmp_path / "a.jar").write_text("a")
    with tarfile.open(tmp_path / "all.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "a.jar", "lib/b.jar")
    bundle.unpack(tmp_path)
    assert (tmp_path / "lib" / "b.jar").read_text() == "a"
    assert not (tmp_path / "all.tar.gz").exists()
