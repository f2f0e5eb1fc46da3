"""Pythons with libraries that the project's venv does not hold, and how a script runs there as a user's would."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.requirements import require
from tools import pythons
from tools.venvs import locked_python
from wattline_stack import SilentProgress, StackSettings

__all__ = ["Ended", "huggingface_python", "mlflow_python", "run_script"]

_ROOT = Path(__file__).resolve().parents[1]
_LOCKS = _ROOT / "tests" / "integration" / "venvs"
_SURROUNDINGS = {
    "PYTHONPATH": os.pathsep.join(str(_ROOT / folder) for folder in ("libs/tracker", "libs/common")),
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1",
    "WATTLINE_FLUSH_TIMEOUT_S": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}
_MOST_S = 240.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a script ended and what it wrote."""

    code: int
    out: str
    err: str


def huggingface_python() -> Path:
    """Return a Python 3.10 with transformers and torch; skip where there is none, and none can be made."""
    found = pythons.find("3.10")
    if found is None:
        require("huggingface", "no Python 3.10 on the PATH or by pyenv", "pyenv install 3.10")
    return _python("huggingface", found)


def mlflow_python() -> Path:
    """Return a Python with MLflow; skip where none can be made."""
    return _python("mlflow", sys.executable)


def run_script(python: Path | str, *arguments: str, spool: Path, **variables: str) -> Ended:
    """Run a Python with arguments, the tracker importable, a spool of its own, and no server there."""
    environment = {**os.environ, **_SURROUNDINGS, "WATTLINE_SPOOL_DIR": str(spool), **variables}
    command = [str(python), *arguments]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_MOST_S, check=False)
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def _python(name: str, made_of: str) -> Path:
    cache_dir = StackSettings.from_environment().cache_dir
    try:
        return locked_python(_LOCKS / f"{name}.lock", cache_dir, SilentProgress(), made_of)
    except (OSError, subprocess.CalledProcessError) as error:
        require(name, f"its venv cannot be made: {error}", "run the test again with a package index in reach")
