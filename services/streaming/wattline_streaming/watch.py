"""Is the registry still the one whose ids the stream goes by? With its schemas in memory it would not notice itself."""

from __future__ import annotations

import datetime
import logging
import threading
from collections.abc import Callable

from pymongo.collection import Collection
from pymongo.errors import PyMongoError

from wattline_common.errors import StopError, UnavailableError
from wattline_common.store import STREAMING, Document, RegistryHealth
from wattline_streaming.vitals import REGISTRY, Vitals

__all__ = ["RegistryWatch"]

_LOG = logging.getLogger(__name__)


class RegistryWatch:
    """Checks from time to time; ``check`` raises `UnavailableError` for a registry to mend, `StopError` for another.

    The stream goes on while the registry is to be mended: log, pipeline_health and /readyz say how.
    """

    def __init__(
        self, check: Callable[[], None], health: Collection[Document], interval_s: float, vitals: Vitals
    ) -> None:
        self._check = check
        self._health = health
        self._interval_s = interval_s
        self._vitals = vitals
        self._problem: str | None = None
        self.stopped_by: StopError | None = None

    def run(self, stop: threading.Event) -> None:
        """Check until ``stop`` is set; set it, and keep the error in ``stopped_by``, when the stream must not go on."""
        while not stop.wait(self._interval_s):
            try:
                self.step()
            except StopError as error:
                self.stopped_by = error
                stop.set()
            except Exception:  # noqa: BLE001  # a check that breaks must not end the watch
                _LOG.exception("the registry could not be checked; the next check tries again")

    def step(self) -> None:
        """Check once and tell what is wrong, in the log when that has changed. Raises `StopError`."""
        problem: str | None = None
        try:
            self._check()
        except UnavailableError as error:
            problem = str(error)
        if problem != self._problem and problem is not None:
            _LOG.warning("the stream goes on, events of a schema it has not met wait: %s", problem)
        elif problem != self._problem:
            _LOG.info("the registry has every schema again")
        self._problem = problem
        self._vitals.note(REGISTRY, problem)
        told: RegistryHealth = {"problem": problem, "checked_at": datetime.datetime.now(datetime.UTC)}
        try:
            self._health.update_one({"_id": STREAMING}, {"$set": {"registry": told}}, upsert=True)
        except PyMongoError as error:
            _LOG.warning("the registry's health is not in the store: %s", error)
