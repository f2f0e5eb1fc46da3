"""A tracked function is what it was, of whatever kind; each call is a run; `current_run` is the one that code is in."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import pytest

import wattline
from wattline.settings import Settings
from wattline.testing import MemoryPublisher, ReplayMeter
from wattline_common.events import RunFinished, RunStarted, RunStatus, StepCompleted


def _step(count: int) -> None:
    """Report a step from elsewhere; fail where it should."""
    wattline.current_run().step(epoch=count, step=count)
    if count > 4:
        raise LookupError(count)


def plain(count: int, *, more: str = "") -> str:
    """Say something."""
    _step(count)
    return f"{count}{more}"


async def coroutine(count: int, *, more: str = "") -> str:
    """Say something later."""
    await asyncio.sleep(0)
    _step(count)
    return f"{count}{more}"


def generator(count: int, *, more: str = "") -> Generator[int, int, str]:
    """Say it bit by bit."""
    for number in range(count):
        _step(number)
        yield number
    return f"{count}{more}"


async def async_generator(count: int, *, more: str = "") -> AsyncIterator[str]:
    """Say it bit by bit, later."""
    for number in range(count):
        await asyncio.sleep(0)
        _step(number)
        yield f"{number}{more}"


KINDS: list[Callable[..., Any]] = [plain, coroutine, generator, async_generator]
ASKED = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


async def _collected(values: AsyncIterator[Any]) -> list[Any]:
    return [value async for value in values]


def _outcome(function: Callable[..., Any], count: int) -> object:
    """Return all that comes out of a function of any kind, an exception too."""
    try:
        if inspect.iscoroutinefunction(function):
            return asyncio.run(function(count, more="!"))
        if inspect.isasyncgenfunction(function):
            return asyncio.run(_collected(function(count, more="!")))
        if not inspect.isgeneratorfunction(function):
            return function(count, more="!")
        values, steps = [], function(count, more="!")
        while True:
            values.append(next(steps))
    except StopIteration as end:
        return values, end.value
    except LookupError as error:
        return repr(error)


def _runs(publisher: MemoryPublisher) -> list[tuple[str, str]]:
    """Return run and status of every end."""
    return [(event.run_id, event.status.value) for event in publisher.events if isinstance(event, RunFinished)]


@pytest.mark.parametrize("function", KINDS)
@pytest.mark.parametrize("count", [3, 7])
def test_what_comes_out_is_the_same(
    function: Callable[..., Any], count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Result, values and exception; nothing on standard output; and the run's end says how it went."""
    publisher = MemoryPublisher()
    measured = wattline.tracked(model_name="m", meters=[], publisher=publisher)(function)
    assert _outcome(measured, count) == _outcome(function, count)
    assert capsys.readouterr().out == ""
    ((_, status),) = _runs(publisher)
    assert status == ("COMPLETED" if count == 3 else "FAILED")
    assert publisher.of(StepCompleted)


@pytest.mark.parametrize("function", KINDS)
def test_it_still_is_what_it_was(function: Callable[..., Any]) -> None:
    """Kind, signature, name and docstring, for whoever asks; with arguments and bare."""
    for measured in (wattline.tracked(function), wattline.tracked(model_name="m")(function)):
        assert [ask(measured) for ask in ASKED] == [ask(function) for ask in ASKED]
        assert inspect.signature(measured) == inspect.signature(function)
        assert (measured.__name__, measured.__doc__) == (function.__name__, function.__doc__)


def test_each_call_is_a_run_of_its_own() -> None:
    """With the arguments that the decorator was given."""
    publisher = MemoryPublisher()
    measured = wattline.tracked(model_name="resnet50", tags={"a": 1}, meters=[], publisher=publisher)(plain)
    assert [measured(1), measured(2)] == ["1", "2"]
    starts = [event for event in publisher.events if isinstance(event, RunStarted)]
    assert len({event.run_id for event in starts}) == 2
    assert {(event.model_name, event.tags["a"]) for event in starts} == {("resnet50", "1")}


