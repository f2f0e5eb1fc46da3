"""How fast a measure grows, by what no odd reading can bend: the median of the slopes between any two."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Sequence

__all__ = ["slope"]


def slope(lives: Iterable[Sequence[tuple[float, float]]]) -> float | None:
    """Return the Theil-Sen slope of (x, y) readings, in y per x; none where no two of them can be compared.

    Only readings of the same life are: what was started anew begins anew.
    """
    slopes = [
        (later_y - y) / (later_x - x)
        for readings in lives
        for (x, y), (later_x, later_y) in itertools.combinations(sorted(readings), 2)
        if later_x > x
    ]
    return statistics.median(slopes) if slopes else None
