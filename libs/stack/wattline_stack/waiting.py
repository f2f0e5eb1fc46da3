"""Waits until a server answers, or says why it never will."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

from wattline_common.errors import ResourceError, StopError
from wattline_stack.servers.base import Server

__all__ = ["CancelledError", "wait_until_ready"]

POLL_S = 0.05
LOG_LINES = 15


class CancelledError(StopError):
    """Another server failed, or the user pressed Ctrl-C, so there is no more reason to wait."""


def wait_until_ready(
    server: Server, exit_code: Callable[[], int | None], timeout_s: float, cancel: Event | None = None
) -> None:
    """Poll until the server is ready; raise `ResourceError` when it ends or does not answer in time."""
    deadline_s = time.monotonic() + timeout_s
    while not server.is_ready():
        code = exit_code()
        if code is not None:
            raise ResourceError(f"{server.title} ended at once (exit code {code}): {_reason(server, code)}")
        if cancel is not None and cancel.is_set():
            raise CancelledError(f"{server.title} was not waited for any longer")
        if time.monotonic() > deadline_s:
            raise ResourceError(
                f"{server.title} did not answer within {timeout_s:.0f} s: see {server.log}; on a slow machine raise "
                "WATTLINE_START_TIMEOUT_S"
            )
        time.sleep(POLL_S)


def _reason(server: Server, code: int) -> str:
    known = server.explain(code)
    if known:
        return known
    return "".join(_tail(path) for path in dict.fromkeys((server.output, server.log)))


def _tail(path: Path) -> str:
    lines = path.read_text(errors="replace").splitlines()[-LOG_LINES:] if path.exists() else []
    return "\n  ".join([f"the end of {path}:", *lines]) + "\n" if lines else ""