@pytest.mark.parametrize("function", KINDS)
def test_a_broken_tracker_is_not_noticed(
    function: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where no run can be made the function runs without one, and its steps go nowhere."""
    measured = wattline.tracked(model_name="m")(function)

    def broken(*_: object) -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(Settings, "from_environment", broken)
    for count in (3, 7):
        assert _outcome(measured, count) == _outcome(function, count)
    assert "broken on purpose" in caplog.text


def test_arguments_that_are_none_are_told_where_they_stand() -> None:
    """Not when the training begins; and what is written by habit is explained."""
    with pytest.raises(TypeError, match="modelname"):
        wattline.tracked(modelname="resnet50")
    with pytest.raises(TypeError, match="by name"):
        wattline.tracked("resnet50")  # type: ignore[call-overload]  # on purpose


def test_outside_of_a_run_the_current_one_does_nothing() -> None:
    """Code that reports steps works untracked too."""
    run = wattline.current_run()
    run.step(epoch=1, loss=0.1)
    assert (run.summary().steps, run.summary().energy_kwh, run.over_budget) == (0, 0.0, False)
    with run:
        run.step(epoch=2)
    assert wattline.current_run().summary().steps == 0


def _whoami() -> str:
    return wattline.current_run().run_id


def test_the_current_run_is_that_of_the_innermost_call() -> None:
    """And afterwards the one before."""
    inner = wattline.tracked(run_id="inner", meters=[], publisher=MemoryPublisher())(_whoami)

    @wattline.tracked(run_id="outer", meters=[], publisher=MemoryPublisher())
    def outer() -> list[str]:
        return [_whoami(), inner(), _whoami()]

    before = _whoami()
    assert outer() == ["outer", "inner", "outer"]
    assert _whoami() == before


def test_between_its_steps_a_generators_consumer_is_not_in_its_run() -> None:
    """Two of them in turn never see each other's."""

    def who() -> Generator[str, None, None]:
        while True:
            yield _whoami()

    one, two = (wattline.tracked(run_id=name, meters=[], publisher=MemoryPublisher())(who)() for name in "ab")
    before = _whoami()
    assert [next(one), next(two), _whoami(), next(one)] == ["a", "b", before, "a"]
    one.close()
    two.close()


def test_concurrent_coroutines_are_in_their_own_runs() -> None:
    """However they take turns."""

    async def who() -> list[str]:
        seen = []
        for _ in range(3):
            seen.append(_whoami())
            await asyncio.sleep(0)
        return seen

    async def both() -> list[list[str]]:
        made = [wattline.tracked(run_id=name, meters=[], publisher=MemoryPublisher())(who) for name in "ab"]
        return list(await asyncio.gather(*(each() for each in made)))

    assert asyncio.run(both()) == [["a"] * 3, ["b"] * 3]


def _echo() -> Generator[object, object, str]:
    """Give back what it is sent or what is thrown at it, until it is told to end."""
    answer: object = "ready"
    while answer != "end":
        try:
            answer = yield answer
        except LookupError as error:
            answer = error
    return "ended"


def test_what_is_sent_and_thrown_reaches_the_generator() -> None:
    """As by `yield from`; its return value comes back."""
    steps = wattline.tracked(meters=[], publisher=MemoryPublisher())(_echo)()
    thrown = LookupError("its own")
    assert [next(steps), steps.send(1), steps.throw(thrown), steps.send(2)] == ["ready", 1, thrown, 2]
    with pytest.raises(StopIteration) as end:
        steps.send("end")
    assert end.value.value == "ended"


def test_a_generator_that_is_closed_early_is_stopped_and_cleans_up() -> None:
    """Its run begins with its first step and ends with its `finally`."""
    publisher, done = MemoryPublisher(), []

    @wattline.tracked(meters=[], publisher=publisher)
    def steps() -> Generator[int, None, None]:
        try:
            yield from range(10)
        finally:
            done.append(_whoami())

    unused = steps()
    assert publisher.events == []
    unused.close()
    used = steps()
    assert next(used) == 0
    used.close()
    ((run_id, status),) = _runs(publisher)
    assert (done, status) == ([run_id], RunStatus.STOPPED.value)


def test_an_async_generator_takes_what_is_sent_and_thrown_and_is_closed() -> None:
    """As one that is not asynchronous."""
    publisher, done = MemoryPublisher(), []

    @wattline.tracked(meters=[], publisher=publisher)
    async def steps() -> Any:
        answer: object = "ready"
        try:
            while True:
                try:
                    answer = yield answer
                except LookupError as error:
                    answer = error
        finally:
            done.append(_whoami())

    async def use() -> list[object]:
        used, thrown = steps(), LookupError("its own")
        seen = [await anext(used), await used.asend(1), await used.athrow(thrown) is thrown]
        await used.aclose()
        return seen

    assert asyncio.run(use()) == ["ready", 1, True]
    ((run_id, status),) = _runs(publisher)
    assert (done, status) == ([run_id], RunStatus.STOPPED.value)


def test_a_budget_stops_the_function_where_it_asked_for_it() -> None:
    """The only exception of ours; raised from the step within, as in a `with` block."""
    publisher, meter = MemoryPublisher(), ReplayMeter([1e6])

    @wattline.tracked(budget_kg=0.0, budget_action="stop", meters=[meter], publisher=publisher, emit_interval_s=0.1)
    def train() -> None:
        while True:
            wattline.current_run().step(epoch=1)

    with pytest.raises(wattline.BudgetExceededError):
        train()
    assert [status for _, status in _runs(publisher)] == ["STOPPED"]
