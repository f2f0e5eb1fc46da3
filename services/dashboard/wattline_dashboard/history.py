"""What one viewer already has of a run's raw events, and which identities are still to be fetched.

The embedded store finds fast by exact `_id` only, and an identity is run|source|seq: so a live page asks for the
numbers it has not seen. A run with too many events is thinned by number, the same way at every look.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from wattline_common.store import Document, event_id

__all__ = ["MAX_HELD", "RunHistory", "Sample", "Step"]

MAX_HELD = 8_000  # raw events of one run in one viewer's session
_MOST_LOOKED_AT = 1_000_000  # of a source's numbers, the newest: it may give itself any, and all of them take for ever
_MAX_TRIES = 5  # a number that was never found was dropped at the source or refused by the stream
_SPREAD = 2_654_435_761  # odd, near 2**32 over the golden ratio: picks numbers that follow no rhythm of the source


@dataclass(frozen=True, slots=True)
class Sample:
    """A HardwareSampled event, as charts need it."""

    source_id: str
    timestamp_us: int
    interval_s: float
    power_w: Mapping[str, float]  # by kind of device
    kind_energy_kwh: Mapping[str, float]
    energy_kwh: float  # these four are running totals of the source
    energy_low_kwh: float
    energy_high_kwh: float
    emissions_kg: float
    interval_energy_kwh: float = 0.0
    cpu_utilization_pct: float | None = None
    gpu_utilization_pct: float | None = None
    devices: Mapping[str, tuple[str, float]] = field(default_factory=dict)  # kind and power in W, by the device's name


@dataclass(frozen=True, slots=True)
class Step:
    """A StepCompleted event, as charts need it."""

    source_id: str
    timestamp_us: int
    loss: float | None
    accuracy: float | None
    epoch: int | None = None
    samples: int | None = None
    steps_covered: int = 1


class RunHistory:
    """Raw events of one run, gathered over the life of a page."""

    def __init__(self, run_id: str, *, max_held: int = MAX_HELD) -> None:
        self.run_id = run_id
        self.max_held = max_held
        self._events: dict[str, Sample | Step | None] = {}
        self._tries: Counter[str] = Counter()
        self._level = 0

    @property
    def thinning(self) -> int:
        """How many events there are for each one that is asked for: 1, 2, 4 and so on."""
        return 1 << self._level

    @property
    def samples(self) -> list[Sample]:
        """The samples in order of event time."""
        return sorted(
            (each for each in self._events.values() if isinstance(each, Sample)), key=lambda each: each.timestamp_us
        )

    @property
    def steps(self) -> list[Step]:
        """The steps in order of event time."""
        return sorted(
            (each for each in self._events.values() if isinstance(each, Step)), key=lambda each: each.timestamp_us
        )

    def missing(self, seq_max: Mapping[str, int], limit: int) -> list[str]:
        """Return at most ``limit`` identities that are not here yet, and count the asking."""
        total = sum(highest + 1 for highest in seq_max.values())
        self._level = min(32, max(0, math.ceil(math.log2(max(total, 1) / self.max_held))))
        wanted = (
            event_id(self.run_id, source_id, seq)
            for source_id, highest in seq_max.items()
            for seq in range(highest, max(-1, highest - _MOST_LOOKED_AT), -1)
            if self._is_kept(seq, highest)
        )
        asked: list[str] = []
        for identity in wanted:
            if len(asked) == limit:
                break
            if identity not in self._events and self._tries[identity] < _MAX_TRIES:
                asked.append(identity)
        self._tries.update(asked)
        return asked

    def add(self, documents: Iterable[Document]) -> None:
        """Keep what was found."""
        for document in documents:
            self._events[document["_id"]] = _event(document)
            self._tries.pop(document["_id"], None)

    def _is_kept(self, seq: int, highest: int) -> bool:
        """Say whether a number is asked for: the newest always, so that the curves end where the figures do."""
        return seq == highest or not (seq * _SPREAD % 2**32) >> (32 - self._level)


def _event(document: Document) -> Sample | Step | None:
    match document["event_type"]:
        case "HardwareSampled":
            return _sample(document)
        case "StepCompleted":
            return Step(
                source_id=document["source_id"],
                timestamp_us=document["timestamp_us"],
                loss=document.get("loss"),
                accuracy=document.get("accuracy"),
                epoch=document.get("epoch"),
                samples=document.get("samples"),
                steps_covered=document.get("steps_covered") or 1,
            )
    return None


def _sample(document: Document) -> Sample:
    power_w: Counter[str] = Counter()
    kind_energy_kwh: Counter[str] = Counter()
    for device in document.get("devices", ()):
        power_w[device["kind"]] += device["power_w"]
        kind_energy_kwh[device["kind"]] += device["energy_kwh"]
    return Sample(
        source_id=document["source_id"],
        timestamp_us=document["timestamp_us"],
        interval_s=document["interval_s"],
        power_w=power_w or {"OTHER": document["power_avg_w"]},
        kind_energy_kwh=kind_energy_kwh,
        energy_kwh=document["cumulative_energy_kwh"],
        energy_low_kwh=document["cumulative_energy_low_kwh"],
        energy_high_kwh=document["cumulative_energy_high_kwh"],
        emissions_kg=document["cumulative_emissions_kg"],
        interval_energy_kwh=document.get("energy_kwh", 0.0),
        cpu_utilization_pct=document.get("cpu_utilization_pct"),
        gpu_utilization_pct=document.get("gpu_utilization_pct"),
        devices={device["device_id"]: (device["kind"], device["power_w"]) for device in document.get("devices", ())},
    )
