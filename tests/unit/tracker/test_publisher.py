"""The publisher never blocks or raises, keeps trying, and what is not delivered stays in the spool."""

from __future__ import annotations

import dataclasses
import datetime
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wattline.courier import Courier, Undelivered
from wattline.flush import flush
from wattline.guard import Problems
from wattline.publisher import SpoolPublisher
from wattline.spool import Spool
from wattline.spool_folders import SpoolRoot
from wattline.spool_records import Record
from wattline.wire import KafkaWire
from wattline_common.codec import encode_body
from wattline_common.errors import (
    BrokerUnavailableError,
    ConfigurationError,
    ContractError,
    RegistryUnavailableError,
)
from wattline_common.events import Event, RunFinished
from wattline_common.settings import Endpoints

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def _event(seq: int) -> Event:
    return RunFinished(run_id="r", source_id="s", seq=seq, timestamp=START, source_energy_kwh=0.0)


SEQ_OF = {encode_body(_event(seq)): seq for seq in range(256)}


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

    def message(self, record: Record) -> bytes:
        self.attempts += 1
        if self.registry_error is not None:
            raise self.registry_error
        return bytes([SEQ_OF[record.body]])

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


def _publisher(wire: _Wire, root: Path, problems: Problems | None = None, queue_events: int = 100) -> SpoolPublisher:
    problems = problems or Problems()
    spool = Spool(SpoolRoot(root), "s", "r", problems, cap_bytes=10**7, queue_events=queue_events)
    return SpoolPublisher(spool, lambda: wire, problems)


def test_events_arrive_in_order_and_close_waits_for_them(tmp_path: Path) -> None:
    """What was published before `close` is delivered when it returns, and the spool is empty then."""
    wire = _Wire()
    publisher = _publisher(wire, tmp_path)
    publisher.start()
    for seq in range(50):
        publisher.publish(_event(seq))
    publisher.close(10)
    assert wire.delivered == list(range(50))
    assert (publisher.delivered, publisher.dropped) == (50, 0)
    assert wire.closed.is_set()
    assert SpoolRoot(tmp_path).folders() == []
    assert [account.events for account in SpoolRoot(tmp_path).history()] == [50]


def test_without_a_disk_a_full_queue_drops_the_oldest_and_counts_it(tmp_path: Path) -> None:
    """With nobody to deliver to, the newest events are kept in memory, and publishing takes no time."""
    wire, problems = _Wire(), Problems()
    wire.registry_error = RegistryUnavailableError("away")
    (tmp_path / "file").touch()
    publisher = _publisher(wire, tmp_path / "file", problems, queue_events=10)
    publisher.start()
    begin_s = time.monotonic()
    for seq in range(200):
        publisher.publish(_event(seq))
    assert time.monotonic() - begin_s < 1.0
    _until(lambda: publisher.dropped >= 190)
    wire.registry_error = None
    publisher.close(10)
    assert wire.delivered[-9:] == list(range(191, 200))
    assert len(wire.delivered) + publisher.dropped == 200


