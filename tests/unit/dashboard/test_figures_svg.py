"""Drawings for paper: every point where it belongs."""

from __future__ import annotations

import math

from hypothesis import example, given
from hypothesis import strategies as st

from wattline_dashboard.figures_svg import HEIGHT_PX, WIDTH_PX, Line, draw

values = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=1000)


def _points(path: str) -> list[tuple[float, float]]:
    numbers = path.removesuffix("Z").removeprefix("M").replace("L", "").split()
    return [(float(x), float(y)) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]


@given(values)
@example([5e-324])  # a part of the least number is none
@example([-0.2, -0.5, -0.9])
@example([-3.0, -4.0])
@example([0.5, -2.0])
@example([1.7e308, -1.7e308])
def test_every_point_is_on_the_sheet(y: list[float]) -> None:
    """Whatever the values, the curve and its ticks stay inside, the axis holds 0, and few points are drawn."""
    drawing = draw("t", [Line(list(range(len(y))), y, "#000000", y, y)], x_unit="min", words="w")
    assert drawing is not None
    for path, _ in (*drawing.paths, *drawing.bands):
        points = _points(path)
        assert all(0 <= px <= WIDTH_PX and 0 <= py <= HEIGHT_PX for px, py in points)
        assert len(points) <= 2 * 401
    assert "0" in [label for _, label in drawing.y_ticks]
    assert 2 <= len(drawing.y_ticks) <= 7
    assert all(0 <= py <= HEIGHT_PX for py, _ in drawing.y_ticks)


def test_a_points_height_is_its_value() -> None:
    """Half the top tick is half the height."""
    drawing = draw("t", [Line([0, 1, 2], [0, 50, 100], "#000000")], x_unit="h", words="w")
    assert drawing is not None
    (_, low), (_, middle), (_, high) = _points(drawing.paths[0][0])
    assert math.isclose(middle, (low + high) / 2, abs_tol=0.1)
    assert [label for _, label in drawing.y_ticks] == ["0", "25", "50", "75", "100"]
    assert drawing.x_ticks[0][1] == "0 h"


def test_nothing_is_drawn_of_nothing() -> None:
    """No curve, no drawing."""
    assert draw("t", [], x_unit="h", words="w") is None
    assert draw("t", [Line([], [], "#000000")], x_unit="h", words="w") is None
