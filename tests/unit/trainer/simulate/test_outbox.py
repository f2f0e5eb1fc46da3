"""Nothing is dropped: a wire without room or without Kafka is waited for."""

from __future__ import annotations

import pytest

from tests.unit.trainer.simulate.stand_ins import MemoryWire
from wattline.courier import Undelivered
from wattline_common.errors import BrokerUnavailableError, ConfigurationError
from wattline_trainer.simulate.outbox import Outbox

MESSAGES = [("run", bytes([k])) for k in range(200)]


def _outbox(wire: MemoryWire, *, stopping: bool = False) -> tuple[Outbox, list[str]]:
    told: list[str] = []
    return Outbox(wire, told.append, lambda: stopping, patience_s=0.0), told


def test_a_full_wire_is_waited_for() -> None:
    """Everything arrives, in order, and is counted."""
    wire = MemoryWire(room=7)
    outbox, _ = _outbox(wire)
    for message in MESSAGES:
        outbox.send(*message)
    outbox.close()
    assert wire.sent == MESSAGES
    assert (outbox.delivered, wire.closed) == (200, True)


def test_what_failed_for_now_is_sent_again() -> None:
    """A verdict that allows another try gets one."""
    wire = MemoryWire(verdicts=[None, Undelivered("timed out", again=True), None])
    outbox, _ = _outbox(wire)
    for message in MESSAGES[:5]:
        outbox.send(*message)
    outbox.close()
    assert sorted(wire.sent) == MESSAGES[:5]
    assert outbox.delivered == 5


def test_a_refused_message_ends_it() -> None:
    """The message names what to look at."""
    wire = MemoryWire(verdicts=[Undelivered("too large", again=False)])
    outbox, _ = _outbox(wire)
    outbox.send("run", b"x")
    with pytest.raises(ConfigurationError, match=r"max\.message\.bytes"):
        outbox.close()
    assert wire.closed


def test_kafka_away_for_a_while_costs_nothing() -> None:
    """Polls that bring nothing are repeated, as long as nobody asks for an end."""
    wire = MemoryWire()
    outbox, _ = _outbox(wire)
    outbox.send("run", b"x")
    wire.away_polls = 50
    outbox.close()
    assert outbox.delivered == 1


def test_a_stop_without_kafka_ends_in_bounded_time_and_says_so() -> None:
    """The count of what was not delivered and the setting are named; closing again does not wait again."""
    wire = MemoryWire()
    outbox, _ = _outbox(wire, stopping=True)
    outbox.send("run", b"x")
    wire.away_polls = 10**9
    with pytest.raises(BrokerUnavailableError, match=r"1 messages.*KAFKA_BOOTSTRAP_SERVERS"):
        outbox.close()
    assert wire.closed
    outbox.close()
