"""`@wattline.tracked`: a function whose every call is a run; and the run that code is in."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, ParamSpec, Protocol, TypeVar, cast, overload

from wattline.run import Run
from wattline.wiring import idle_run, track

__all__ = ["current_run", "tracked"]

P = ParamSpec("P")
T = TypeVar("T")

_Arguments = Mapping[str, Any]
_CURRENT: ContextVar[Run] = ContextVar("wattline_current_run")


class _Decorator(Protocol):
    """Gives a function back as it was, for those who call it."""

    def __call__(self, function: Callable[P, T], /) -> Callable[P, T]: ...


@overload
def tracked(function: Callable[P, T], /) -> Callable[P, T]: ...
@overload
def tracked(**arguments: Any) -> _Decorator: ...  # noqa: ANN401  # those of `track`
def tracked(function: Any = None, /, **arguments: Any) -> Any:
    """Make each call of a function a run of its own; takes the arguments of `track`, or none.

    >>> @wattline.tracked(model_name="resnet50", planned_epochs=10)
    ... def train(epochs: int) -> float:
    ...     for epoch in range(epochs):
    ...         wattline.current_run().step(epoch=epoch, loss=train_epoch())

    The run ends with the function: with its result or its exception, which pass as they are; a coroutine when it has
    been awaited; a generator, asynchronous or not, when it is used up or closed (closed early, it is STOPPED). The
    function gets no further parameter: its steps are reported to `current_run`, from wherever it has got to, so that
    its signature stays the same and it works untracked too.

    Raises `TypeError` where it is written, not where the function is called, for arguments that `track` does not take.
    """
    if function is not None and not callable(function):
        raise TypeError('tracked takes its arguments by name, as in @wattline.tracked(model_name="resnet50")')
    inspect.signature(track).bind(**arguments)
    if function is not None:
        return _measured(function, arguments)
    return functools.partial(_measured, arguments=arguments)


def current_run() -> Run:
    """Return the run of the innermost `tracked` call that this code is in; elsewhere one that does nothing.

    Tasks of asyncio are in the run that they were made in. A thread that the function starts is in none: hand it the
    run. A run in a ``with`` statement has a name there, so it is not looked for here.
    """
    return _CURRENT.get(None) or _idle_run()


@functools.cache
def _idle_run() -> Run:
    return idle_run()


def _measured(function: Callable[P, T], arguments: _Arguments) -> Callable[P, T]:
    """Wrap a function in one of its own kind, so that whoever asks what it is hears the same."""
    wrap: Callable[..., Any] = _function
    if inspect.isasyncgenfunction(function):
        wrap = _async_generator
    elif inspect.isgeneratorfunction(function):
        wrap = _generator
    elif inspect.iscoroutinefunction(function):
        wrap = _coroutine
    return cast("Callable[P, T]", wrap(function, arguments))


def _function(function: Callable[P, T], arguments: _Arguments) -> Callable[P, T]:
    @functools.wraps(function)
    def measured(*args: P.args, **kwargs: P.kwargs) -> T:
        with track(**arguments) as run, _inside(run):
            return function(*args, **kwargs)

    return measured


def _coroutine(
    function: Callable[P, Coroutine[Any, Any, T]], arguments: _Arguments
) -> Callable[P, Coroutine[Any, Any, T]]:
    @functools.wraps(function)
    async def measured(*args: P.args, **kwargs: P.kwargs) -> T:
        with track(**arguments) as run, _inside(run):
            return await function(*args, **kwargs)

    return measured


def _generator(
    function: Callable[P, Generator[Any, Any, T]], arguments: _Arguments
) -> Callable[P, Generator[Any, Any, T]]:
    """Drive it step by step: between its steps its consumer runs, which is not inside of the run."""

    @functools.wraps(function)
    def measured(*args: P.args, **kwargs: P.kwargs) -> Generator[Any, Any, T]:
        with track(**arguments) as run:
            generator = function(*args, **kwargs)
            resume: Callable[[Any], Any] = generator.send
            given: Any = None
            while True:
                try:
                    with _inside(run):
                        made = resume(given)
                except StopIteration as end:
                    return cast("T", end.value)
                try:
                    resume, given = generator.send, (yield made)
                except BaseException as error:  # noqa: BLE001  # it is the generator's to handle, GeneratorExit too
                    resume, given = generator.throw, error

    return measured


def _async_generator(
    function: Callable[P, AsyncGenerator[Any, Any]], arguments: _Arguments
) -> Callable[P, AsyncGenerator[Any, Any]]:
    """Drive it step by step, as one that is not asynchronous."""

    @functools.wraps(function)
    async def measured(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Any, Any]:
        with track(**arguments) as run:
            generator = function(*args, **kwargs)
            resume: Callable[[Any], Any] = generator.asend
            given: Any = None
            while True:
                try:
                    with _inside(run):
                        made = await resume(given)
                except StopAsyncIteration:
                    return
                try:
                    resume, given = generator.asend, (yield made)
                except BaseException as error:  # noqa: BLE001  # as above
                    resume, given = generator.athrow, error

    return measured


@contextlib.contextmanager
def _inside(run: Run) -> Iterator[None]:
    """Make it the current run for a while."""
    token = _CURRENT.set(run)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # a coroutine that was resumed in another context than before
            _CURRENT.reset(token)
