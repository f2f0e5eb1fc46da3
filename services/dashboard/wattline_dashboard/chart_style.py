"""How all charts look: what they leave to the page, the room around them, fonts, the hatch of what is simulated."""

from __future__ import annotations

from typing import Any

__all__ = ["AXIS_FONT", "HATCH", "LEGEND", "layout"]

AXIS_FONT = {"size": 13}
HATCH = {"shape": "/", "size": 6, "solidity": 0.45}
LEGEND = {"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0.0}


def layout(height_px: int) -> dict[str, Any]:
    """Return what every figure's layout begins with."""
    return {
        "template": "none",  # colours and fonts are the page's
        "height": height_px,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "uirevision": "kept",  # a viewer's zoom outlives the next refresh
    }
