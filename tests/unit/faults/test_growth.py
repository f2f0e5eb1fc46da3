"""What a soak says of what it has read: flat, growing, or seen too little."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.faults.growth import Growth, Reading, Verdict, growths, table
from tests.trends import slope

_MINUTE_S = 60.0


def _readings(
    part: str, quantity: str, of: Callable[[float], float], *, minutes: range = range(0, 60, 2), life: str = "1"
) -> list[Reading]:
    """Return a reading every other minute, in which 100 events come."""
    return [Reading(at * _MINUTE_S, 100 * at, part, quantity, life, of(at)) for at in minutes]


def _judged(readings: list[Reading]) -> Growth:
    (found,) = growths(readings)
    return found


def test_a_slope_is_not_bent_by_odd_readings() -> None:
    """A quarter of the readings may be anything."""
    chance = random.Random(1)
    points = [(float(x), 3.0 * x + chance.uniform(-1, 1)) for x in range(40)]
    odd = [(x, 1e6 if x % 4 == 0 else y) for x, y in points]
    assert slope([points]) == pytest.approx(3.0, abs=0.05)
    assert slope([odd]) == pytest.approx(3.0, abs=0.5)


def test_a_slope_compares_within_a_life_only() -> None:
    """A process that was started anew and is larger from the start has not grown."""
    assert slope([[(0.0, 1.0), (1.0, 1.0)], [(2.0, 9.0), (3.0, 9.0)]]) == 0.0
    assert slope([[(0.0, 1.0)], [(1.0, 2.0)]]) is None
    assert slope([]) is None


def test_a_leak_is_found_and_told() -> None:
    """Two MB a minute, in noise ten times as large."""
    chance = random.Random(2)
    found = _judged(_readings("stream driver", "RSS", lambda at: 200 + 2 * at + chance.uniform(-20, 20)))
    assert found.verdict is Verdict.GROWS
    assert found.per_hour == pytest.approx(120, rel=0.2)
    assert found.per_1000_events == pytest.approx(20, rel=0.2)
    (row,) = table([found])[2:]
    assert row.startswith("| stream driver: RSS, MB |")
    assert "GROWS: +" in row


def test_noise_is_flat() -> None:
    """What goes up and down within its bound does not grow."""
    chance = random.Random(3)
    found = _judged(_readings("page", "RSS", lambda _: 200 + chance.uniform(-20, 20)))
    assert found.verdict is Verdict.FLAT
    assert found.allowed == pytest.approx(24, abs=1)


def test_warming_up_is_no_growth_and_growth_beyond_it_is() -> None:
    """A JVM takes its heap for ten minutes; what it takes later counts from there."""
    assert _judged(_readings("stream JVM", "RSS", lambda at: 500 + 40 * min(at, 10))).verdict is Verdict.FLAT
    late = _judged(_readings("stream JVM", "RSS", lambda at: 500 + 40 * min(at, 10) + max(0, at - 10) * 4))
    assert late.verdict is Verdict.GROWS
    assert late.per_hour == pytest.approx(240)


def test_a_life_that_was_too_short_is_not_judged() -> None:
    """A process that every fault kills tells nothing, however large it gets, and that is said."""
    lives = [
        reading
        for number in range(10)
        for reading in _readings(
            "stream JVM", "RSS", lambda at: 100 * at, minutes=range(number * 6, number * 6 + 6, 2), life=str(number)
        )
    ]
    found = _judged(lives)
    assert found.verdict is Verdict.UNKNOWN
    assert "no life had 5 readings" in table([found])[2]


def test_each_life_begins_anew() -> None:
    """Every life of half an hour leaks 60 MB: found, though no value is higher than in the life before."""
    lives = [
        reading
        for number in range(3)
        for reading in _readings(
            "page",
            "RSS",
            lambda at, born=30 * number: 150 + 2 * (at - born),  # type: ignore[misc]  # bound now, as loops ask for
            minutes=range(30 * number, 30 * number + 30, 2),
            life=str(number),
        )
    ]
    found = _judged(lives)
    assert found.verdict is Verdict.GROWS
    assert found.seen_s == pytest.approx(24 * _MINUTE_S)


def test_what_holds_the_data_may_grow() -> None:
    """The store and the topic hold every event: told, never a failure."""
    found = _judged(_readings("store journal", "disk", lambda at: 10.0 * at))
    assert found.verdict is Verdict.MAY_GROW
    assert found.per_1000_events == pytest.approx(100)
    assert found.allowed is None


def test_open_files_and_threads_have_bounds_of_their_own() -> None:
    """A file that is never closed, one in two minutes."""
    assert _judged(_readings("Kafka", "open files", lambda at: 100 + at)).verdict is Verdict.GROWS
    assert _judged(_readings("Kafka", "threads", lambda at: 60 + at % 4)).verdict is Verdict.FLAT
