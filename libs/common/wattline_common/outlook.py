"""When a run's steps end a block that the forecast counts: an epoch, or some seconds of steps. Pure."""

from __future__ import annotations

from wattline_common.forecast import Forecast, Forecaster, Spent

__all__ = ["Outlook"]

_BLOCK_S = 5.0
_FEW_EPOCHS = 3


class Outlook:
    """Feeds a `Forecaster` from the reported steps.

    An epoch has ended when a step of another one is reported; it cost what was used up to its own last step. Steps are
    counted instead where no epochs are planned, or fewer than three and steps, too.
    """

    def __init__(self, unit: str, planned: int, start_s: float) -> None:
        self._forecaster = Forecaster(unit, planned)
        self._by_epochs = unit == "epochs"
        self._epoch: int | None = None
        self._epochs_done = 0
        self._steps_done = 0
        self._last_step_kwh: float | None = None
        self._last_mark_s = start_s

    @classmethod
    def of(cls, planned_epochs: int | None, planned_steps: int | None, start_s: float) -> Outlook | None:
        """Return the outlook of a plan, None without one."""
        if planned_epochs and (planned_epochs >= _FEW_EPOCHS or not planned_steps):
            return cls("epochs", planned_epochs, start_s)
        return cls("steps", planned_steps, start_s) if planned_steps else None

    def step(self, at_s: float, *, epoch: int | None, steps_covered: int, energy_kwh: float) -> None:
        """Take a step and the energy used up to it."""
        self._steps_done += steps_covered
        if not self._by_epochs:
            if at_s - self._last_mark_s >= _BLOCK_S:
                self._last_mark_s = at_s
                self._forecaster.mark(self._steps_done, energy_kwh)
            return
        if self._last_step_kwh is not None and epoch != self._epoch:
            self._epochs_done += 1
            self._forecaster.mark(self._epochs_done, self._last_step_kwh)
        self._epoch, self._last_step_kwh = epoch, energy_kwh

    def forecast(self, spent: Spent) -> Forecast | None:
        """Return what the planned end will show."""
        return self._forecaster.forecast(spent)
