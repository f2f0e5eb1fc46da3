"""The wall between us and the training: our faults are logged once, counted, and go no further."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, TypeVar

__all__ = ["Guard", "Problems", "walled"]

_LOG = logging.getLogger("wattline")

P = ParamSpec("P")
T = TypeVar("T")


class Problems:
    """Logs each kind of problem once and counts them all."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._counts: dict[str, int] = {}

    @property
    def count(self) -> int:
        """How many problems there were."""
        return sum(self._counts.values())

    def report(self, kind: str, message: str, error: BaseException | None = None) -> None:
        """Count a problem; the first of its kind is a warning, with the traceback at DEBUG."""
        with self._lock:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            first = self._counts[kind] == 1
        if not first:
            return
        _LOG.warning("wattline: %s%s", message, f" ({type(error).__name__}: {error})" if error else "")
        if error is not None:
            _LOG.debug("wattline: %s", kind, exc_info=error)

    def guard(self, kind: str) -> Guard:
        """Return a context that swallows and reports our exceptions."""
        return Guard(self, kind)


class Guard:
    """Swallows `Exception`; what ends a program (KeyboardInterrupt, SystemExit) passes, since it is not ours."""

    __slots__ = ("_kind", "_problems")

    def __init__(self, problems: Problems, kind: str) -> None:
        self._problems = problems
        self._kind = kind

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        """Report an exception of ours and go on."""
        if error is None or not isinstance(error, Exception):
            return False
        with contextlib.suppress(Exception):  # a broken log handler is no reason to stop a training
            self._problems.report(self._kind, f"{self._kind} failed; the training goes on", error)
        return True


def walled(instead: Callable[[Problems], T]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate what a training calls first: whatever it raises is reported, and it returns ``instead``.

    A call whose arguments do not fit the signature is the caller's own error, and is raised.
    """

    def wall(make: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(make)

        @functools.wraps(make)
        def safely(*args: P.args, **kwargs: P.kwargs) -> T:
            signature.bind(*args, **kwargs)
            try:
                return make(*args, **kwargs)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is ours
                problems = Problems()
                with contextlib.suppress(Exception):  # a broken log handler is no reason to stop a training
                    problems.report("start", "the run cannot be made, so nothing is measured", error)
                return instead(problems)

        return safely

    return wall
