"""Seeded chance: the same words give the same draws, on every machine and in every Python process."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import TypeVar

__all__ = ["log_between", "pick", "seeded"]

T = TypeVar("T")


def seeded(*words: object) -> random.Random:
    """Return a generator of its own for what the words name."""
    return random.Random(":".join(map(str, words)))  # noqa: S311  # a simulation, not a secret


def pick(weights: Mapping[T, float], at: float) -> T:
    """Return the key in whose part of the whole ``at`` (0 to 1) lies."""
    left = at * math.fsum(weights.values())
    for key, weight in weights.items():
        left -= weight
        if left < 0:
            return key
    return key


def log_between(low: float, high: float, at: float) -> float:
    """Return the value at a share (0 to 1) of the way from low to high, on a logarithmic scale."""
    value: float = low * (high / low) ** at
    return value
