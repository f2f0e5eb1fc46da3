"""Nothing is used that is not what was pinned."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from wattline_common.errors import ResourceError
from wattline_stack.jvm.pins import Pins, load_pins, verify, write_pins

CONTENT = b"the very jar"
SUM = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a download that is right."""
    (tmp_path / "kafka").mkdir()
    (tmp_path / "kafka" / "a.jar").write_bytes(CONTENT)
    return tmp_path


def test_the_pinned_files_pass(folder: Path) -> None:
    """A folder that holds exactly the pinned files is good."""
    verify(folder, Pins({"kafka/a.jar": SUM}, 1, "key"))


def test_a_changed_file_is_named_with_both_sums(folder: Path) -> None:
    """One changed byte is an error that names file, expected, found and remedy."""
    (folder / "kafka" / "a.jar").write_bytes(CONTENT + b"!")
    found = hashlib.sha256(CONTENT + b"!").hexdigest()
    with pytest.raises(ResourceError, match=f"kafka/a.jar: expected sha256 {SUM}, found {found}.*run again"):
        verify(folder, Pins({"kafka/a.jar": SUM}, 1, "key"))


def test_a_missing_and_an_additional_file_are_errors(folder: Path) -> None:
    """All of what was pinned, and nothing else."""
    with pytest.raises(ResourceError, match=rf"kafka/b\.jar: expected sha256 {SUM}, found no such file"):
        verify(folder, Pins({"kafka/a.jar": SUM, "kafka/b.jar": SUM}, 1, "key"))
    with pytest.raises(ResourceError, match=r"kafka/a\.jar: expected sha256 no such file"):
        verify(folder, Pins({}, 1, "key"))


def test_pins_of_some_parts_are_as_strict(folder: Path) -> None:
    """A part alone is held to its own sums, and to nothing of another part."""
    both = Pins({"kafka/a.jar": SUM, "spark/b.jar": SUM}, 1, "key")
    kafka = both.of({"kafka"})
    assert (kafka.parts, both.parts) == (("kafka",), ("kafka", "spark"))
    verify(folder, kafka)
    with pytest.raises(ResourceError, match=r"spark/b\.jar: expected .* found no such file"):
        verify(folder, both)


def test_written_pins_are_what_sha256sum_reads(folder: Path, tmp_path: Path) -> None:
    """`provision --pin` writes the format that sha256sum --check takes."""
    target = tmp_path.parent / f"{tmp_path.name}-sums"
    write_pins(folder, target)
    assert target.read_text().splitlines() == ["# total_mb: 0", f"{SUM}  kafka/a.jar"]


def test_the_committed_pins_cover_every_part() -> None:
    """The committed sums are whole: every part has files, Spark exactly its five, all with a SHA-256."""
    pins = load_pins()
    parts = [name.split("/")[0] for name in pins.sums]
    assert set(parts) == {"kafka", "registry", "store", "spark", "compiler"}
    assert parts.count("spark") == 5
    assert all(len(digest) == 64 and int(digest, 16) >= 0 for digest in pins.sums.values())
    assert pins.total_mb > 100
