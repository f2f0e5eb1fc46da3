"""Downloads the pinned jars with the Ivy that ships inside pyspark; what has not every sum right is thrown away."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

from wattline_common.errors import ResourceError
from wattline_stack.jvm.java import network_options
from wattline_stack.jvm.pins import IVY_FILE, PARTS, Pins, verify
from wattline_stack.progress import ProgressView

__all__ = ["fetch"]

SETTINGS = """<ivysettings>
  <settings defaultResolver="maven"/>
  <caches defaultCacheDir={cache} useOrigin="false"/>
  <resolvers><ibiblio name="maven" m2compatible="true" usepoms="true"{root}/></resolvers>
</ivysettings>
"""
PATTERN = "[conf]/[artifact]-[revision](-[classifier]).[ext]"
POLL_S = 0.25


def fetch(java: Path, work: Path, repository: str, pins: Pins | None, progress: ProgressView) -> Path:
    """Download what ``pins`` name under ``work`` and return the folder of it, checked (None: everything, unchecked).

    An interrupted download goes on where it was. Raises `ResourceError` when the network, or a sum, is not right.
    """
    parts = pins.parts if pins else PARTS
    work.mkdir(parents=True, exist_ok=True)
    target = work / "bundle"
    shutil.rmtree(target, ignore_errors=True)
    with progress.task(f"downloading {', '.join(parts)} (once)", pins.total_mb or None if pins else None) as update:
        process = _start(_command(java, work, target, repository, parts), work / "ivy.log")
        try:
            while process.poll() is None:
                time.sleep(POLL_S)
                update(_megabytes(work / "ivy"))
        finally:
            process.kill()
            process.wait()
    if process.returncode:
        raise ResourceError(_explain((work / "ivy.log").read_text(errors="replace"), work))
    if pins is not None:
        try:
            verify(target, pins)
        except ResourceError:
            shutil.rmtree(work)
            raise
    return target


def _start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("w") as output:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)


def _command(java: Path, work: Path, target: Path, repository: str, parts: Sequence[str]) -> list[str]:
    root = f" root={quoteattr(repository)}" if repository else ""
    settings = work / "ivysettings.xml"
    settings.write_text(SETTINGS.format(cache=quoteattr(str(work / "ivy")), root=root), encoding="utf-8")
    return [
        *(str(java), "-Xmx256m", "-XX:TieredStopAtLevel=1", *network_options(work)),
        *("-cp", str(_ivy_jar()), "org.apache.ivy.Main", "-settings", str(settings), "-ivy", str(IVY_FILE)),
        *("-confs", *parts),
        *("-types", "jar", "bundle", "tar.gz"),  # snakeyaml calls itself a bundle
        *("-retrieve", f"{target}/{PATTERN}"),
    ]


def _ivy_jar() -> Path:
    spec = importlib.util.find_spec("pyspark")
    jars = sorted((Path(spec.origin).parent / "jars").glob("ivy-*.jar")) if spec and spec.origin else []
    if not jars:
        raise ResourceError("pyspark, which ships the downloader, is not installed whole: run make clean setup")
    return jars[-1]


def _megabytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # a .part file that was just renamed
            continue
    return total >> 20


def _explain(log: str, work: Path) -> str:
    errors = [line.strip() for line in log.splitlines() if "Server access error" in line or "FAILED" in line]
    reason = errors[0] if errors else (log.strip().splitlines() or ["no output"])[-1].strip()
    return (
        f"the Java parts could not be downloaded: {reason}. Check the network and its proxy (HTTPS_PROXY), or name a "
        f"mirror by WATTLINE_JAR_REPOSITORY; all output is in {work / 'ivy.log'}. What was fetched is kept: run again"
    )
