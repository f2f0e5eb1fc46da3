"""Runs any command as a measured run: its signals, streams and exit code are as without us."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import FrameType

from wattline.run import Run
from wattline_common.events import RunStatus

__all__ = ["die_as", "find_command", "launch"]

_FORWARDED = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
_FROM_TERMINAL = ("SIGINT", "SIGHUP", "SIGQUIT")
_STOPPING = {signal.SIGINT, signal.SIGTERM}
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # as shells and env(1) say it


def find_command(command: Sequence[str]) -> int | None:
    """Return the exit code that says why a command cannot be started, None when it can."""
    if shutil.which(command[0]) is not None:
        return None
    return _NOT_EXECUTABLE if os.path.lexists(command[0]) else _NOT_FOUND


class _Signals:
    """Hands signals on to a child, from before it starts."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []
        for name in _FORWARDED:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup stays nohup
                signal.signal(number, self._on_signal)

    def attach(self, child: subprocess.Popen[bytes]) -> None:
        """Hand them on to this one, and what has come already."""
        self._child = child
        for number in self._early:
            child.send_signal(number)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self._child is None:
            self._early.append(number)
        elif not (signal.Signals(number).name in _FROM_TERMINAL and _in_foreground()):
            with contextlib.suppress(OSError):
                self._child.send_signal(number)


def launch(run: Run, command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Start the command, wait for it and end the run; return its exit code, negative when a signal ended it."""
    signals = _Signals()
    try:
        # Inheritable descriptors go on to it, as to any command of a shell.
        child = subprocess.Popen(list(command), env=environment, close_fds=False)
    except OSError as error:
        sys.stderr.write(f"wattline run: {command[0]} cannot be started: {error.strerror}\n")
        run.stop(RunStatus.FAILED)
        return _NOT_EXECUTABLE
    signals.attach(child)
    code = child.wait()
    run.stop(_status(code))
    return code


def die_as(code: int) -> int:
    """Return an exit code; end by the signal instead when a signal ended the command, as who waits for us expects."""
    if code >= 0:
        return code
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # not on every system

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with contextlib.suppress(OSError):  # SIGKILL takes no handler, and needs none
        signal.signal(-code, signal.SIG_DFL)
    sys.stdout.flush()
    sys.stderr.flush()
    os.kill(os.getpid(), -code)
    return 128 - code


def _status(code: int) -> RunStatus:
    if code == 0:
        return RunStatus.COMPLETED
    stopped = (code < 0 and -code in _STOPPING) or code - 128 in _STOPPING
    return RunStatus.STOPPED if stopped else RunStatus.FAILED


def _in_foreground() -> bool:
    """Say whether the terminal, which signals a whole group, has signalled the child too."""
    try:
        with open("/dev/tty", "rb", buffering=0) as terminal:  # noqa: PTH123  # no file
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False
