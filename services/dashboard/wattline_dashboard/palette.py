"""Colours of the charts: one set that stands out from the light and from the dark background alike.

The same ten are `chartCategoricalColors` in .streamlit/config.toml; a test keeps the two and the contrast in step.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

__all__ = [
    "BUDGET_COLOUR",
    "CATEGORICAL",
    "EMISSIONS_COLOUR",
    "ENERGY_COLOUR",
    "KIND_COLOURS",
    "NEUTRAL_COLOUR",
    "REAL_COLOUR",
    "SIMULATED_COLOUR",
    "run_colours",
    "translucent",
]

CATEGORICAL = (
    *("#0072b2", "#d55e00", "#009e73", "#b5588f", "#7f7f7f"),
    *("#8c6bd6", "#a17a00", "#0f8aa6", "#d6455d", "#5a8f29"),
)
KIND_COLOURS = {"CPU": CATEGORICAL[0], "GPU": CATEGORICAL[1], "MEMORY": CATEGORICAL[2], "OTHER": CATEGORICAL[3]}
ENERGY_COLOUR = CATEGORICAL[5]
EMISSIONS_COLOUR = CATEGORICAL[6]
REAL_COLOUR = CATEGORICAL[7]
SIMULATED_COLOUR = CATEGORICAL[5]
BUDGET_COLOUR = CATEGORICAL[8]
NEUTRAL_COLOUR = CATEGORICAL[4]
_RUN_COLOURS = tuple(colour for colour in CATEGORICAL if colour not in (NEUTRAL_COLOUR, REAL_COLOUR))  # near blue


def run_colours(run_ids: Iterable[str]) -> dict[str, str]:
    """Return a colour for each run: its own, by its identity, wherever it is shown.

    Of runs shown together that would have the same, the later in the alphabet takes the next that is free.
    """
    colours: dict[str, str] = {}
    for run_id in sorted(set(run_ids)):
        own = zlib.crc32(run_id.encode()) % len(_RUN_COLOURS)
        in_order = _RUN_COLOURS[own:] + _RUN_COLOURS[:own]
        colours[run_id] = next((colour for colour in in_order if colour not in colours.values()), in_order[0])
    return colours


def translucent(colour: str, opacity: float) -> str:
    """Return a #rrggbb colour as CSS with an opacity."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
