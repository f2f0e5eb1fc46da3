"""Shows anything that takes over two seconds: bars on a terminal, plain lines elsewhere, nothing to library callers."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

__all__ = ["ConsoleProgress", "ProgressView", "SilentProgress", "Update"]

Update = Callable[[int], None]
LINE_EVERY_S = 10.0
TELL_TIME_FROM_S = 0.1


class ProgressView(Protocol):
    """Where long work shows itself; safe to use from several threads at once."""

    def task(self, text: str, total_mb: int | None = None) -> AbstractContextManager[Update]:
        """Show one piece of work while the context lasts; what is yielded takes the megabytes done."""

    def say(self, text: str) -> None:
        """Tell one fact that stays on the screen."""


class SilentProgress:
    """Shows nothing."""

    @contextmanager
    def task(self, text: str, total_mb: int | None = None) -> Iterator[Update]:  # noqa: ARG002 - the protocol's
        """Do nothing while the work goes on."""
        yield lambda _done: None

    def say(self, text: str) -> None:
        """Say nothing."""


class ConsoleProgress:
    """Bars on a terminal, plain lines with seconds otherwise; always on standard error."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stderr)
        self._lock = threading.Lock()
        self._bars: Progress | None = None
        self._open = 0

    def say(self, text: str) -> None:
        """Print one line."""
        self._console.print(f"wattline: {text}", highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def task(self, text: str, total_mb: int | None = None) -> Iterator[Update]:
        """Show one piece of work until it ends."""
        started_s = time.monotonic()
        if self._console.is_terminal:
            yield from self._bar(text, total_mb)
        else:
            yield from self._lines(text, total_mb)
        if time.monotonic() - started_s > TELL_TIME_FROM_S:
            self.say(f"{text}: {time.monotonic() - started_s:.1f} s")

    def _lines(self, text: str, total_mb: int | None) -> Iterator[Update]:
        said_s = time.monotonic()

        def update(done_mb: int) -> None:
            nonlocal said_s
            if time.monotonic() - said_s >= LINE_EVERY_S:
                said_s = time.monotonic()
                self.say(f"{text}: {_amount(done_mb, total_mb)}")

        self.say(f"{text} ...")
        yield update

    def _bar(self, text: str, total_mb: int | None) -> Iterator[Update]:
        bars, task = self._enter(text, total_mb)
        try:
            yield lambda done_mb: bars.update(task, completed=done_mb, amount=_amount(done_mb, total_mb))
        finally:
            self._leave(bars, task)

    def _enter(self, text: str, total_mb: int | None) -> tuple[Progress, TaskID]:
        with self._lock:
            if self._bars is None:
                columns = (
                    SpinnerColumn(),
                    TextColumn("{task.description}"),
                    BarColumn(),
                    TextColumn("{task.fields[amount]}"),
                )
                self._bars = Progress(*columns, TimeElapsedColumn(), console=self._console, transient=True)
                self._bars.start()
            self._open += 1
            return self._bars, self._bars.add_task(text, total=total_mb, amount="")

    def _leave(self, bars: Progress, task: TaskID) -> None:
        with self._lock:
            bars.remove_task(task)
            self._open -= 1
            if not self._open:
                bars.stop()
                self._bars = None


def _amount(done_mb: int, total_mb: int | None) -> str:
    return f"{done_mb} MB" if total_mb is None else f"{done_mb} of {total_mb} MB"
