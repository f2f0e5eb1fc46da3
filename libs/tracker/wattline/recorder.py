"""Turns readings and steps into events. Pure: times come in as arguments, events go out as results."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from wattline.interval import JOULES_PER_KWH, Interval, Totals, is_sound
from wattline.meters.base import Reading, mean_power_w
from wattline.steps import Step, StepThinner
from wattline_common import carbon
from wattline_common.events import (
    DeviceDescription,
    DeviceKind,
    Event,
    HardwareSampled,
    Method,
    RunFinished,
    RunStarted,
    RunStatus,
    StepCompleted,
)
from wattline_common.forecast import Forecast, Spent
from wattline_common.outlook import Outlook

__all__ = ["Context", "Plan", "Price", "Recorder"]

_REACH_S = 2.0  # how far the last power is trusted beyond its reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Identity and metadata that every event of a source carries."""

    run_id: str
    source_id: str
    user_id: str = "unknown"
    model_name: str = "unknown"
    dataset_name: str = "unknown"
    framework: str = "unknown"
    environment: str = "unknown"
    region_iso: str = "unknown"
    project: str | None = None
    host: str = "unknown"
    rank: int | None = None
    simulated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is said of a run at its start."""

    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    planned_epochs: int | None = None
    planned_steps: int | None = None
    git_commit: str | None = None
    tracker_version: str = "unknown"


@dataclass(frozen=True, slots=True)
class Price:
    """What a kWh of IT energy emits: the grid's intensity of the moment, and the site's PUE on top."""

    grid: carbon.IntensitySource
    pue: float = 1.0


class Recorder:
    """The events of one source, in order: `started`, any of `readings` and `step`, `finished`.

    ``at_s`` are monotonic seconds; ``timestamp`` makes them event time. Not safe for threads: the caller holds a lock.
    """

    def __init__(
        self,
        context: Context,
        price: Price,
        timestamp: Callable[[float], datetime.datetime],
        *,
        start_s: float,
        emit_interval_s: float,
    ) -> None:
        self._context = asdict(context)
        self._price = price
        self._timestamp = timestamp
        self._start_s = start_s
        self._emit_interval_s = emit_interval_s
        self._interval = Interval(start_s)
        self._thinner = StepThinner()
        self._last_timestamp: datetime.datetime | None = None
        self._last_loss: float | None = None
        self._last_accuracy: float | None = None
        self.steps = 0
        self.samples = 0
        self.totals = Totals()
        self.methods: set[Method] = set()
        self.grids: dict[str, carbon.GridIntensity] = {}  # label -> the last one; in the order of their use
        self.unsound_readings = 0
        self.seq = 0
        self._outlook: Outlook | None = None
        self._open_j = 0.0  # of the readings that are in no sample yet
        self._power_w = 0.0
        self.power_avg_w = 0.0  # of the last sample
        self._kg_per_kwh = 0.0

    def started(self, at_s: float, plan: Plan, hardware: Sequence[DeviceDescription]) -> Event:
        """Return the source's first event."""
        self._outlook = Outlook.of(plan.planned_epochs, plan.planned_steps, at_s)
        facts = {**asdict(plan), "hyperparameters": dict(plan.hyperparameters), "tags": dict(plan.tags)}
        return RunStarted(**self._header(at_s), **facts, hardware=list(hardware))

    def readings(self, at_s: float, readings: Sequence[Reading]) -> list[Event]:
        """Take one tick's readings; return a sample when one is due (at start + k * emit interval)."""
        sound = [reading for reading in readings if is_sound(reading)]
        self.unsound_readings += len(readings) - len(sound)
        self._interval.add(at_s, sound)
        self._open_j += math.fsum(reading.energy_j for reading in sound)
        self._power_w = math.fsum(reading.power_w for reading in sound)
        done = math.floor((self._interval.start_s - self._start_s) / self._emit_interval_s + 1e-6)
        due_s = self._start_s + (done + 1) * self._emit_interval_s
        return [self._sample()] if at_s >= due_s - 1e-6 else []

    def measure_from(self, at_s: float) -> None:
        """Begin the first interval here, since another process measured the run until now."""
        self._interval = Interval(at_s)

    def step(self, at_s: float, step: Step) -> list[Event]:
        """Take a step; return the events that are due."""
        if self._outlook is not None:
            self._outlook.step(
                at_s, epoch=step.epoch, steps_covered=step.steps_covered, energy_kwh=self._energy_kwh(at_s)
            )
        self.steps += step.steps_covered
        self.samples += step.samples or 0
        self._last_loss = self._last_loss if step.loss is None else step.loss
        self._last_accuracy = self._last_accuracy if step.accuracy is None else step.accuracy
        return [self._step_completed(*due) for due in self._thinner.add(at_s, step)]

    def forecast(self) -> Forecast | None:
        """Return what the planned end will show; None without a plan, before a first block, or once completed."""
        if self._outlook is None or not self.grids:
            return None
        total = self.totals
        return self._outlook.forecast(
            Spent(
                energy_kwh=total.energy_kwh,
                energy_low_kwh=total.energy_low_kwh,
                energy_high_kwh=total.energy_high_kwh,
                emissions_kg=total.emissions_kg,
                kg_per_kwh=self._kg_per_kwh,
            )
        )

    def finished(self, at_s: float, status: RunStatus, *, events_dropped: int) -> list[Event]:
        """Return the steps held back, the last sample and the source's last event."""
        out = [self._step_completed(*due) for due in self._thinner.rest()]
        if self._interval.length_s > 0:
            out.append(self._sample())
        finished = RunFinished(
            **self._header(at_s),
            status=status,
            duration_s=at_s - self._start_s,
            final_loss=self._last_loss,
            final_accuracy=self._last_accuracy,
            source_energy_kwh=self.totals.energy_kwh,
            source_emissions_kg=self.totals.emissions_kg,
            events_emitted=self.seq,
            events_dropped=events_dropped,
        )
        if status is RunStatus.COMPLETED:
            self._outlook = None
        return [*out, finished]

    def _energy_kwh(self, at_s: float) -> float:
        """Return the energy up to a moment: read up to the last tick, and at the last tick's power since."""
        reach_s = min(max(0.0, at_s - self._interval.end_s), _REACH_S)
        return self.totals.energy_kwh + (self._open_j + self._power_w * reach_s) / JOULES_PER_KWH

    def _step_completed(self, at_s: float, step: Step) -> Event:
        return StepCompleted(
            **self._header(at_s),
            epoch=step.epoch,
            step=step.step,
            loss=step.loss,
            accuracy=step.accuracy,
            samples=step.samples,
            tokens=step.tokens,
            learning_rate=step.learning_rate,
            gradient_norm=step.gradient_norm,
            steps_covered=step.steps_covered,
            metrics=dict(step.metrics),
            cumulative_energy_kwh=self.totals.energy_kwh,
            cumulative_emissions_kg=self.totals.emissions_kg,
        )

    def _sample(self) -> Event:
        interval, devices = self._interval, self._interval.devices()
        self._interval, self._open_j = Interval(interval.end_s), 0.0
        # By its middle: an interval that ends with the hour belongs to that hour.
        grid = self._price.grid.at(self._timestamp((interval.start_s + interval.end_s) / 2))
        self.grids[grid.label] = grid
        self._kg_per_kwh = carbon.emissions_kg(1.0, pue=self._price.pue, grid_intensity_g_per_kwh=grid.g_per_kwh)
        part = Totals.of(devices, pue=self._price.pue, grid_intensity_g_per_kwh=grid.g_per_kwh)
        self.totals = total = self.totals.plus(part)
        self.methods.update(device.method for device in devices)
        self.power_avg_w = mean_power_w(part.energy_kwh * JOULES_PER_KWH, interval.length_s)
        return HardwareSampled(
            **self._header(interval.end_s),
            interval_s=interval.length_s,
            energy_kwh=part.energy_kwh,
            emissions_kg=part.emissions_kg,
            energy_low_kwh=part.energy_low_kwh,
            energy_high_kwh=part.energy_high_kwh,
            measured_energy_kwh=part.measured_energy_kwh,
            cumulative_energy_kwh=total.energy_kwh,
            cumulative_emissions_kg=total.emissions_kg,
            cumulative_energy_low_kwh=total.energy_low_kwh,
            cumulative_energy_high_kwh=total.energy_high_kwh,
            cumulative_measured_energy_kwh=total.measured_energy_kwh,
            power_avg_w=self.power_avg_w,
            power_max_w=max(interval.power_max_w, self.power_avg_w),
            grid_intensity_g_per_kwh=grid.g_per_kwh,
            grid_intensity_source=grid.label,
            grid_intensity_kind=grid.kind,
            pue=self._price.pue,
            cpu_utilization_pct=interval.mean_use_pct(DeviceKind.CPU),
            cpu_steal_pct=interval.cpu_steal_pct,
            memory_used_bytes=interval.memory_bytes(),
            gpu_utilization_pct=interval.mean_use_pct(DeviceKind.GPU),
            devices=devices,
        )

    def _header(self, at_s: float) -> dict[str, Any]:
        """Return identity, time and metadata of the next event; a held back step is dated no earlier than the last."""
        timestamp = self._timestamp(at_s)
        if self._last_timestamp is not None:
            timestamp = max(timestamp, self._last_timestamp)
        self._last_timestamp = timestamp
        seq, self.seq = self.seq, self.seq + 1
        return {**self._context, "seq": seq, "timestamp": timestamp}
