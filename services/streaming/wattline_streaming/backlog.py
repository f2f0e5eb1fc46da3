"""How much is still to do: messages in Kafka beyond the last batch, windows to settle. Asked from time to time."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from pymongo.collection import Collection
from pymongo.errors import PyMongoError

from wattline_common.errors import UnavailableError
from wattline_common.kafka import TRAINING_EVENTS
from wattline_common.store import Document
from wattline_streaming.figures import Figures
from wattline_streaming.vitals import BACKLOG, Vitals

__all__ = ["Backlog", "committed_offsets", "lag_messages"]

_LOG = logging.getLogger(__name__)


class Backlog:
    """Keeps the figures of what is left; Kafka or a store that does not answer is a problem to tell."""

    def __init__(
        self,
        offsets: Callable[[], Mapping[int, tuple[int, int]]],
        checkpoint: Path,
        dirty_windows: Collection[Document],
        figures: Figures,
        vitals: Vitals,
    ) -> None:
        self._offsets = offsets
        self._checkpoint = checkpoint
        self._dirty_windows = dirty_windows
        self._figures = figures
        self._vitals = vitals

    def run(self, stop: threading.Event, interval_s: float) -> None:
        """Look until ``stop`` is set."""
        while not stop.wait(interval_s):
            try:
                self.step()
            except Exception:  # noqa: BLE001  # a look that breaks must not end the looking
                _LOG.exception("the backlog is not known; the next look tries again")

    def step(self) -> None:
        """Look once."""
        try:
            self._figures.lag_messages = lag_messages(self._offsets(), committed_offsets(self._checkpoint))
            self._figures.dirty_windows = self._dirty_windows.estimated_document_count()
        except UnavailableError as error:
            self._vitals.note(BACKLOG, str(error))
        except PyMongoError as error:
            self._vitals.note(BACKLOG, f"no good answer from the store at MONGODB_URI: {error}")
        else:
            self._vitals.note(BACKLOG, None)


def lag_messages(offsets: Mapping[int, tuple[int, int]], done: Mapping[int, int]) -> int:
    """Return how many messages are kept beyond what is done; ``offsets`` has first and next of each partition."""
    return sum(max(0, after - max(first, done.get(partition, 0))) for partition, (first, after) in offsets.items())


def committed_offsets(checkpoint: Path) -> dict[int, int]:
    """Return partition -> next offset of the last batch that Spark has committed; nothing before the first."""
    batches = [int(path.name) for path in checkpoint.glob("commits/*") if path.name.isdecimal()]
    if not batches:
        return {}
    *_, offsets = (checkpoint / "offsets" / str(max(batches))).read_text(encoding="utf-8").splitlines()
    return {int(partition): offset for partition, offset in json.loads(offsets)[TRAINING_EVENTS].items()}
