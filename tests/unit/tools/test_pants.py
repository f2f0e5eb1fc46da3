"""Pants is taken as it is there; where it cannot be had, the gate is skipped in words, or fails if it was required."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import pants, pants_check


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a machine with neither launcher nor Python 3.9; return the only folder of its PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("WATTLINE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("WATTLINE_REQUIRE", raising=False)
    return tmp_path


def _program(path: Path, text: str) -> None:
    _write(path, f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_launcher_is_used_as_it_is(bare: Path) -> None:
    """Nothing is installed for somebody who has Pants."""
    _program(bare / "pants", "exit 0")
    assert pants.find().command == (str(bare / "pants"),)
    assert not (bare / "cache").exists()


def test_without_launcher_and_python_it_says_what_to_do(bare: Path) -> None:
    """Reason and remedy; a shim of pyenv that leads nowhere is no Python."""
    _program(bare / "python3.9", "echo 'pyenv: python3.9: command not found' >&2; exit 127")
    with pytest.raises(pants.PantsMissingError, match=r"no Python 3\.9 .* Remedy: install the launcher"):
        pants.find()


def test_a_failed_installation_is_no_installation(bare: Path) -> None:
    """It says which step failed and why, and the next run begins anew."""
    _program(
        bare / "pyenv/versions/3.9.99/bin/python3.9",
        'test "$1" = -c && echo "(3, 9)" || { echo full disk >&2; exit 1; }',
    )
    for _ in range(2):
        with pytest.raises(pants.PantsMissingError, match=r"-m venv .*full disk"):
            pants.find()


@pytest.mark.parametrize(("required", "code"), [("", 0), ("stack,browser", 0), ("stack, pants", 1)])
def test_the_gate_is_skipped_unless_it_is_required(
    bare: Path, required: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A skip is told with its remedy and is no failure; WATTLINE_REQUIRE makes it one."""
    monkeypatch.setenv("WATTLINE_REQUIRE", required)
    assert pants_check.main() == code
    assert "Remedy" in capsys.readouterr().err


def test_a_failing_goal_fails_the_gate(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first goal that fails is named, and nothing after it is run."""
    _program(bare / "pants", 'echo "$@" >> "$0.log"; case "$*" in *dependencies*) exit 1;; esac')
    assert pants_check.main() == 1
    assert "FAILED: hold_boundaries: pants list dependencies :: failed" in capsys.readouterr().err
    assert len((bare / "pants.log").read_text().splitlines()) == 2  # its version, and the goals


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the gate a repository of its own: one schema, one test that it can break."""
    root = tmp_path / "checkout"
    for name, source in {
        "schemas/training/RunStarted/v1.avsc": "{}",
        "libs/common/wattline_common/events.py": "",
        "services/streaming/wattline_streaming/__init__.py": "",
        "tests/unit/test_event.py": "import wattline_common.events",
    }.items():
        _write(root / name, source)
    monkeypatch.setattr(pants_check, "ROOT", root)
    return root


def test_a_pants_that_lets_a_forbidden_import_pass_fails_the_gate(bare: Path, checkout: Path) -> None:
    """Visibility that is switched off would otherwise go unnoticed."""
    _program(bare / "pants", "exit 0")
    with pytest.raises(pants_check.GateError, match="one service imports another, and Pants lets it pass"):
        pants_check.refuse_forbidden_imports(pants.find())


@pytest.mark.parametrize("missing", ["services/dashboard:pex", "tests/unit/test_event.py"])
def test_dependents_that_miss_something_fail_the_gate(bare: Path, checkout: Path, missing: str) -> None:
    """A pex or a test that a schema can break, and Pants does not name, is told by name."""
    pexes = {f"services/{name}:pex" for name in ("dashboard", "streaming", "trainer")}
    answer = {*pexes, "tests/unit/test_event.py:../unit"}
    _program(bare / "pants", f"printf '%s\\n' {' '.join(answer)}")
    assert "each of 1 schemas reaches 3 pexes and 1 tests" in pants_check.reach_from_schemas(pants.find())
    kept = (each for each in answer if not each.startswith(missing))
    _program(bare / "pants", f"printf '%s\\n' {' '.join(kept)}")
    with pytest.raises(pants_check.GateError, match=f"RunStarted/v1.avsc misses {missing}$"):
        pants_check.reach_from_schemas(pants.find())
