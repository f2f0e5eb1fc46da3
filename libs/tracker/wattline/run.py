"""One training run as its script sees it: report steps, stop, ask what it cost. No error of ours leaves it."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType

from wattline.budget import Budget, BudgetExceededError
from wattline.clock import Clock
from wattline.guard import Problems
from wattline.meters.base import Meter, Reading
from wattline.publisher import Publisher
from wattline.ranks import Ranks
from wattline.recorder import Context, Plan, Price, Recorder
from wattline.reported import StepReader
from wattline.sampler import Sampler
from wattline.summary import RunSummary
from wattline_common.events import Event, RunStatus

__all__ = ["Run"]

_TICK_S = 1.0
_LAST_READ_TIMEOUT_S = 2.0
_SIGNAL_EXIT_CODES = {128 + signal.SIGINT, 128 + signal.SIGTERM}


class Run:
    """A run that is being measured, from `start` to `stop`; `wattline.track` makes one with the usual parts.

    In a child made by fork it does nothing: the parent measures the whole process tree. Of several processes of one
    run on a host (``ranks``) one measures; each reports its own steps and its own end.
    """

    def __init__(
        self,
        context: Context,
        plan: Plan,
        price: Price,
        *,
        clock: Clock,
        meters: Sequence[Meter],
        publisher: Publisher,
        problems: Problems,
        ranks: Ranks,
        emit_interval_s: float = 5.0,
        flush_timeout_s: float = 10.0,
        quiet: bool = False,
        enabled: bool = True,
        budget: Budget | None = None,
    ) -> None:
        self._context = context
        self._plan = plan
        self._price = price
        self._clock = clock
        self._publisher = publisher
        self._problems = problems
        self._reader = StepReader(problems)
        self._ranks = ranks
        self._measuring = False
        self._flush_timeout_s = flush_timeout_s
        self._quiet = quiet
        self._enabled = enabled
        self._budget = budget
        self._pid = os.getpid()
        self._running = False
        self._end_s: float | None = None
        self._counts: Counter[str] = Counter()
        self._start_s = clock.monotonic_s()
        self._recorder = Recorder(
            context, price, clock.timestamp, start_s=self._start_s, emit_interval_s=emit_interval_s
        )
        self._sampler = Sampler(meters, clock, self._on_readings, problems, min(_TICK_S, emit_interval_s))
        # Re-entrant, since a signal handler may stop the run while the same thread is in here.
        self._lock = threading.RLock()

    @property
    def run_id(self) -> str:
        """Identity of the run."""
        return self._context.run_id

    @property
    def source_id(self) -> str:
        """Identity of this process in the run."""
        return self._context.source_id

    @property
    def over_budget(self) -> bool:
        """Whether the run has emitted more than its ``budget_kg``; false without one."""
        return self._budget is not None and self._budget.exceeded(self._recorder.totals.emissions_kg)

    @property
    def stop_requested(self) -> bool:
        """Whether the budget is used up and stopping was asked for: for loops that rather end in good order."""
        return self.over_budget and self._budget is not None and self._budget.stop

    def start(self) -> Run:
        """Begin to measure."""
        with self._problems.guard("start"), self._lock:
            if not self._enabled or self._running or self._end_s is not None:
                return self
            self._running = True
            hardware = self._sampler.start(self._start_s)
            self._measuring = self._ranks.measures
            self._publish([self._recorder.started(self._start_s, self._plan, hardware)])
            self._publisher.start()
            atexit.register(self._at_exit)
        return self

    def step(
        self,
        *,
        epoch: int | None = None,
        step: int | None = None,
        loss: float | None = None,
        accuracy: float | None = None,
        samples: int | None = None,
        tokens: int | None = None,
        learning_rate: float | None = None,
        gradient_norm: float | None = None,
        metrics: Mapping[str, float] | None = None,
        **further_metrics: float,
    ) -> None:
        """Report a completed training step; costs some microseconds.

        ``accuracy`` is a share of 1; ``samples`` and ``tokens`` count what the step trained on; ``gradient_norm`` is
        that before clipping. Any other number goes into ``metrics`` (100 at most). Call it for every step: at most
        one event a second is sent, and each epoch's last. Once the budget is used up, ``on_budget`` is called from
        here, and with ``budget_action="stop"`` `BudgetExceededError` is raised.
        """
        exceeded: RunSummary | None = None
        with self._problems.guard("step"):
            if not self._is_mine():
                return
            reported = self._reader.read(
                {**(metrics or {}), **further_metrics},
                epoch=epoch,
                step=step,
                loss=loss,
                accuracy=accuracy,
                samples=samples,
                tokens=tokens,
                learning_rate=learning_rate,
                gradient_norm=gradient_norm,
            )
            with self._lock:
                if self._running:
                    self._publish(self._recorder.step(self._clock.monotonic_s(), reported))
                    exceeded = self.summary() if self.over_budget else None
        if exceeded is not None and self._budget is not None:  # not guarded: what it raises was asked for
            self._budget.act(exceeded)

    def stop(self, status: RunStatus = RunStatus.COMPLETED) -> None:
        """Take the last sample, deliver what is left (for a bounded time) and say on stderr what it cost."""
        with self._problems.guard("stop"):
            if not self._is_mine():  # before the lock, which another thread may have held when this process was forked
                return
            with self._lock:
                if not self._running:
                    return
                self._running = False
            atexit.unregister(self._at_exit)
            self._sampler.stop(_LAST_READ_TIMEOUT_S)
            with self._problems.guard("handing the measuring over"):
                self._ranks.leave()
            with self._lock:
                self._end_s = self._clock.monotonic_s()
                dropped = self._publisher.dropped
                self._publish(self._recorder.finished(self._end_s, status, events_dropped=dropped))
            self._publisher.close(self._flush_timeout_s)
            if self._measuring and not self._quiet:
                sys.stderr.write(f"{self.summary().line()}\n")

    def summary(self) -> RunSummary:
        """Return what the run has cost so far; after `stop`, in all."""
        with self._lock if self._is_mine() else contextlib.nullcontext():
            totals, now_s = self._recorder.totals, self._clock.monotonic_s()
            return RunSummary(
                run_id=self.run_id,
                source_id=self.source_id,
                duration_s=(now_s if self._end_s is None else self._end_s) - self._start_s,
                energy_kwh=totals.energy_kwh,
                energy_low_kwh=totals.energy_low_kwh,
                energy_high_kwh=totals.energy_high_kwh,
                measured_energy_kwh=totals.measured_energy_kwh,
                emissions_kg=totals.emissions_kg,
                power_w=self._recorder.power_avg_w,
                grid_intensity_source=" and ".join(self._recorder.grids) or "unknown",
                methods=tuple(sorted(method.value for method in self._recorder.methods)),
                steps=self._recorder.steps,
                samples=self._recorder.samples,
                forecast=self._recorder.forecast(),
                budget_kg=None if self._budget is None else self._budget.budget_kg,
                over_budget=self.over_budget,
                events_emitted=self._recorder.seq,
                events_by_type=dict(self._counts),
                events_dropped=self._publisher.dropped,
                problems=self._problems.count,
            )

    def __enter__(self) -> Run:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop(_status(error))

    def _on_readings(self, at_s: float, readings: list[Reading]) -> None:
        with self._lock:
            if self._measuring:
                due = self._recorder.readings(at_s, readings)
                self._publish(due)
                if due and self._budget is not None:
                    self._budget.watch(self._recorder.totals.emissions_kg, self._recorder.forecast())
            elif self._ranks.measures:
                self._measuring = True
                self._recorder.measure_from(at_s)
        if self._recorder.unsound_readings:
            self._problems.report("unsound reading", "a meter gave a reading that cannot be true; it is left out")

    def _publish(self, events: Sequence[Event]) -> None:
        for event in events:
            self._counts[type(event).__name__] += 1
            self._publisher.publish(event)

    def _is_mine(self) -> bool:
        return os.getpid() == self._pid

    def _at_exit(self) -> None:
        """Stop a run that its script left open; an exception that ended the script has been printed by now."""
        # At a prompt, or in a notebook, the last exception was that of some cell, and ended nothing.
        failed = hasattr(sys, "last_type") and not hasattr(sys, "ps1")
        self.stop(RunStatus.FAILED if failed else RunStatus.COMPLETED)


def _status(error: BaseException | None) -> RunStatus:
    if error is None or (isinstance(error, SystemExit) and error.code in {None, 0}):
        return RunStatus.COMPLETED
    if isinstance(error, (KeyboardInterrupt, GeneratorExit, BudgetExceededError)) or (
        isinstance(error, SystemExit) and error.code in _SIGNAL_EXIT_CODES
    ):
        return RunStatus.STOPPED
    return RunStatus.FAILED
