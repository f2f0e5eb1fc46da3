"""Compiles the store's Java sources by the Eclipse compiler, once for each version of them: no JDK is needed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

from wattline_common.errors import ResourceError
from wattline_stack.progress import ProgressView

__all__ = ["SOURCES", "compile_launcher", "launcher_key"]

SOURCES = tuple(sorted((Path(__file__).resolve().parent / "java").glob("*.java")))


def launcher_key(bundle_key: str) -> str:
    """Return what the compiled classes depend on: the sources' text and the jars they are compiled against."""
    digest = hashlib.sha256(bundle_key.encode())
    for source in SOURCES:
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:12]


def compile_launcher(java: Path, bundle: Path, target: Path, progress: ProgressView) -> None:
    """Compile into the jar ``target`` (Java archives no classes from folders); it appears whole or not at all."""
    temporary = target.with_name(f"{target.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    compiler = next((bundle / "compiler").glob("ecj-*.jar"))
    jars = os.pathsep.join(str(jar) for jar in sorted((bundle / "store").glob("*.jar")))
    # Not --release: that needs files which only a JDK has.
    command = [str(java), "-jar", str(compiler), "-21", "-nowarn", "-cp", jars, "-d", str(temporary)]
    with progress.task("compiling the store's launcher (once)"):
        done = subprocess.run([*command, *map(str, SOURCES)], capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(temporary, ignore_errors=True)
        raise ResourceError(f"the store's launcher does not compile:\n{done.stdout}{done.stderr}")
    jar = temporary.with_suffix(".jar.new")
    with zipfile.ZipFile(jar, "w") as archive:
        for each in sorted(temporary.glob("*.class")):
            archive.write(each, each.name)
    shutil.rmtree(temporary)
    jar.replace(target)
