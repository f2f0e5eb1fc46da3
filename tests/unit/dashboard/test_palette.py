"""Colours that everybody can tell apart, on both backgrounds."""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import wattline_dashboard
from wattline_dashboard.palette import CATEGORICAL, KIND_COLOURS, translucent

CONFIG = tomllib.loads((Path(wattline_dashboard.__file__).parent / ".streamlit" / "config.toml").read_text())
DEUTERANOPIA = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881))
PROTANOPIA = ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998))
NORMAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
RGB_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
Vector = npt.NDArray[np.float64]


def _linear(colour: str) -> Vector:
    channels = np.array([int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    linear: Vector = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear


def _contrast(one: str, other: str) -> float:
    """Contrast ratio of WCAG 2."""
    luminances = sorted(float(_linear(colour) @ [0.2126, 0.7152, 0.0722]) + 0.05 for colour in (one, other))
    return luminances[1] / luminances[0]


def _lab(linear: Vector) -> Vector:
    scaled = np.cbrt(np.clip(np.array(RGB_TO_XYZ) @ linear / [0.95047, 1.0, 1.08883], 1e-9, None))
    return np.array([116 * scaled[1] - 16, 500 * (scaled[0] - scaled[1]), 200 * (scaled[1] - scaled[2])])


def test_streamlit_has_the_same_ten() -> None:
    """Streamlit needs ten colours, and they are the charts' own."""
    assert tuple(CONFIG["theme"]["chartCategoricalColors"]) == CATEGORICAL
    assert len(set(CATEGORICAL)) == 10


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_stand_out(theme: str) -> None:
    """Every chart colour has the contrast that WCAG asks of graphics (3:1), text that of text (7:1)."""
    background = CONFIG["theme"][theme]["backgroundColor"]
    assert {colour: _contrast(colour, background) for colour in CATEGORICAL if _contrast(colour, background) < 3} == {}
    assert _contrast(CONFIG["theme"][theme]["textColor"], background) >= 7
    assert _contrast(CONFIG["theme"][theme]["linkColor"], background) >= 4.5


@pytest.mark.parametrize("eye", [NORMAL, DEUTERANOPIA, PROTANOPIA], ids=["normal", "deuteranopia", "protanopia"])
def test_kinds_are_told_apart(eye: tuple[tuple[float, ...], ...]) -> None:
    """The kinds of devices look different to colour-blind eyes too (distance in CIELAB, 10 is plain to see)."""
    seen = {kind: _lab(np.clip(np.array(eye) @ _linear(colour), 0, 1)) for kind, colour in KIND_COLOURS.items()}
    nearest = min(float(np.linalg.norm(seen[one] - seen[other])) for one, other in itertools.combinations(seen, 2))
    assert nearest > 15


def test_translucent_keeps_the_hue() -> None:
    """The band of a line has the line's colour."""
    assert translucent("#0072b2", 0.2) == "rgba(0,114,178,0.2)"
