"""Ids keep the contract's alphabet, and facts of the process never raise."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline.identity import as_text, git_commit, host_name, new_run_id, new_source_id, safe_id, user_name

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@given(st.text(max_size=300), st.text(max_size=300))
def test_any_text_becomes_an_id_of_its_own(one: str, other: str) -> None:
    """An id has none of the forbidden characters, is its own mended form, and two texts never share one."""
    mended = safe_id(one)
    assert mended
    assert len(mended) <= 128
    assert not set(mended) & set(".$|")
    assert safe_id(mended) == mended
    assert mended.isascii()
    assert (one == other) == (mended == safe_id(other))


@given(st.text())
def test_generated_ids_are_safe_and_never_the_same(name: str) -> None:
    """Run and source ids need no mending."""
    ids = [new_run_id(name, NOW), new_run_id(name, NOW), new_source_id(name), new_source_id(name)]
    assert len(set(ids)) == len(ids)
    assert [safe_id(new) for new in ids] == ids


@given(st.text(st.characters(), max_size=2000))
def test_any_text_can_be_encoded(text: str) -> None:
    """Half a surrogate pair would make every event of the run unwritable."""
    assert len(as_text(text)) <= 1000
    as_text(text).encode()


def test_lone_surrogates_are_replaced() -> None:
    """File names that are not UTF-8 come as such."""
    assert as_text("a\udcffb") == "a?b"


def test_facts_are_there() -> None:
    """Somebody runs it somewhere."""
    assert user_name()
    assert host_name()


@pytest.mark.parametrize("layout", ["loose", "packed", "detached"])
def test_the_commit_is_read_without_git(tmp_path: Path, layout: str) -> None:
    """From a folder below the repository, whatever way git keeps it."""
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text(f"{COMMIT}\n" if layout == "detached" else "ref: refs/heads/main\n", encoding="ascii")
    if layout == "loose":
        (git / "refs" / "heads" / "main").write_text(f"{COMMIT}\n", encoding="ascii")
    if layout == "packed":
        (git / "packed-refs").write_text(f"# pack-refs\n{COMMIT} refs/heads/main\n", encoding="ascii")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert git_commit(below) == COMMIT


def test_no_repository_no_commit(tmp_path: Path) -> None:
    """A broken or missing repository is no error."""
    assert git_commit(tmp_path / "none") is None
    (tmp_path / ".git").mkdir()
    assert git_commit(tmp_path) is None
