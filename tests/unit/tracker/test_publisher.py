"""The publisher never blocks or raises, keeps trying, drops the oldest first and counts what it drops."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable

import pytest

from wattline.guard import Problems
from wattline.publisher import BackgroundPublisher, Undelivered
from wattline_common.errors import ConfigurationError, ContractError, RegistryUnavailableError
from wattline_common.events import Event, RunFinished

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def _event(seq: int) -> Event:
    return RunFinished(run_id="r", source_id="s", seq=seq, timestamp=START, source_energy_kwh=0.0)


class _Wire:
    """A wire whose servers can be away; it keeps what it delivered."""

    def __init__(self) -> None:
        self.registry_error: Exception | None = None
        self.verdicts: dict[int, Undelivered] = {}
        self.broker_away = False
        self.delivered: list[int] = []
        self.attempts = 0
        self.closed = threading.Event()
        self._waiting: list[tuple[int, Callable[[Undelivered | None], None]]] = []

    def message(self, event: Event) -> bytes:
        self.attempts += 1
        if self.registry_error is not None:
            raise self.registry_error
        return bytes([event.seq])

    def send(self, key: str, message: bytes, done: Callable[[Undelivered | None], None]) -> None:
        assert key == "r"
        self._waiting.append((message[0], done))

    def poll(self, timeout_s: float) -> bool:
        if self.broker_away:
            time.sleep(min(timeout_s, 0.01))
            return False
        waiting, self._waiting = self._waiting, []
        for seq, done in waiting:
            verdict = self.verdicts.pop(seq, None)
            if verdict is None:
                self.delivered.append(seq)
            done(verdict)
        return True

    def close(self) -> None:
        self.closed.set()


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


def _publisher(wire: _Wire, capacity: int = 100) -> BackgroundPublisher:
    return BackgroundPublisher(lambda: wire, Problems(), capacity)


def test_events_arrive_in_order_and_close_waits_for_them() -> None:
    """What was published before `close` is delivered when it returns."""
    wire = _Wire()
    publisher = _publisher(wire)
    publisher.start()
    for seq in range(50):
        publisher.publish(_event(seq))
    publisher.close(10)
    assert wire.delivered == list(range(50))
    assert (publisher.delivered, publisher.dropped) == (50, 0)
    assert wire.closed.is_set()


def test_a_full_queue_drops_the_oldest_and_counts_it() -> None:
    """With nobody to deliver to, the newest events are kept, and publishing takes no time."""
    wire = _Wire()
    publisher = _publisher(wire, capacity=10)
    begin_s = time.monotonic()
    for seq in range(200):
        publisher.publish(_event(seq))
    assert time.monotonic() - begin_s < 1.0
    assert publisher.dropped == 190
    publisher.start()
    publisher.close(10)
    assert wire.delivered == list(range(190, 200))


@pytest.mark.parametrize("error", [RegistryUnavailableError("away"), ConfigurationError("not registered")])
def test_a_registry_that_comes_back_gets_everything(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """While it is away events wait, one warning is logged, and later all are delivered."""
    wire = _Wire()
    wire.registry_error = error
    publisher = _publisher(wire)
    publisher.start()
    for seq in range(5):
        publisher.publish(_event(seq))
    _until(lambda: wire.attempts >= 2)
    wire.registry_error = None
    publisher.close(20)
    assert wire.delivered == list(range(5))
    assert publisher.dropped == 0
    assert len([record for record in caplog.records if "events wait" in record.message]) == 1


def test_an_end_does_not_wait_long_for_servers_that_are_away() -> None:
    """When nothing answers, `close` returns well before its time is over and counts all as dropped."""
    wire = _Wire()
    wire.registry_error = RegistryUnavailableError("away")
    publisher = _publisher(wire)
    publisher.start()
    for seq in range(5):
        publisher.publish(_event(seq))
    _until(lambda: wire.attempts >= 1)
    begin_s = time.monotonic()
    publisher.close(60)
    assert time.monotonic() - begin_s < 10
    assert publisher.dropped == 5


def test_a_broker_that_takes_nothing_costs_a_bounded_time() -> None:
    """Messages under way when the time is over are counted as dropped too."""
    wire = _Wire()
    wire.broker_away = True
    publisher = _publisher(wire)
    publisher.start()
    for seq in range(3):
        publisher.publish(_event(seq))
    _until(lambda: wire.attempts == 3)
    publisher.close(0.3)
    assert (publisher.delivered, publisher.dropped) == (0, 3)


def test_a_wire_that_cannot_be_opened_is_tried_again() -> None:
    """The first open may fail for any reason."""
    wire, failures = _Wire(), [OSError("no sockets left")]

    def opened() -> _Wire:
        if failures:
            raise failures.pop()
        return wire

    publisher = BackgroundPublisher(opened, Problems())
    publisher.start()
    publisher.publish(_event(0))
    _until(lambda: publisher.delivered == 1)
    publisher.close(10)
    assert wire.delivered == [0]


def test_an_event_that_cannot_be_written_does_not_hold_up_the_others() -> None:
    """It is dropped and counted; the next one goes."""
    wire = _Wire()
    message = wire.message

    def one_is_bad(event: Event) -> bytes:
        if event.seq == 1:
            raise ContractError("not_encodable", "bad")
        return message(event)

    wire.message = one_is_bad  # type: ignore[method-assign]  # the point of the test
    publisher = _publisher(wire)
    publisher.start()
    for seq in range(3):
        publisher.publish(_event(seq))
    publisher.close(10)
    assert (wire.delivered, publisher.dropped) == ([0, 2], 1)


def test_what_kafka_may_take_later_is_sent_again_and_what_it_never_takes_is_dropped() -> None:
    """A verdict says which of the two it is."""
    wire = _Wire()
    wire.verdicts = {0: Undelivered("unknown topic", again=True), 1: Undelivered("too large", again=False)}
    publisher = _publisher(wire)
    publisher.start()
    for seq in range(3):
        publisher.publish(_event(seq))
    _until(lambda: publisher.delivered == 2)
    publisher.close(10)
    assert sorted(wire.delivered) == [0, 2]
    assert publisher.dropped == 1


def test_closing_without_a_start_loses_what_is_queued_and_says_so() -> None:
    """A thread that could not be started is no reason to hang."""
    publisher = _publisher(_Wire())
    publisher.publish(_event(0))
    publisher.close(10)
    assert publisher.dropped == 1
