"""Finds a Python of a given version on this machine: by its name on the PATH, or by pyenv."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["find"]


def find(version: str) -> str | None:
    """Return the executable of a version such as ``3.10`` that can make virtual environments; None without one."""
    numbers = str(tuple(map(int, version.split("."))))
    for candidate in _candidates(version):
        command = [candidate, "-c", "import ensurepip, sys; print(sys.version_info[:2])"]
        # A shim of pyenv may lead nowhere, so each is asked.
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.stdout.strip() == numbers:
            return candidate
    return None


def _candidates(version: str) -> Iterator[str]:
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        yield sys.executable
    if found := shutil.which(f"python{version}"):
        yield found
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"), reverse=True))
