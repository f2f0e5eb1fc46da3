"""One simulated process: the tracker's recorder, fed from a meter and a curve at the moments that its plan says."""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable

from wattline.recorder import Recorder
from wattline.steps import Step
from wattline_common.events import Event, RunStatus
from wattline_trainer.simulate.meter import SimulatedMeter, devices_of
from wattline_trainer.simulate.plan import RunPlan, SourcePlan

__all__ = ["Source"]

_READS_PER_SAMPLE = 2  # so that a sample's highest power is not its mean
_NOISE = 0.015
_SMALLEST_LOSS = 1e-6


class Source:
    """Emits what a real process would: `advance` does what is due at ``due_s``, `stop` ends it before its time.

    ``base_s`` is when its run starts; all times are seconds on the fleet's clock.
    """

    def __init__(
        self,
        run: RunPlan,
        source: SourcePlan,
        base_s: float,
        timestamp: Callable[[float], datetime.datetime],
        chance: random.Random,
    ) -> None:
        self._run = run
        self._source = source
        self._chance = chance
        self._start_s = base_s + source.start_s
        self._end_s = base_s + source.end_s
        self._recorder = Recorder(
            source.context, run.price, timestamp, start_s=self._start_s, emit_interval_s=run.emit_interval_s
        )
        devices = devices_of(run.pool, source.gpus, run.memory_share) if source.samples_hardware else ()
        self._meter = SimulatedMeter(devices, source.schedule, chance)
        self._ticks = -1  # the start itself
        self._read_s = self._start_s
        self._steps = 0
        self.done = False

    @property
    def run_id(self) -> str:
        """Identity of the run."""
        return self._run.run_id

    @property
    def due_s(self) -> float:
        """When there is something to do next."""
        if self._ticks < 0:
            return self._start_s
        return min(self._end_s, self._start_s + (self._ticks + 1) * self._run.emit_interval_s)

    def advance(self) -> list[Event]:
        """Do what is due; return the events."""
        if self._ticks < 0:
            self._ticks = 0
            return [self._recorder.started(self._start_s, self._run.plan, self._meter.start(self._start_s))]
        at_s = self.due_s
        if at_s >= self._end_s:
            return self._finish(at_s, self._source.status)
        self._ticks += 1
        events = self._read(at_s)
        if self._ticks % self._source.step_every == 0:
            events += self._report_steps(at_s)
        return events

    def stop(self, at_s: float, status: RunStatus) -> list[Event]:
        """End now: the last sample and the last event; nothing for a process that has not started."""
        if self._ticks < 0:
            self.done = True
            return []
        return self._finish(min(max(at_s, self._read_s), self.due_s), status)

    def _finish(self, at_s: float, status: RunStatus) -> list[Event]:
        self.done = True
        events = [*self._read(at_s), *self._report_steps(at_s)]
        return [*events, *self._recorder.finished(at_s, status, events_dropped=0)]

    def _read(self, at_s: float) -> list[Event]:
        last_s, self._read_s = self._read_s, at_s
        events: list[Event] = []
        if not self._source.samples_hardware or at_s <= last_s:
            return events
        for k in range(1, _READS_PER_SAMPLE + 1):
            tick_s = at_s if k == _READS_PER_SAMPLE else last_s + (at_s - last_s) * k / _READS_PER_SAMPLE
            events += self._recorder.readings(tick_s, self._meter.read(tick_s))
        return events

    def _report_steps(self, at_s: float) -> list[Event]:
        """Report the steps since the last report; those that end an epoch by themselves, with the evaluation."""
        before, done = self._steps, self._source.schedule.steps(at_s - self._start_s)
        self._steps, per_epoch = done, self._source.schedule.steps_per_epoch
        events = []
        ends = done // per_epoch * per_epoch
        if ends > before:
            events += self._recorder.step(at_s, self._step(ends, ends - before, evaluated=True))
            before = ends
        if done > before:
            events += self._recorder.step(at_s, self._step(done, done - before, evaluated=False))
        return events

    def _step(self, done: int, covered: int, *, evaluated: bool) -> Step:
        run, per_epoch = self._run, self._source.schedule.steps_per_epoch
        total = self._source.first_step + done
        progress = total / run.total_steps
        epoch = (total - 1) // per_epoch
        evaluated = evaluated and not self._source.context.rank
        metrics = {"validation_loss": run.curve.validation_loss(progress)} if evaluated else {}
        noise = 1.0 + self._chance.gauss(0.0, _NOISE)
        return Step(
            epoch=epoch + 1,
            step=total - epoch * per_epoch,
            loss=max(_SMALLEST_LOSS, run.curve.loss(progress) * noise),
            accuracy=run.curve.accuracy(progress) if evaluated else None,
            samples=covered * run.family.batch_size,
            learning_rate=run.curve.learning_rate(progress, run.peak_learning_rate),
            metrics=metrics,
            steps_covered=covered,
        )
