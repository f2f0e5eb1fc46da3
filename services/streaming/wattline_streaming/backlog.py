"""How much is still to do: messages in Kafka beyond the last batch, windows to settle. Asked from time to time."""

from __future__ import annotations

import datetime
import json
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

from pymongo.database import Database
from pymongo.errors import PyMongoError

from wattline_common import store
from wattline_common.errors import StopError, UnavailableError
from wattline_common.kafka import TRAINING_EVENTS
from wattline_common.store import AuditHealth, Document
from wattline_streaming.figures import Figures
from wattline_streaming.vitals import BACKLOG, Vitals

__all__ = ["START_ANEW", "Backlog", "batch_under_way", "committed_offsets", "is_committed", "planned_batch", "unread"]

_LOG = logging.getLogger(__name__)
START_ANEW = (
    "name a new folder by WATTLINE_CHECKPOINT_DIR, and the topic is read again from its start; what is stored already "
    "counts once all the same"
)


class Backlog:
    """Keeps the figures of what is left; Kafka or a store that does not answer is a problem to tell."""

    def __init__(
        self,
        offsets: Callable[[], Mapping[int, tuple[int, int]]],
        appended_at: Callable[[Mapping[int, int]], datetime.datetime | None],
        checkpoint: Path,
        database: Database[Document],
        figures: Figures,
        vitals: Vitals,
    ) -> None:
        self._offsets = offsets
        self._appended_at = appended_at
        self._checkpoint = checkpoint
        self._database = database
        self._figures = figures
        self._vitals = vitals

    def run(self, stop: threading.Event, interval_s: float, report: Callable[[], None]) -> None:
        """Look until ``stop`` is set, and report each time."""
        while not stop.wait(interval_s):
            try:
                self.step()
                report()
            except Exception:  # noqa: BLE001  # a look that breaks must not end the looking
                _LOG.exception("the backlog is not known; the next look tries again")

    def step(self) -> None:
        """Look once."""
        try:
            left = unread(self._offsets(), committed_offsets(self._checkpoint))
            self._figures.lag_messages = sum(after - first for first, after in left.values())
            self._figures.lag_s = self._lag_s({partition: first for partition, (first, _) in left.items()})
            self._look_at_store()
        except UnavailableError as error:
            self._vitals.note(BACKLOG, str(error))
        except PyMongoError as error:
            self._vitals.note(BACKLOG, f"no good answer from the store at MONGODB_URI: {error}")
        else:
            self._vitals.note(BACKLOG, None)

    def _lag_s(self, first: Mapping[int, int]) -> float:
        """Return for how long the oldest message that is left has been in Kafka; ``first`` is where it may be."""
        at = self._appended_at(first) if first else None
        return max(0.0, (datetime.datetime.now(datetime.UTC) - at).total_seconds()) if at else 0.0

    def _look_at_store(self) -> None:
        self._figures.dirty_windows = self._database[store.DIRTY_WINDOWS].estimated_document_count()
        self._figures.runs_closed = self._database[store.TRAINING_RUN_SUMMARY].count_documents({"raw_complete": False})
        audit = self._database[store.PIPELINE_HEALTH].find_one({"_id": store.AUDIT})
        self._figures.audit = cast("AuditHealth | None", audit)


def unread(offsets: Mapping[int, tuple[int, int]], done: Mapping[int, int]) -> dict[int, tuple[int, int]]:
    """Return partition -> offsets of the first and of the next message beyond what is done, where there are any.

    ``offsets`` has them of all that Kafka keeps.
    """
    left = {partition: (max(first, done.get(partition, 0)), after) for partition, (first, after) in offsets.items()}
    return {partition: (first, after) for partition, (first, after) in left.items() if first < after}


def planned_batch(checkpoint: Path) -> int | None:
    """Return the number of the batch that Spark has planned and not committed."""
    planned = _numbers(checkpoint, "offsets")
    return planned[-1] if planned and not is_committed(checkpoint, planned[-1]) else None


def is_committed(checkpoint: Path, batch: int) -> bool:
    """Return whether Spark has committed a batch, one of the last hundred."""
    return (checkpoint / "commits" / str(batch)).exists()


def batch_under_way(checkpoint: Path) -> str:
    """Return number and offsets of the batch that Spark has planned and not committed, for a person."""
    planned = planned_batch(checkpoint)
    if planned is None:
        return f"none is planned in {checkpoint}/offsets"
    done, end = committed_offsets(checkpoint), _offsets_of(checkpoint, planned)
    places = [f"{partition}:{done.get(partition, 0)}-{after}" for partition, after in sorted(end.items())]
    return f"batch {planned}, {TRAINING_EVENTS} partition:offsets {' '.join(places)} (in {checkpoint}/offsets)"


def committed_offsets(checkpoint: Path) -> dict[int, int]:
    """Return partition -> next offset of the last batch that Spark has committed; nothing before the first."""
    batches = _numbers(checkpoint, "commits")
    return _offsets_of(checkpoint, batches[-1]) if batches else {}


def _numbers(checkpoint: Path, log: str) -> list[int]:
    return sorted(int(path.name) for path in checkpoint.glob(f"{log}/*") if path.name.isdecimal())


def _offsets_of(checkpoint: Path, batch: int) -> dict[int, int]:
    """Return a batch's offsets; raise `StopError` with the remedy where the file that has them is damaged."""
    path = checkpoint / "offsets" / str(batch)
    try:
        *_, offsets = path.read_text(encoding="utf-8").splitlines()
        return {int(partition): int(offset) for partition, offset in json.loads(offsets)[TRAINING_EVENTS].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StopError(f"{path} is damaged ({error}): {START_ANEW}") from error
