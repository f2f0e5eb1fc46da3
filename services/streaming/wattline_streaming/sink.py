"""Where folded windows go: the store, by revision, and the aggregates topic."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import KafkaException, Producer
from pymongo import UpdateOne
from pymongo.database import Database

from wattline_common import store
from wattline_common.codec import encode_body, frame
from wattline_common.errors import BrokerUnavailableError
from wattline_common.kafka import TRAINING_AGGREGATES
from wattline_common.store import Document
from wattline_common.store_errors import answering
from wattline_streaming.windows import aggregate, window_aggregated

__all__ = ["WindowWriter", "update_window"]

_FLUSH_S = 30.0
_EMITTER = "wattline-streaming"


class WindowWriter:
    """Writes folded rows; each write replaces only what has a lower revision."""

    def __init__(self, database: Database[Document], producer: Producer, schema_id: int) -> None:
        self._collection = database[store.AGGREGATED_METRICS]
        self._producer = producer
        self._schema_id = schema_id

    def write(self, rows: list[Document], settlements: Mapping[str, int]) -> None:
        """Publish and store the rows; a window without a settlement comes from the stream and has settlement 0.

        Raises `BrokerUnavailableError` and what `answering` raises; calling again with the same rows is safe.
        """
        if not rows:
            return
        # First the topic: the settler does not look again at a window whose stored figures are right.
        self._publish(rows, settlements)
        with answering():
            self._collection.bulk_write([update_window(row, settlements) for row in rows], ordered=False)

    def _publish(self, rows: list[Document], settlements: Mapping[str, int]) -> None:
        try:
            for row in rows:
                key = _window_id(row)
                body = encode_body(window_aggregated(row, settlements.get(key, 0), _EMITTER))
                self._producer.produce(TRAINING_AGGREGATES, key=key.encode(), value=frame(self._schema_id, body))
                self._producer.poll(0)
        except (KafkaException, BufferError) as error:
            raise BrokerUnavailableError(f"cannot publish windows on {TRAINING_AGGREGATES}: {error}") from error
        left = self._producer.flush(_FLUSH_S)
        if left:
            raise BrokerUnavailableError(f"{left} windows are not on {TRAINING_AGGREGATES} after {_FLUSH_S:.0f} s")


def _window_id(row: Document) -> str:
    return store.window_id(row["run_id"], round(row["window_start"].timestamp() * 1_000_000))


def update_window(row: Document, settlements: Mapping[str, int]) -> UpdateOne:
    """Return the write of one folded row, which a higher revision in the store withstands."""
    key = _window_id(row)
    figures = aggregate(row, settlements.get(key, 0))
    same = {name: row[name] for name in ("run_id", "window_start", "window_end")}
    change = {"$set": {**same, "length_s": store.WINDOW_LENGTH_S}, "$max": {"aggregate": figures}}
    return UpdateOne({"_id": key}, change, upsert=True)
