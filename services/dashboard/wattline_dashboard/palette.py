"""Colours of the charts: one set that stands out from the light and from the dark background alike.

The same ten are `chartCategoricalColors` in .streamlit/config.toml; a test keeps the two and the contrast in step.
"""

from __future__ import annotations

__all__ = [
    "CATEGORICAL",
    "EMISSIONS_COLOUR",
    "ENERGY_COLOUR",
    "KIND_COLOURS",
    "REAL_COLOUR",
    "SIMULATED_COLOUR",
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


def translucent(colour: str, opacity: float) -> str:
    """Return a #rrggbb colour as CSS with an opacity."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