@pytest.mark.parametrize("error", [RegistryUnavailableError("away"), ConfigurationError("not registered")])
def test_a_registry_that_comes_back_gets_everything(
    error: Exception, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """While it is away events wait, one warning is logged, and later all are delivered."""
    wire = _Wire()
    wire.registry_error = error
    publisher = _publisher(wire, tmp_path)
    publisher.start()
    for seq in range(5):
        publisher.publish(_event(seq))
    _until(lambda: wire.attempts >= 2)
    wire.registry_error = None
    publisher.close(20)
    assert wire.delivered == list(range(5))
    assert publisher.dropped == 0
    assert len([record for record in caplog.records if "events wait" in record.message]) == 1


def test_an_end_without_servers_is_short_and_a_flush_delivers_everything(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`close` returns well before its time is over, nothing is dropped, and the words name place and remedy."""
    wire = _Wire()
    wire.registry_error = RegistryUnavailableError("away")
    publisher = _publisher(wire, tmp_path)
    publisher.start()
    for seq in range(5):
        publisher.publish(_event(seq))
    _until(lambda: wire.attempts >= 1)
    begin_s = time.monotonic()
    publisher.close(60)
    assert time.monotonic() - begin_s < 10
    assert publisher.dropped == 0
    assert f"5 events are kept in {tmp_path}; `wattline flush` sends them" in caplog.text
    later, refused = _Wire(), list[str]()
    done = flush(SpoolRoot(tmp_path), Courier(lambda: later, refused.append), lambda _: None, patience_s=10)
    assert (later.delivered, done.delivered, done.sources, refused) == (list(range(5)), 5, 1, [])
    assert SpoolRoot(tmp_path).folders() == []


def test_a_broker_that_takes_nothing_costs_a_bounded_time_and_no_event(tmp_path: Path) -> None:
    """Messages under way when the time is over are kept too; a flush to the same broker loses patience, and none."""
    wire = _Wire()
    wire.broker_away = True
    publisher = _publisher(wire, tmp_path)
    publisher.start()
    for seq in range(3):
        publisher.publish(_event(seq))
    _until(lambda: wire.attempts == 3)
    publisher.close(0.3)
    assert (publisher.delivered, publisher.dropped) == (0, 0)
    courier = Courier(lambda: wire, lambda _: None)
    with pytest.raises(BrokerUnavailableError, match="KAFKA_BOOTSTRAP_SERVERS"):
        flush(SpoolRoot(tmp_path), courier, lambda _: None, patience_s=0.2)
    (folder,) = SpoolRoot(tmp_path).folders()
    assert (folder.waiting().events, folder.live) == (3, False)


def test_a_wire_that_cannot_be_opened_is_tried_again(tmp_path: Path) -> None:
    """The first open may fail for any reason."""
    wire, failures = _Wire(), [OSError("no sockets left")]

    def opened() -> _Wire:
        if failures:
            raise failures.pop()
        return wire

    problems = Problems()
    spool = Spool(SpoolRoot(tmp_path), "s", "r", problems, cap_bytes=10**7, queue_events=10)
    publisher = SpoolPublisher(spool, opened, problems)
    publisher.start()
    publisher.publish(_event(0))
    _until(lambda: publisher.delivered == 1)
    publisher.close(10)
    assert wire.delivered == [0]


def test_an_event_that_cannot_be_sent_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """It is dropped and counted; the next one goes."""
    wire = _Wire()
    message = wire.message

    def one_is_bad(record: Record) -> bytes:
        if SEQ_OF[record.body] == 1:
            raise ContractError("not_encodable", "bad")
        return message(record)

    wire.message = one_is_bad  # type: ignore[method-assign]  # the point of the test
    publisher = _publisher(wire, tmp_path)
    publisher.start()
    for seq in range(3):
        publisher.publish(_event(seq))
    publisher.close(10)
    assert (wire.delivered, publisher.dropped) == ([0, 2], 1)


def test_a_record_of_a_later_release_can_never_be_sent() -> None:
    """No server is asked: it is no reason to wait, and what is behind it goes on; the file is kept aside."""
    known = Record.of(_event(0))
    for record in (
        dataclasses.replace(known, version=known.version + 1),
        dataclasses.replace(known, name="wattline.events.OfTomorrow"),
    ):
        with pytest.raises(ContractError, match="install the version that wrote it"):
            KafkaWire(Endpoints()).message(record)


def test_what_kafka_may_take_later_is_sent_again_and_what_it_never_takes_is_dropped(tmp_path: Path) -> None:
    """A verdict says which of the two it is."""
    wire = _Wire()
    wire.verdicts = {0: Undelivered("unknown topic", again=True), 1: Undelivered("too large", again=False)}
    publisher = _publisher(wire, tmp_path)
    publisher.start()
    for seq in range(3):
        publisher.publish(_event(seq))
    _until(lambda: publisher.delivered == 2)
    publisher.close(10)
    assert sorted(wire.delivered) == [0, 2]
    assert publisher.dropped == 1


def test_closing_without_a_start_loses_what_is_queued_and_says_so(tmp_path: Path) -> None:
    """A thread that could not be started is no reason to hang."""
    publisher = _publisher(_Wire(), tmp_path)
    publisher.publish(_event(0))
    publisher.close(10)
    assert publisher.dropped == 1


def test_the_next_run_delivers_what_the_dead_have_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the background, once the servers have shown that they are there."""
    monkeypatch.setattr("wattline.publisher._LEFTOVERS_AFTER_S", 0.0)
    away = _Wire()
    away.broker_away = True
    dead = _publisher(away, tmp_path)
    dead.start()
    dead.publish(_event(7))
    dead.close(0.1)
    wire, problems, root = _Wire(), Problems(), SpoolRoot(tmp_path)
    spool = Spool(root, "s2", "r", problems, cap_bytes=10**7, queue_events=10)
    publisher = SpoolPublisher(spool, lambda: wire, problems, root.leftovers)
    publisher.start()
    publisher.publish(_event(1))
    _until(lambda: len(wire.delivered) == 2 and [each.source_id for each in root.folders()] == ["s2"])
    publisher.close(10)
    assert wire.delivered == [1, 7]
    assert root.folders() == []
