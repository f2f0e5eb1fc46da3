"""Promises of the order in which a window goes out: the topic has it before the store does."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from wattline_common import store
from wattline_common.errors import BrokerUnavailableError
from wattline_streaming.sink import WindowWriter
from wattline_streaming.typed import CONTEXT

START = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)


class Witness:
    """A producer and a collection in one: it notes what is asked of it in which order."""

    def __init__(self, *, undelivered: int = 0) -> None:
        self.calls: list[str] = []
        self._undelivered = undelivered

    def produce(self, topic: str, **_: Any) -> None:
        """Take a message."""
        self.calls.append(f"produce on {topic}")

    def poll(self, _: float) -> int:
        """Do nothing."""
        return 0

    def flush(self, _: float) -> int:
        """Return how many messages the broker does not have."""
        self.calls.append("flush")
        return self._undelivered

    def bulk_write(self, writes: list[Any], **_: Any) -> None:
        """Take writes."""
        self.calls.append(f"store {len(writes)}")


def row() -> dict[str, Any]:
    """Return a folded row of two events."""
    numbers = {name: 0.0 for name in store.Aggregate.__annotations__ if name not in {"revision", "context"}}
    context = dict.fromkeys(CONTEXT, None) | {"simulated": False}
    when = {"window_start": START, "window_end": START + datetime.timedelta(minutes=1)}
    return {**numbers, "events": 2, "samples": 1, **context, **when, "run_id": "run"}


def writer(witness: Any) -> WindowWriter:
    """Return a writer on the witness."""
    return WindowWriter({store.AGGREGATED_METRICS: witness}, witness, 1)  # type: ignore[arg-type]  # of a database it needs this alone


def test_a_window_is_published_before_it_is_stored() -> None:
    """Once what is stored agrees with raw, nobody looks at it again: by then the topic must have it."""
    witness = Witness()
    writer(witness).write([row()], {})
    assert witness.calls == ["produce on training.aggregates", "flush", "store 1"]


def test_a_window_that_cannot_be_published_is_not_stored() -> None:
    """The settler then finds it as it was, and folds and publishes it again."""
    witness = Witness(undelivered=1)
    with pytest.raises(BrokerUnavailableError, match=r"1 windows are not on training\.aggregates"):
        writer(witness).write([row()], {})
    assert witness.calls == ["produce on training.aggregates", "flush"]
