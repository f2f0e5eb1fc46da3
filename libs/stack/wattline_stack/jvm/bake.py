"""Lays Java and single parts, verified, into a plain folder with fixed names: what a container image is made of."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from wattline_common.errors import ResourceError
from wattline_stack.jvm.bundle import unpack
from wattline_stack.jvm.fetch import fetch
from wattline_stack.jvm.java import install_java, write_spark_java
from wattline_stack.jvm.launcher import compile_launcher
from wattline_stack.jvm.pins import load_pins
from wattline_stack.progress import ProgressView

__all__ = ["BAKED_PARTS", "GROUPS_FILE", "bake"]

BAKED_PARTS = ("kafka", "registry", "store", "spark")
GROUPS_FILE = "maven-groups.json"  # which Maven group each downloaded file is of: a jar often does not say


def bake(parts: Sequence[str], folder: Path, repository: str, progress: ProgressView) -> None:
    """Write ``java`` and the parts into ``folder``, and beside Spark's jars the JAVA_HOME that Spark needs.

    ``folder`` must be the path at which all of it will be used. Raises `ResourceError` on a wrong sum or no network.
    """
    java = _bake_java(folder / "java")
    with tempfile.TemporaryDirectory() as work:
        wanted = {*parts, "compiler"} if "store" in parts else {*parts}
        found = fetch(java, Path(work), repository, load_pins().of(wanted), progress)
        if "store" in parts:
            compile_launcher(java, found, found / "store" / "wattline-store-launcher.jar", progress)
        if "registry" in parts:
            unpack(found / "registry")
        if "spark" in parts:
            write_spark_java(folder / "spark-java", java)
        for part in parts:
            shutil.copytree(found / part, folder / part)
        (folder / GROUPS_FILE).write_text(json.dumps(_groups(Path(work) / "ivy")), encoding="utf-8")


def _bake_java(home: Path) -> Path:
    """Copy Java and archive its own classes, which the wheel lacks: every start is the faster for it."""
    with tempfile.TemporaryDirectory() as cache:
        shutil.copytree(install_java(Path(cache)).parent.parent, home, symlinks=True)
    java = home / "bin" / "java"
    done = subprocess.run([str(java), "-Xshare:dump"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ResourceError(f"Java could not archive its own classes:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return java


def _groups(cache: Path) -> dict[str, str]:
    """Read from the layout of Ivy's cache, group/name/kind/file, which group each file came from."""
    return {path.name: path.parts[-4] for path in sorted(cache.glob("*/*/*/*")) if path.suffix in {".jar", ".gz"}}
