"""What the driver does for the store beside the query's batches: it settles, deletes what is old, erases who asked."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable
from typing import TypeVar

from wattline_common.errors import UnavailableError
from wattline_streaming.erase import Eraser
from wattline_streaming.figures import Figures
from wattline_streaming.retention import Deleted, Retainer
from wattline_streaming.settle import Settled, Settler
from wattline_streaming.vitals import ERASURE, RETENTION, SETTLING, Vitals

__all__ = ["Upkeep"]

_LOG = logging.getLogger(__name__)
_LONGEST_UNSETTLED = datetime.timedelta(seconds=60)

Done = TypeVar("Done")


class Upkeep:
    """Steps that may fail: a failure costs a delay only, as what is left to do stands in the store.

    Its caller keeps it and the ledger from running at the same time.
    """

    def __init__(self, settler: Settler, retainer: Retainer, eraser: Eraser, figures: Figures, vitals: Vitals) -> None:
        self._settler = settler
        self._retainer = retainer
        self._eraser = eraser
        self._figures = figures
        self._vitals = vitals
        self._started_at = _now()

    def can_wait(self, *, busy: bool) -> bool:
        """Return whether events that wait come before windows that do; settling waits a minute at most."""
        last = self._figures.last_settling_at or self._started_at
        return busy and _now() - last < _LONGEST_UNSETTLED

    def settle(self) -> Settled:
        """Settle what is due; return how much it was."""
        settled = self._try(SETTLING, self._settler.step)
        if settled is None:
            self._figures.settling_failures += 1
            return Settled()
        self._figures.settled += settled
        self._figures.last_settling_at = _now()
        return settled

    def delete_old(self) -> Deleted:
        """Delete raw events of old runs; to be called only while nothing waits in Kafka that may belong to them."""
        deleted = self._try(RETENTION, self._retainer.step) or Deleted()
        self._figures.raw_deleted += deleted
        return deleted

    def erase(self) -> bool:
        """Go on with erasures that were asked for; return whether there was anything to do."""
        return bool(self._try(ERASURE, self._eraser.step))

    def _try(self, part: str, step: Callable[[datetime.datetime], Done]) -> Done | None:
        try:
            done = step(_now())
        except UnavailableError as error:
            _LOG.warning("%s waits: %s", part, error)
            problem = str(error)
        except Exception as error:  # noqa: BLE001  # the log has the trace
            _LOG.exception("%s failed; the next step tries again", part)
            problem = f"{type(error).__name__}: {error}"
        else:
            self._vitals.note(part, None)
            return done
        self._vitals.note(part, problem)
        return None


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
