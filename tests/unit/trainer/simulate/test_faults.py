"""Duplicates and disorder change when and how often a message comes, never which messages come."""

from __future__ import annotations

import datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.trainer.simulate.stand_ins import play_history, read
from wattline_trainer.simulate.chance import seeded
from wattline_trainer.simulate.faults import Faults, Message


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1), st.floats(0, 900), st.integers(1, 200))
def test_each_message_comes_within_its_time(duplicates: float, disorder_s: float, count: int) -> None:
    """Once, or twice with the copy no earlier than the message; none sooner than sent, none after the bound."""
    faults = Faults(seeded("faults", count), duplicates=duplicates, disorder_s=disorder_s)
    came: dict[str, list[float]] = {}
    for second in range(count + 2000):
        out = list(faults.release(second))
        if second < count:
            out += faults.take(second, Message(str(second), b""))
        for message in out:
            came.setdefault(message.key, []).append(second)
    assert faults.due_s == float("inf")
    assert set(came) == {str(k) for k in range(count)}
    assert sum(map(len, came.values())) == count + faults.copies
    for key, times in came.items():
        assert len(times) <= 2
        assert int(key) <= times[0] <= int(key) + disorder_s + 1
        assert times[-1] <= times[0] + max(disorder_s, 60.0) + 1


def test_a_fleet_with_faults_is_the_same_fleet() -> None:
    """The set of messages is that without faults; order is scrambled within the bound; the ledger is the same."""
    clean, faulty = play_history(5, 4, 4.0), play_history(5, 4, 4.0, duplicates=0.05, disorder_s=600)
    assert set(faulty.wire.sent) == set(clean.wire.sent)
    assert len(faulty.wire.sent) == len(clean.wire.sent) + faulty.faults.copies
    assert 0.02 < faulty.faults.copies / len(clean.wire.sent) < 0.08
    assert faulty.books()["runs"] == clean.books()["runs"]
    times = [read(message)[1]["timestamp"] for _, message in faulty.wire.sent]
    behind = [max(times[:k], default=time) - time for k, time in enumerate(times[:800])]
    assert datetime.timedelta(seconds=300) < max(behind) <= datetime.timedelta(seconds=1230)


def test_speed_shortens_the_delays() -> None:
    """At ten times the speed a message is held a tenth as long by the wall clock."""
    faults = Faults(seeded("speed"), disorder_s=100)
    for k in range(100):
        assert list(faults.take(0.0, Message(str(k), b""), speed=10.0)) == []
    assert len(list(faults.release(10.0))) == 100
