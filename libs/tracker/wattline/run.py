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
from typing import Self

from wattline.clock import Clock
from wattline.guard import Problems
from wattline.identity import AVRO_INT, AVRO_LONG, as_count, as_float, as_text, first_entries
from wattline.meters.base import Meter, Reading
from wattline.publisher import Publisher
from wattline.recorder import Context, Plan, Price, Recorder
from wattline.sampler import Sampler
from wattline.steps import Step
from wattline.summary import RunSummary
from wattline_common.events import Event, RunStatus

__all__ = ["Run"]

_TICK_S = 1.0
_LAST_READ_TIMEOUT_S = 2.0
_SIGNAL_EXIT_CODES = {128 + signal.SIGINT, 128 + signal.SIGTERM}


class Run:
    """A run that is being measured, from `start` to `stop`; `wattline.track` makes one with the usual parts.

    In a child made by fork it does nothing: the parent measures the whole process tree.
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
        emit_interval_s: float = 5.0,
        flush_timeout_s: float = 10.0,
        quiet: bool = False,
        enabled: bool = True,
    ) -> None:
        self._context = context
        self._plan = plan
        self._price = price
        self._clock = clock
        self._publisher = publisher
        self._problems = problems
        self._flush_timeout_s = flush_timeout_s
        self._quiet = quiet
        self._enabled = enabled
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

    def start(self) -> Self:
        """Begin to measure."""
        with self._problems.guard("start"), self._lock:
            if not self._enabled or self._running or self._end_s is not None:
                return self
            self._running = True
            hardware = self._sampler.start(self._start_s)
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
        one event a second is sent, and each epoch's last.
        """
        with self._problems.guard("step"):
            if not self._is_mine():
                return
            further = first_entries({**(metrics or {}), **further_metrics})
            numbers = {key: self._number(key, value) for key, value in further.items()}
            reported = Step(
                epoch=self._count("epoch", epoch, AVRO_INT),
                step=self._count("step", step),
                loss=self._number("loss", loss),
                accuracy=self._share(accuracy),
                samples=self._count("samples", samples),
                tokens=self._count("tokens", tokens),
                learning_rate=self._quantity("learning_rate", learning_rate),
                gradient_norm=self._quantity("gradient_norm", gradient_norm),
                metrics={as_text(key): number for key, number in numbers.items() if number is not None},
            )
            with self._lock:
                if self._running:
                    self._publish(self._recorder.step(self._clock.monotonic_s(), reported))

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
            with self._lock:
                self._end_s = self._clock.monotonic_s()
                dropped = self._publisher.dropped
                self._publish(self._recorder.finished(self._end_s, status, events_dropped=dropped))
            self._publisher.close(self._flush_timeout_s)
            if not self._quiet:
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
                grid_intensity_source=self._price.grid.label,
                methods=tuple(sorted(method.value for method in self._recorder.methods)),
                steps=self._recorder.steps,
                samples=self._recorder.samples,
                events_emitted=self._recorder.seq,
                events_by_type=dict(self._counts),
                events_dropped=self._publisher.dropped,
                problems=self._problems.count,
            )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop(_status(error))

    def _on_readings(self, at_s: float, readings: list[Reading]) -> None:
        with self._lock:
            self._publish(self._recorder.readings(at_s, readings))
        if self._recorder.unsound_readings:
            self._problems.report("unsound reading", "a meter gave a reading that cannot be true; it is left out")

    def _publish(self, events: Sequence[Event]) -> None:
        for event in events:
            self._counts[type(event).__name__] += 1
            self._publisher.publish(event)

    def _is_mine(self) -> bool:
        return os.getpid() == self._pid

    def _number(self, name: str, value: object) -> float | None:
        number = as_float(value)
        if number is None and value is not None:
            self._problems.report(f"step {name}", f"{name} is no finite number; it is recorded as missing")
        return number

    def _count(self, name: str, value: object, below: int = AVRO_LONG) -> int | None:
        count = as_count(value, below)
        if count is None and value is not None:
            self._problems.report(f"step {name}", f"{name} is no whole number of 0 or more; it is recorded as missing")
        return count

    def _quantity(self, name: str, value: object) -> float | None:
        number = self._number(name, value)
        if number is None or number >= 0.0:
            return number
        self._problems.report(f"step {name}", f"{name}={number:g} is below 0; it is recorded as missing")
        return None

    def _share(self, accuracy: object) -> float | None:
        number = self._number("accuracy", accuracy)
        if number is None or 0.0 <= number <= 1.0:
            return number
        self._problems.report("accuracy", f"accuracy={number:g} is no share of 1; it is recorded as missing")
        return None

    def _at_exit(self) -> None:
        """Stop a run that its script left open; an exception that ended the script has been printed by now."""
        self.stop(RunStatus.FAILED if hasattr(sys, "last_type") else RunStatus.COMPLETED)


def _status(error: BaseException | None) -> RunStatus:
    if error is None or (isinstance(error, SystemExit) and error.code in {None, 0}):
        return RunStatus.COMPLETED
    if isinstance(error, KeyboardInterrupt) or (isinstance(error, SystemExit) and error.code in _SIGNAL_EXIT_CODES):
        return RunStatus.STOPPED
    return RunStatus.FAILED
