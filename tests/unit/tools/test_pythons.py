"""A Python of a version is found by name or by pyenv, and is asked before it is believed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools import pythons


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a machine without any Python but the running one; return the only folder of its PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    return tmp_path


def _python(path: Path, said: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{said}'\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_the_running_one_is_found() -> None:
    """Whatever it is called: it is of its own version."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = pythons.find(version)
    assert found is not None
    said = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    assert said.startswith(f"Python {version}.")


def test_a_shim_that_leads_nowhere_is_passed_over(bare: Path) -> None:
    """The one of pyenv behind it is taken, the newest first."""
    _python(bare / "python3.99", "pyenv: python3.99: command not found")
    _python(bare / "pyenv/versions/3.99.0/bin/python3.99", "(3, 99)")
    newest = _python(bare / "pyenv/versions/3.99.1/bin/python3.99", "(3, 99)")
    assert pythons.find("3.99") == str(newest)


def test_none_is_none(bare: Path) -> None:
    """Nothing is guessed: neither an older version nor one that says it is another."""
    _python(bare / "python3.99", "(3, 9)")
    assert pythons.find("3.99") is None
