"""The shapes of a run's curves, and how each is brought down to a number of points that a browser likes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

__all__ = ["KINDS", "MAX_POINTS", "Banded", "Learning", "Power", "RunSeries"]

KINDS = ("CPU", "GPU", "MEMORY", "OTHER")
MAX_POINTS = 1_000  # of one curve

T = TypeVar("T", int, float)


@dataclass(frozen=True, slots=True)
class Power:
    """Power of the run in W by kind of device, or by device, at each moment (microseconds since 1970)."""

    times_us: list[int] = field(default_factory=list)
    watts: Mapping[str, list[float]] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)  # of devices; without it the names are kinds

    def thinned(self) -> Power:
        """Return it with at most `MAX_POINTS`, each the mean of those it stands for."""
        stride = _stride(len(self.times_us))
        thinned = {name: _mean(watts, stride) for name, watts in self.watts.items()}
        return Power(_last(self.times_us, stride), thinned, self.kinds)


@dataclass(frozen=True, slots=True)
class Banded:
    """A running total of the run with its band."""

    times_us: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)

    def append(self, value: float, low: float, high: float) -> None:
        """Add one point's figures; its time is added by the caller."""
        self.value.append(value)
        self.low.append(low)
        self.high.append(high)

    def at(self, time_us: int) -> float:
        """Return the value at a moment, growing evenly between two points; before the first it is what it was there."""
        after = bisect_right(self.times_us, time_us)
        if after == len(self.times_us):
            return self.value[-1] if self.value else 0.0
        if after == 0:
            return self.value[0]
        (from_us, to_us), (low, high) = self.times_us[after - 1 : after + 1], self.value[after - 1 : after + 1]
        return low + (high - low) * (time_us - from_us) / (to_us - from_us)

    def thinned(self) -> Banded:
        """Return it with at most `MAX_POINTS`, each the last of those it stands for."""
        stride = _stride(len(self.times_us))
        columns = (_last(column, stride) for column in (self.value, self.low, self.high))
        return Banded(_last(self.times_us, stride), *columns)


@dataclass(frozen=True, slots=True)
class Learning:
    """Loss or accuracy of one source."""

    source_id: str
    times_us: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def thinned(self) -> Learning:
        """Return it with at most `MAX_POINTS`, each the mean of those it stands for."""
        stride = _stride(len(self.times_us))
        return Learning(self.source_id, _last(self.times_us, stride), _mean(self.values, stride))


@dataclass(frozen=True, slots=True)
class RunSeries:
    """All curves of a run; ``kind_energy`` tells how its energy splits, in any unit."""

    power: Power = field(default_factory=Power)
    energy_kwh: Banded = field(default_factory=Banded)
    emissions_kg: Banded = field(default_factory=Banded)
    loss: Sequence[Learning] = ()
    accuracy: Sequence[Learning] = ()
    kind_energy: Mapping[str, float] = field(default_factory=dict)
    grain: str = ""  # what one point stands for

    @property
    def is_empty(self) -> bool:
        """Say whether nothing was sampled yet."""
        return not self.energy_kwh.times_us


def _stride(points: int) -> int:
    """Return the power of two that brings a curve under `MAX_POINTS`: it changes seldom while the curve grows."""
    stride = 1
    while points > MAX_POINTS * stride:
        stride *= 2
    return stride


def _last(values: Sequence[T], stride: int) -> list[T]:
    return [values[min(start + stride, len(values)) - 1] for start in range(0, len(values), stride)]


def _mean(values: Sequence[float], stride: int) -> list[float]:
    groups = (values[start : start + stride] for start in range(0, len(values), stride))
    return [sum(group) / len(group) for group in groups]
