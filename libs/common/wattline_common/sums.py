"""The one way to add up what producers say: a sum that no numbers can break."""

from __future__ import annotations

import math
from collections.abc import Iterable

__all__ = ["total"]


def total(values: Iterable[float]) -> float:
    """Return the sum, rounded once; infinite or NaN where it is too large for a double, which must stop nothing."""
    numbers = list(values)
    try:
        return math.fsum(numbers)
    except (OverflowError, ValueError):
        return float(sum(numbers))
