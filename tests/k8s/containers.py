"""Runs an image as a cluster would: read-only root, a number for a user, no capability; no network but loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.requirements import require
from tools.images import REVISION_LABEL

__all__ = ["Container", "Pod", "Runtime", "runtime"]

USER = 10001
REMEDY = "make images, as root with buildah and runc, or with a Docker whose daemon runs"


@dataclass
class Container:
    """A running container; what it says goes to ``log``."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def output(self) -> str:
        """All it has said so far."""
        return self.log.read_text("utf-8", "replace")


@dataclass(frozen=True)
class Start:
    """What a container is started with."""

    image: str
    arguments: Sequence[str] = ()
    command: Sequence[str] | None = None  # instead of the image's entrypoint
    environment: Mapping[str, str] = field(default_factory=dict)
    writable: Mapping[str, Path] = field(default_factory=dict)  # path inside: folder outside
    files: Mapping[str, Path] = field(default_factory=dict)  # likewise, read-only


class Runtime(ABC):
    """Whatever runs containers on this machine."""

    @abstractmethod
    def revision(self, image: str) -> str | None:
        """Return the commit that an image says it was built from; nothing when it was not built."""

    @abstractmethod
    def run(self, name: str, start: Start, pod: str | None, log: Path) -> subprocess.Popen[bytes]:
        """Start a container, in the network of another if one is named; return its foreground process."""

    @abstractmethod
    def execute(self, name: str, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command in a running container, as its user."""

    @abstractmethod
    def signal(self, name: str, number: str) -> None:
        """Send a signal to its first process."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove it, running or not."""


class Docker(Runtime):
    """Docker."""

    def revision(self, image: str) -> str | None:
        """Ask for it."""
        form = '{{index .Config.Labels "' + REVISION_LABEL + '"}}'
        return _answer("docker", "image", "inspect", "--format", form, image)

    def run(self, name: str, start: Start, pod: str | None, log: Path) -> subprocess.Popen[bytes]:
        """Run it in the foreground."""
        command = ["docker", "run", "--name", name, "--pull", "never", "--read-only", "--user", f"{USER}:{USER}"]
        command += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--tmpfs", "/tmp:exec,mode=1777"]  # noqa: S108
        command += ["--network", f"container:{pod}" if pod else "none"]
        for key, value in start.environment.items():
            command += ["--env", f"{key}={value}"]
        for inside, folder in start.writable.items():
            command += ["--volume", f"{folder}:{inside}"]
        for inside, file in start.files.items():
            command += ["--volume", f"{file}:{inside}:ro"]
        words = [*(start.command or ()), *start.arguments]
        if start.command:
            command += ["--entrypoint", words.pop(0)]
        return _logged([*command, start.image, *words], log)

    def execute(self, name: str, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Execute it."""
        return subprocess.run(["docker", "exec", name, *command], capture_output=True, text=True, check=False)  # noqa: S607

    def signal(self, name: str, number: str) -> None:
        """Kill by that signal."""
        subprocess.run(["docker", "kill", "--signal", number, name], check=True, capture_output=True)  # noqa: S607

    def remove(self, name: str) -> None:
        """Remove it by force."""
        subprocess.run(["docker", "rm", "--force", name], check=False, capture_output=True)  # noqa: S607


class Runc(Runtime):
    """Buildah's storage and runc, which need no daemon."""

    def __init__(self) -> None:
        self._mounted: dict[str, str] = {}

    def revision(self, image: str) -> str | None:
        """Ask for it."""
        form = '{{index .Docker.Config.Labels "' + REVISION_LABEL + '"}}'
        return _answer("buildah", "inspect", "--type", "image", "--format", form, image)

    def run(self, name: str, start: Start, pod: str | None, log: Path) -> subprocess.Popen[bytes]:
        """Mount a working container of the image and run it as an OCI bundle."""
        work = _output("buildah", "from", "--pull-never", start.image)
        self._mounted[name] = work
        inspected = json.loads(_output("buildah", "inspect", "--type", "container", work))
        configuration = inspected["Docker"]["config"]
        bundle = log.with_suffix(".bundle")
        bundle.mkdir()
        network = {"type": "network", **({"path": f"/proc/{self._pid(pod)}/ns/net"} if pod else {})}
        hosts = bundle / "hosts"  # what every cluster puts there, too
        hosts.write_text("127.0.0.1 localhost\n", "utf-8")
        start = replace(start, files={**start.files, "/etc/hosts": hosts})
        spec = _oci_spec(start, configuration, _output("buildah", "mount", work), network)
        (bundle / "config.json").write_text(json.dumps(spec), "utf-8")
        return _logged(["runc", "run", "--bundle", str(bundle), name], log)

    def execute(self, name: str, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Execute it."""
        return subprocess.run(["runc", "exec", name, *command], capture_output=True, text=True, check=False)  # noqa: S607

    def signal(self, name: str, number: str) -> None:
        """Kill by that signal."""
        subprocess.run(["runc", "kill", name, number], check=True, capture_output=True)  # noqa: S607

    def remove(self, name: str) -> None:
        """Remove container and working container."""
        subprocess.run(["runc", "delete", "--force", name], check=False, capture_output=True)  # noqa: S607
        if name in self._mounted:
            subprocess.run(["buildah", "rm", self._mounted.pop(name)], check=False, capture_output=True)  # noqa: S607

    @staticmethod
    def _pid(name: str) -> int:
        return int(json.loads(_output("runc", "state", name))["pid"])


class Pod:
    """Containers that share one loopback and nothing else; leaving it removes them."""

    def __init__(self, runtime: Runtime, folder: Path) -> None:
        self._runtime = runtime
        self._folder = folder
        self._name = f"wattline-{uuid.uuid4().hex[:8]}"
        self._cleanup = ExitStack()
        self._first: Container | None = None

    def __enter__(self) -> Pod:
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def start(self, image: str, *arguments: str, writable: Sequence[str] = (), **given: Any) -> Container:
        """Start an image; each path in ``writable`` is kept, by image, as a claim is. Skips when it was not built."""
        reference = f"wattline/{image}:{os.environ.get('WATTLINE_IMAGE_TAG', 'dev')}"
        _require_built(reference, self._runtime.revision(reference))
        name = f"{self._name}-{image}-{uuid.uuid4().hex[:4]}"
        log = self._folder / f"{name}.log"
        claims = {inside: self._claim(f"{image}{inside.replace('/', '-')}") for inside in writable}
        network = self._first.name if self._first and self._first.process.poll() is None else None
        self._cleanup.callback(self._runtime.remove, name)
        process = self._runtime.run(name, Start(reference, arguments, writable=claims, **given), network, log)
        container = Container(name, process, log)
        if network is None:
            self._first = container
        return container

    def execute(self, container: Container, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a container."""
        return self._runtime.execute(container.name, command)

    def wait(self, condition: Callable[[], bool], container: Container, timeout_s: float) -> None:
        """Poll until the condition holds; fail with the container's log when it ends before, or in ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert container.process.poll() is None, f"{container.name} has ended:\n{container.output[-6000:]}"
            assert time.monotonic() < deadline, f"{container.name}: not in {timeout_s} s:\n{container.output[-6000:]}"
            time.sleep(0.3)

    def stop(self, container: Container, grace_s: float) -> int:
        """Send SIGTERM and return the exit code; fail when it has not ended after the grace period."""
        self._runtime.signal(container.name, "TERM")
        try:
            return container.process.wait(grace_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{container.name} ignored SIGTERM:\n{container.output[-6000:]}") from None

    def _claim(self, name: str) -> Path:
        folder = self._folder / name
        if not folder.exists():
            folder.mkdir()
            folder.chmod(0o777)
        return folder


def runtime() -> Runtime:
    """Return what runs containers here; skip the test when nothing does."""
    if shutil.which("docker") and _succeeds("docker", "info"):
        return Docker()
    if shutil.which("buildah") and shutil.which("runc") and os.geteuid() == 0:
        return Runc()
    return require("images", "nothing runs containers here", REMEDY)


def _oci_spec(start: Start, configuration: Mapping[str, Any], root: str, network: Mapping[str, str]) -> dict[str, Any]:
    environment = dict(each.split("=", 1) for each in configuration["Env"]) | dict(start.environment)
    system = {"nosuid", "noexec", "nodev"}
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": [*system, "mode=1777"]},  # noqa: S108
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*system, "ro"]},
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]},  # noqa: S108
    ]
    for inside, path in start.writable.items():
        mounts.append({"destination": inside, "type": "bind", "source": str(path), "options": ["rbind", "rw"]})
    for inside, path in start.files.items():
        mounts.append({"destination": inside, "type": "bind", "source": str(path), "options": ["rbind", "ro"]})
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": USER, "gid": USER},
            "args": [*(start.command or configuration["Entrypoint"]), *start.arguments],
            "env": [f"{key}={value}" for key, value in environment.items()],
            "cwd": configuration.get("WorkingDir") or "/",
            "noNewPrivileges": True,
        },
        "hostname": "localhost",
        "root": {"path": root, "readonly": True},
        "mounts": mounts,
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")] + [dict(network)]},
    }


def _logged(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)


def _require_built(reference: str, revision: str | None) -> None:
    """Skip when the image is missing, or of another commit: an old one would tell nothing of this checkout."""
    if revision is None:
        require("images", f"{reference} was not built", REMEDY)
    head = _answer("git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD")
    if head and head != revision:
        require("images", f"{reference} was built from commit {revision[:12]}, and this is {head[:12]}", REMEDY)


def _answer(*command: str) -> str | None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode else done.stdout.strip()


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout.strip()
