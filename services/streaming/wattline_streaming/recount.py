"""What raw events add up to, by source and by window: counted anew, without a look at what was made of them before."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from wattline_common import store
from wattline_common.events import HardwareSampled, RunFinished
from wattline_common.store import Document
from wattline_common.sums import total

__all__ = ["RAW_FIELDS", "TOTALS", "RunCount", "SourceCount", "WindowCount", "close"]

_RELATIVE_TOLERANCE = 1e-9
TOTALS = ("energy_kwh", "emissions_kg")
RAW_FIELDS = dict.fromkeys(
    (
        *("run_id", "source_id", "seq", "event_type", "timestamp_us", *TOTALS),
        *(f"cumulative_{name}" for name in TOTALS),
        *(f"source_{name}" for name in TOTALS),
        "events_emitted",
    ),
    1,
)


def close(one: float, other: float) -> bool:
    """Return whether two sums of the same figures agree."""
    return math.isclose(one, other, rel_tol=_RELATIVE_TOLERANCE, abs_tol=1e-15)


@dataclass(slots=True)
class SourceCount:
    """What the raw events of one source add up to."""

    events: int = 0
    seq_max: int = -1
    first_us: int | None = None
    last_us: int | None = None
    sampled: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in TOTALS})
    cumulative: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TOTALS, 0.0))  # the highest
    finished: Document | None = None

    @property
    def complete(self) -> bool:
        """Whether no seq is missing between 0 and the highest known."""
        emitted = self.finished["events_emitted"] if self.finished else 0
        return self.events == max(self.seq_max + 1, emitted)

    def total(self, name: str) -> float:
        """Return the sum of the samples' figures."""
        return total(self.sampled[name])

    def contradictions(self) -> Iterator[str]:
        """Yield where events that are all there contradict each other: then one of them was changed."""
        for name in TOTALS if self.complete else ():
            said = {"highest running total": self.cumulative[name]}
            if self.finished:
                said["last event"] = self.finished[f"source_{name}"]
            for who, value in said.items():
                if not close(value, self.total(name)):
                    yield f"its {who} says {name}={value!r}, its samples sum to {self.total(name)!r}"

    def add(self, event: Document) -> None:
        """Count a raw event."""
        at_us = event["timestamp_us"]
        self.events += 1
        self.seq_max = max(self.seq_max, event["seq"])
        self.first_us = at_us if self.first_us is None else min(self.first_us, at_us)
        self.last_us = at_us if self.last_us is None else max(self.last_us, at_us)
        if event["event_type"] == HardwareSampled.__name__:
            for name in TOTALS:
                self.sampled[name].append(event[name])
                self.cumulative[name] = max(self.cumulative[name], event[f"cumulative_{name}"])
        elif event["event_type"] == RunFinished.__name__:
            self.finished = event


@dataclass(slots=True)
class WindowCount:
    """What the raw events of one window add up to."""

    start_us: int = 0
    events: int = 0
    sampled: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in TOTALS})

    def add(self, event: Document) -> None:
        """Count a raw event."""
        self.start_us = store.window_start_us(event["timestamp_us"])
        self.events += 1
        if event["event_type"] == HardwareSampled.__name__:
            for name in TOTALS:
                self.sampled[name].append(event[name])

    def agrees(self, aggregate: Document) -> bool:
        """Return whether a stored window has the same events and sums."""
        counts = (aggregate.get("events"), aggregate.get("samples"))
        return counts == (self.events, len(self.sampled["energy_kwh"])) and all(
            close(aggregate.get(name, math.nan), total(figures)) for name, figures in self.sampled.items()
        )


@dataclass(slots=True)
class RunCount:
    """What the raw events of one run add up to; windows by their id."""

    sources: dict[str, SourceCount] = field(default_factory=lambda: defaultdict(SourceCount))
    windows: dict[str, WindowCount] = field(default_factory=lambda: defaultdict(WindowCount))

    @property
    def events(self) -> int:
        """How many events there are."""
        return sum(source.events for source in self.sources.values())

    def total(self, name: str) -> float:
        """Return the sum of all samples' figures."""
        return total(figure for source in self.sources.values() for figure in source.sampled[name])

    def add(self, event: Document) -> None:
        """Count a raw event."""
        self.sources[event["source_id"]].add(event)
        window = store.window_id(event["run_id"], store.window_start_us(event["timestamp_us"]))
        self.windows[window].add(event)
