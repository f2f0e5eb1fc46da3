"""Class archives (CDS): made once for each Java and each server by a throw-away start, they halve every later one."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wattline_common.errors import ResourceError
from wattline_stack.jvm.bundle import Bundle
from wattline_stack.locks import exclusive
from wattline_stack.ports import keep_ports, require_free
from wattline_stack.processes import spawn
from wattline_stack.progress import ProgressView
from wattline_stack.servers import Server
from wattline_stack.settings import StackSettings
from wattline_stack.waiting import wait_until_ready

__all__ = ["class_archives"]


def class_archives(
    kinds: Sequence[type[Server]], bundle: Bundle, settings: StackSettings, progress: ProgressView
) -> dict[str, tuple[Path, ...]]:
    """Return, by name of server, the archives to start it with, making in parallel those that are not there yet."""
    base = settings.cache_dir / f"{bundle.java.parent.parent.name}.jsa"
    own = {kind.name: settings.cache_dir / f"{kind.name}-{_key(kind, bundle)}.jsa" for kind in kinds}
    missing = [kind for kind in kinds if not own[kind.name].exists()]
    if missing or not base.exists():
        with exclusive(settings.cache_dir / "lock", progress, "the class archives"):
            if not base.exists():
                _dump_base(bundle.java, base)
            missing = [kind for kind in kinds if not own[kind.name].exists()]
            _make_all(missing, bundle, settings, base, own, progress)
    return {name: (base, archive) for name, archive in own.items()}


def _make_all(
    kinds: Sequence[type[Server]],
    bundle: Bundle,
    settings: StackSettings,
    base: Path,
    own: Mapping[str, Path],
    progress: ProgressView,
) -> None:
    cancel = threading.Event()

    def make(kind: type[Server]) -> None:
        with progress.task(f"preparing the fast start of {kind.title} (once)"):
            _make(kind, bundle, settings, base, own[kind.name], cancel)

    with ThreadPoolExecutor() as pool:
        try:
            list(pool.map(make, kinds))
        except BaseException:  # Ctrl-C too
            cancel.set()
            raise


def _key(kind: type[Server], bundle: Bundle) -> str:
    parts = [bundle.java, bundle.folder, *([bundle.launcher] if kind.uses_launcher else [])]
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()[:12]


def _dump_base(java: Path, target: Path) -> None:
    """Archive Java's own classes: the wheel ships none, and the servers' archives stand on it."""
    temporary = target.with_name(f"{target.name}.{os.getpid()}")
    command = [str(java), "-Xshare:dump", f"-XX:SharedArchiveFile={temporary}", "-XX:+UseG1GC"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ResourceError(f"Java could not archive its own classes:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    temporary.replace(target)


def _make(
    kind: type[Server], bundle: Bundle, settings: StackSettings, base: Path, target: Path, cancel: threading.Event
) -> None:
    temporary = target.with_name(f"{target.name}.{os.getpid()}")
    folder = Path(tempfile.mkdtemp(prefix="archive-", dir=settings.cache_dir))
    try:
        ports = keep_ports(folder, kind.port_names)
        require_free(folder, ports)
        server = kind(dataclasses.replace(settings, data_dir=folder), ports, (base,))
        server.prepare(bundle)
        command = server.command(bundle)
        command.insert(1, f"-XX:ArchiveClassesAtExit={temporary}")
        process, _ = spawn(command, server.folder, server.output)
        try:
            wait_until_ready(server, process.poll, settings.start_timeout_s, cancel)
            process.terminate()
            process.wait(settings.start_timeout_s)  # it writes the archive now
        finally:
            process.kill()
            process.wait()
        if not temporary.exists():
            tail = server.output.read_text(errors="replace")[-2000:]
            raise ResourceError(f"Java wrote no class archive of {kind.title}; its output:\n{tail}")
        temporary.replace(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
