"""Curves as small drawings for paper: SVG paths and the labels of their axes; pure, without a script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["HEIGHT_PX", "WIDTH_PX", "Drawing", "Line", "draw"]

WIDTH_PX, HEIGHT_PX = 340, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 8, 22
_MOST_POINTS = 400
_TICKS = 4
_NICE = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: its points, in whatever units the axes have; ``low`` and ``high`` are its band, if it has one."""

    x: Sequence[float]
    y: Sequence[float]
    colour: str
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Drawing:
    """What a template needs: paths in pixels, and where each label of an axis stands."""

    title: str
    words: str  # what it shows, for who cannot see it
    paths: Sequence[tuple[str, str]]  # SVG path, colour
    bands: Sequence[tuple[str, str]]
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]


def draw(title: str, lines: Sequence[Line], *, x_unit: str, words: str) -> Drawing | None:
    """Return the drawing of curves on common axes that hold 0, or none where there is nothing to draw."""
    points = [(x, y) for line in lines for x, y in zip(line.x, line.y, strict=True)]
    if not points:
        return None
    heights = [_bounded(y) for line in lines for y in (*line.y, *line.low, *line.high)]
    highest, lowest = max(0.0, *heights), min(0.0, *heights)
    x_step, y_step = _step(max(x for x, _ in points)), _step(highest - lowest)
    x_top, y_bottom = max(x for x, _ in points) or x_step, y_step * math.floor(lowest / y_step)
    y_top = max(y_step * math.ceil(highest / y_step), y_bottom + y_step)

    def height(y: float) -> float:
        return HEIGHT_PX - _BOTTOM - (_bounded(y) - y_bottom) / (y_top - y_bottom) * _INNER[1]

    def at(x: float, y: float) -> str:
        return f"{_LEFT + x / x_top * _INNER[0]:.1f} {height(y):.1f}"

    return Drawing(
        title=title,
        words=words,
        paths=[(_path([at(x, y) for x, y in _thinned(line.x, line.y)]), line.colour) for line in lines if line.x],
        bands=[
            (
                _path(
                    [
                        *(at(x, y) for x, y in _thinned(line.x, line.high)),
                        *(at(x, y) for x, y in reversed(_thinned(line.x, line.low))),
                    ]
                )
                + "Z",
                line.colour,
            )
            for line in lines
            if line.high and line.low
        ],
        x_ticks=[
            (_LEFT + x / x_top * _INNER[0], f"{x:g}{f' {x_unit}' if x == 0 else ''}")
            for x in _ticks(x_step, 0.0, x_top)
        ],
        y_ticks=[(height(y), f"{y:g}") for y in _ticks(y_step, y_bottom, y_top)],
    )


_INNER = (WIDTH_PX - _LEFT - _RIGHT, HEIGHT_PX - _TOP - _BOTTOM)
_MOST = 1e300
_NOTHING = 1e-300  # below it, a part of a value is no number that can be divided by


def _bounded(y: float) -> float:
    """Return a value whose difference to any other is a number."""
    return max(-_MOST, min(y, _MOST))


def _step(highest: float) -> float:
    """Return the distance of ticks: 1, 2, 2.5 or 5 times a power of ten, some `_TICKS` up to the highest value."""
    if highest < _NOTHING:
        return 1.0
    rough = highest / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(nice * power for nice in _NICE if nice * power >= rough * (1 - 1e-9))


def _ticks(step: float, bottom: float, top: float) -> list[float]:
    first, last = math.ceil(bottom / step * (1 + 1e-9)), math.floor(top / step * (1 + 1e-9))
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def _thinned(x: Sequence[float], y: Sequence[float]) -> list[tuple[float, float]]:
    stride = math.ceil(len(x) / _MOST_POINTS)
    kept = list(zip(x, y, strict=True))
    return kept if stride <= 1 else [*kept[:-1:stride], kept[-1]]


def _path(points: Sequence[str]) -> str:
    return f"M{' L'.join(points)}"
