"""Well-formed events for tests: a run told as its tracker would tell it, and any event with what a test changes."""

from __future__ import annotations

import datetime
import random
from typing import Any

from wattline_common.events import (
    DeviceKind,
    DeviceReading,
    Event,
    HardwareSampled,
    Method,
    RunFinished,
    RunStarted,
    RunStatus,
    StepCompleted,
)

__all__ = ["START", "run_events", "sample"]

START = datetime.datetime(2026, 3, 1, 12, 0, 0, tzinfo=datetime.UTC)


def sample(**changes: Any) -> HardwareSampled:
    """Return a consistent HardwareSampled of 10 W over one second, with the changes."""
    energy_kwh = changes.pop("energy_kwh", 10.0 / 3.6e6)
    pue, intensity = changes.pop("pue", 1.2), changes.pop("grid_intensity_g_per_kwh", 56.0)
    device = DeviceReading(
        device_id="cpu",
        kind=DeviceKind.CPU,
        power_w=energy_kwh * 3.6e6,
        energy_kwh=energy_kwh,
        energy_low_kwh=energy_kwh / 2,
        energy_high_kwh=energy_kwh * 2,
        method=Method.MODELLED,
    )
    fields: dict[str, Any] = {
        "run_id": "run",
        "source_id": "source",
        "seq": 1,
        "timestamp": START,
        "interval_s": 1.0,
        "energy_kwh": energy_kwh,
        "emissions_kg": energy_kwh * pue * intensity / 1000,
        "energy_low_kwh": energy_kwh / 2,
        "energy_high_kwh": energy_kwh * 2,
        "measured_energy_kwh": 0.0,
        "cumulative_energy_kwh": energy_kwh,
        "cumulative_emissions_kg": energy_kwh * pue * intensity / 1000,
        "cumulative_energy_low_kwh": energy_kwh / 2,
        "cumulative_energy_high_kwh": energy_kwh * 2,
        "cumulative_measured_energy_kwh": 0.0,
        "power_avg_w": energy_kwh * 3.6e6,
        "power_max_w": energy_kwh * 3.6e6,
        "pue": pue,
        "grid_intensity_g_per_kwh": intensity,
        "grid_intensity_source": "FRA: a test",
        "cpu_utilization_pct": 50.0,
        "devices": [device],
    }
    return HardwareSampled(**(fields | changes))


def run_events(
    run_id: str,
    *,
    source_id: str = "source",
    samples: int = 10,
    start: datetime.datetime = START,
    seed: int = 0,
    finished: bool = True,
) -> list[Event]:
    """Return the events of one source of a run: a start, a sample and a step a second, an end."""
    rng = random.Random(seed)
    head: dict[str, Any] = {
        "run_id": run_id,
        "source_id": source_id,
        "user_id": "ada",
        "model_name": "mlp",
        "region_iso": "FRA",
    }
    events: list[Event] = [RunStarted(**head, seq=0, timestamp=start, hyperparameters={"a.b": "$1"}, planned_epochs=1)]
    energy_kwh = emissions_kg = 0.0
    for second in range(1, samples + 1):
        now = start + datetime.timedelta(seconds=second)
        one = sample(energy_kwh=rng.uniform(1, 50) / 3.6e6, cpu_utilization_pct=rng.uniform(0, 100))
        energy_kwh += one.energy_kwh
        emissions_kg += one.emissions_kg
        cumulative = {
            "cumulative_energy_kwh": energy_kwh,
            "cumulative_emissions_kg": emissions_kg,
            "cumulative_energy_low_kwh": energy_kwh / 2,
            "cumulative_energy_high_kwh": energy_kwh * 2,
        }
        fields = {name: getattr(one, name) for name in HardwareSampled.__slots__} | head | cumulative
        events.append(HardwareSampled(**(fields | {"seq": len(events), "timestamp": now})))
        step: dict[str, Any] = {"epoch": 0, "step": second, "loss": 1 / second, "accuracy": 1 - 1 / second}
        sums: dict[str, Any] = {"cumulative_energy_kwh": energy_kwh, "cumulative_emissions_kg": emissions_kg}
        events.append(StepCompleted(**head, **step, **sums, seq=len(events), timestamp=now))
    if finished:
        events.append(
            RunFinished(
                **head,
                seq=len(events),
                timestamp=start + datetime.timedelta(seconds=samples),
                status=RunStatus.COMPLETED,
                duration_s=float(samples),
                source_energy_kwh=energy_kwh,
                source_emissions_kg=emissions_kg,
                events_emitted=len(events) + 1,
            )
        )
    return events
