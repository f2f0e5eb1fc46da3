"""The public surface is exact, cheap to import, and tells the version of its package."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import wattline

MANIFEST = Path(__file__).resolve().parents[3] / "libs" / "tracker" / "pyproject.toml"


def test_all_is_exact() -> None:
    """What is exported is there, and nothing else of our own is public but the modules."""
    own = {name for name, value in vars(wattline).items() if getattr(value, "__module__", "").startswith("wattline")}
    assert own | {"__version__"} == set(wattline.__all__)


def test_the_version_is_the_packages() -> None:
    """Events carry the version that is installed."""
    assert wattline.__version__ == tomllib.loads(MANIFEST.read_text(encoding="utf-8"))["project"]["version"]


def test_importing_it_loads_no_client_of_a_server() -> None:
    """Kafka's and the registry's clients take a second to import: they wait for the publisher's own thread."""
    code = "import sys, wattline; print(sorted({'confluent_kafka', 'fastavro', 'httpx2', 'pynvml'} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.strip() == "[]"
