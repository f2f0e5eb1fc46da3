"""A wire that keeps what it is given, a clock moved by hand, and a small history on both."""

from __future__ import annotations

import datetime
import io
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import fastavro

from wattline.courier import Undelivered
from wattline.spool_records import Record
from wattline_common.codec import frame, newest_schema, unframe
from wattline_common.events import EVENT_TYPES
from wattline_trainer.simulate.chance import seeded
from wattline_trainer.simulate.faults import Faults
from wattline_trainer.simulate.fleet import Fleet
from wattline_trainer.simulate.ledger import FleetLedger
from wattline_trainer.simulate.outbox import Outbox
from wattline_trainer.simulate.population import history
from wattline_trainer.simulate.simulation import Simulation

NAMES = sorted(EVENT_TYPES)
START = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)


class MemoryWire:
    """Delivers at the next poll; may be full, away for some polls, or refuse."""

    def __init__(self, *, room: int = 1000, verdicts: Iterable[Undelivered | None] = ()) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.room = room
        self.away_polls = 0
        self.closed = False
        self.on_poll: Callable[[float], None] = lambda _: None
        self._verdicts = deque(verdicts)
        self._waiting: deque[tuple[str, bytes, Callable[[Undelivered | None], None]]] = deque()

    def message(self, record: Record) -> bytes:
        """Frame it with the place of its name as schema id."""
        return frame(NAMES.index(record.name.rpartition(".")[2]), record.body)

    def send(self, key: str, message: bytes, done: Callable[[Undelivered | None], None]) -> None:
        """Queue it."""
        if len(self._waiting) >= self.room:
            raise BufferError
        self._waiting.append((key, message, done))

    def poll(self, timeout_s: float) -> bool:
        """Deliver everything, unless it is away."""
        self.on_poll(timeout_s)
        if self.away_polls:
            self.away_polls -= 1
            return False
        while self._waiting:
            key, message, done = self._waiting.popleft()
            verdict = self._verdicts.popleft() if self._verdicts else None
            if verdict is None:
                self.sent.append((key, message))
            done(verdict)
        return True

    def close(self) -> None:
        """Remember it."""
        self.closed = True

    def data(self) -> list[tuple[str, dict[str, Any]]]:
        """Return record name and fields of each message."""
        return [read(message) for _, message in self.sent]


class ManualWatch:
    """A wall clock that moves only when the wire is polled."""

    def __init__(self, wire: MemoryWire, at_s: float = 0.0) -> None:
        self.at_s = at_s
        wire.on_poll = self._pass

    def now_s(self) -> float:
        """Return the time."""
        return self.at_s

    def _pass(self, seconds: float) -> None:
        self.at_s += seconds


class Stage:
    """A simulation with its parts, on a wire of memory."""

    def __init__(self, seed: int = 0, *, duplicates: float = 0.0, disorder_s: float = 0.0) -> None:
        self.wire = MemoryWire()
        self.ledger = FleetLedger(seed, {})
        self.fleet = Fleet(seed, START, self.ledger)
        self.faults = Faults(seeded(seed, "faults"), duplicates=duplicates, disorder_s=disorder_s)
        self.stopping = False
        self.outbox = Outbox(self.wire, lambda _: None, lambda: self.stopping)
        self.simulation = Simulation(self.fleet, self.faults, self.outbox, lambda: self.stopping)

    def books(self) -> dict[str, Any]:
        """Return the ledger."""
        return self.ledger.as_json(complete=True, delivered=self.outbox.delivered)


def play_history(
    seed: int = 0, runs: int = 3, hours: float = 2.0, *, duplicates: float = 0.0, disorder_s: float = 0.0
) -> Stage:
    """Write a history and deliver it."""
    stage = Stage(seed, duplicates=duplicates, disorder_s=disorder_s)
    stage.simulation.write_history(history(seed, runs, START, hours * 3600), lambda _: None)
    stage.outbox.close()
    return stage


def read(message: bytes) -> tuple[str, dict[str, Any]]:
    """Return record name and fields of a message."""
    number, body = unframe(message)
    schema = newest_schema(EVENT_TYPES[NAMES[number]].AVRO_NAME)
    fields = fastavro.schemaless_reader(io.BytesIO(body), schema, None)
    assert isinstance(fields, dict)
    return NAMES[number], fields
