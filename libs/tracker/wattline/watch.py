"""Measures processes that somebody else started, and asks nothing of them: one and its descendants, or a pod's."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import psutil

from wattline.meters.cgroup import Cgroup, own_cgroup
from wattline.meters.host import Host, detect_host
from wattline.meters.pod import PodHost
from wattline.run import Run
from wattline_common.errors import ConfigurationError
from wattline_common.events import RunStatus

__all__ = ["Mark", "Watched", "pod", "process", "stop_on_signals", "watch"]

_POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Processes of others."""

    host: Host
    cgroup: Cgroup
    """Their control group; an empty one where it cannot be seen."""
    alive: Callable[[], bool]
    come_back: bool
    """Whether there may be processes again when there are none, as when a container is started anew."""


def process(pid: int) -> Watched:
    """Watch a process and its descendants; raise `ConfigurationError` when there is none."""
    try:
        found = psutil.Process(pid)
    except (psutil.Error, ValueError, OverflowError) as error:
        raise ConfigurationError(f"there is no process {pid}; --pid must name one that lives") from error

    def alive() -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            return found.is_running() and found.status() != psutil.STATUS_ZOMBIE
        return False

    cgroup = own_cgroup(Path(f"/proc/{pid}/cgroup"))
    return Watched(host=detect_host(pid), cgroup=cgroup, alive=alive, come_back=False)


def pod() -> Watched:
    """Watch the other containers of this pod; raise `ConfigurationError` where they cannot be seen."""
    try:
        host = PodHost()
    except OSError as error:
        raise ConfigurationError(f"--pod needs Linux's /proc: {error}; name a process with --pid") from error
    if not host.is_shared:
        raise ConfigurationError(
            "this container has its processes to itself; set shareProcessNamespace: true in the pod's spec"
        )
    # Their control group is outside of what this container is shown, and its own limits are not theirs.
    return Watched(host=host, cgroup=Cgroup(), alive=lambda: bool(host.processes()), come_back=True)


class Mark:
    """The run that a watcher began in a folder: one that is started anew goes on with it, and counts nothing twice."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "watched-run"

    def run_id(self) -> str | None:
        """Return the run that was begun; None at the first start."""
        with contextlib.suppress(OSError):
            return self._path.read_text(encoding="utf-8").strip() or None
        return None

    def set(self, run_id: str) -> None:
        """Keep the run's id; where it cannot be kept, a watcher that is started anew begins a run anew."""
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._path.write_text(f"{run_id}\n", encoding="utf-8")


def stop_on_signals() -> threading.Event:
    """Return what is set when this process is asked to end."""
    stopping = threading.Event()

    def stop(_: int, __: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    return stopping


def watch(watched: Watched, begin: Callable[[], Run], stopping: threading.Event) -> Run | None:
    """Measure from the first process until we are asked to stop, or they are gone for good; return the run.

    How they ended is told to their parent only: a run whose processes are gone ends as UNKNOWN, one that was left while
    they live as STOPPED.
    """
    while not watched.alive():
        if stopping.wait(_POLL_S):
            return None
    run = begin()
    while not stopping.wait(_POLL_S):
        if not (watched.come_back or watched.alive()):
            break
    run.stop(RunStatus.STOPPED if watched.alive() else RunStatus.UNKNOWN)
    return run
