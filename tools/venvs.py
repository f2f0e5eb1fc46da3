"""A venv of its own, made on demand from a hashed lock: for what pins other versions than Wattline's own locks."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from wattline_stack.locks import exclusive
from wattline_stack.progress import ProgressView

__all__ = ["locked_python"]


def locked_python(lock: Path, cache_dir: Path, progress: ProgressView, python: str = sys.executable) -> Path:
    """Return the Python of the venv of a lock, made in the cache folder when it is not there yet.

    ``python`` is what it is made of. Raise `subprocess.CalledProcessError` when it cannot be made.
    """
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    folder = cache_dir / f"venv-{lock.stem}-{digest}"
    own = folder / "bin" / "python"
    with exclusive(cache_dir / f"{folder.name}.lock", progress, f"installing {lock.stem}"):
        if not (folder / "done").exists():
            with progress.task(f"installing {lock.stem} into a venv of its own, once"):
                subprocess.run([python, "-m", "venv", "--without-pip", "--clear", str(folder)], check=True)
                # By --python: uv as a module of this Python would take this one's venv, whatever VIRTUAL_ENV says.
                options = ["--python", str(own), "--quiet", "--compile-bytecode", "--require-hashes", "-r", str(lock)]
                subprocess.run([sys.executable, "-m", "uv", "pip", "install", *options], check=True)
                (folder / "done").touch()
    return own
