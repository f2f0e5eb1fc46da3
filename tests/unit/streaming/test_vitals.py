"""Promises of the vitals: silence is told by part and after its time only; a problem is not a death."""

from __future__ import annotations

from http import HTTPStatus

from wattline_streaming.endpoint import live, ready
from wattline_streaming.vitals import BACKLOG, QUERY, SETTLING, Vitals

STALL_S = 300.0


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


def vitals(clock: Clock) -> Vitals:
    """Return vitals whose query has begun to work."""
    made = Vitals(STALL_S, clock)
    made.note(QUERY, None)
    return made


def test_a_silent_query_is_dead_whatever_else_goes_on() -> None:
    """The settler beats on, but the query's thread hangs: 503 after the time, 200 again after a beat."""
    clock = Clock()
    driver = vitals(clock)
    for _ in range(10):
        clock.now_s += STALL_S / 10
        driver.beat(SETTLING)
    assert live(driver) == (HTTPStatus.OK, "ok\n")
    clock.now_s += 1
    status, words = live(driver)
    assert status == HTTPStatus.SERVICE_UNAVAILABLE
    assert words == "no progress of the query for 301 s (WATTLINE_HTTP_STALL_S=300)\n"
    assert ready(driver) == (status, words)
    driver.beat(QUERY)
    assert live(driver)[0] == ready(driver)[0] == HTTPStatus.OK


def test_a_silent_settler_is_dead_after_its_own_pause_too() -> None:
    """A part that rests by plan is given that time on top."""
    clock = Clock()
    driver = vitals(clock)
    driver.beat(SETTLING, pause_s=600.0)
    clock.now_s += STALL_S + 600.0
    driver.beat(QUERY)
    assert live(driver)[0] == HTTPStatus.OK
    clock.now_s += 1
    assert "no progress of the settling for 901 s" in live(driver)[1]


def test_a_problem_makes_unready_not_dead() -> None:
    """Each problem is one line, however long its cause; without any the driver is ready."""
    driver = vitals(Clock())
    driver.note(QUERY, "StoreUnavailableError: no good\n  answer " + "x" * 1000)
    driver.note(BACKLOG, "Kafka does not answer")
    status, words = ready(driver)
    assert status == HTTPStatus.SERVICE_UNAVAILABLE
    assert words.startswith("query: StoreUnavailableError: no good answer xxx")
    assert words.endswith("\nbacklog: Kafka does not answer\n")
    assert max(map(len, words.splitlines())) < 500
    assert live(driver) == (HTTPStatus.OK, "ok\n")
    driver.note(QUERY, None)
    driver.note(BACKLOG, None)
    assert ready(driver) == (HTTPStatus.OK, "ok\n")


def test_before_its_start_the_stream_is_alive_and_unready() -> None:
    """Nobody restarts a driver that starts, and nobody counts on it."""
    driver = Vitals(STALL_S)
    assert live(driver)[0] == HTTPStatus.OK
    assert ready(driver) == (HTTPStatus.SERVICE_UNAVAILABLE, "query: the stream has not started yet\n")


def test_an_error_is_remembered_when_it_is_over() -> None:
    """With the time it began, by part; what is said over and over is one error, and stopping is none."""
    driver = vitals(Clock())
    assert driver.errors == {}
    driver.note(QUERY, "the store is away")
    at, words = driver.errors[QUERY]
    driver.note(QUERY, "the store is away")
    driver.note(QUERY, None)
    assert driver.errors == {QUERY: (at, words)}
    driver.note(QUERY, "stopping", is_error=False)
    assert (driver.errors[QUERY], words) == ((at, words), "the store is away")
    driver.note(QUERY, "the registry is away")
    assert driver.errors[QUERY][1] == "the registry is away"
