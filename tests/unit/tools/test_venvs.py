"""A venv that could not be made is no venv."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools.venvs import locked_python
from wattline_stack.progress import SilentProgress


def test_a_venv_that_failed_is_made_anew(tmp_path: Path) -> None:
    """Each attempt runs the Python it is made of, and raises; a lock that differs has another venv."""
    python, lock = tmp_path / "python", tmp_path / "some.lock"
    python.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\nexit 1\n')
    python.chmod(0o755)
    for text in ("one", "one", "two"):
        lock.write_text(text)
        with pytest.raises(subprocess.CalledProcessError):
            locked_python(lock, tmp_path / "cache", SilentProgress(), str(python))
    first, again, other = (tmp_path / "asked").read_text().splitlines()
    assert "-m venv" in first
    assert first == again != other
