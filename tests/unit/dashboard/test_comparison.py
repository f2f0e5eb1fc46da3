"""Runs beside each other: which ones a URL names, learning over what was used, and the Pareto front."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline_dashboard.comparison import Cost, costs, front, runs_from_url, runs_to_url
from wattline_dashboard.curves import Banded, Learning
from wattline_dashboard.palette import NEUTRAL_COLOUR, run_colours

POINTS = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1)), min_size=1, max_size=40)
RUN_IDS = st.text(st.characters(blacklist_characters=".$|", blacklist_categories=["C"]), min_size=1, max_size=20)


@given(st.lists(RUN_IDS.map(str.strip).filter(bool), unique=True, max_size=6))
def test_a_url_names_the_runs_it_was_made_of(run_ids: list[str]) -> None:
    """Any identity goes into the URL and comes back, those with a comma too."""
    assert runs_from_url(runs_to_url(run_ids)) == run_ids


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        (None, []),
        ("", []),
        (",,", []),
        ("a,b,a", ["a", "b"]),
        ("a, b", ["a", "b"]),
        ("$where,a.b,a", ["a"]),
        ("a\x00,b", ["b"]),
        ("x" * 300, []),
    ],
)
def test_what_can_be_no_run_is_left_out(text: str | None, runs: list[str]) -> None:
    """A URL is untrusted: only identities that the contract allows are taken, each once."""
    assert runs_from_url(text) == runs


def test_learning_is_set_against_what_the_whole_run_had_used() -> None:
    """Between two samples, and before the first, energy was used evenly; after the last, no more is claimed."""
    used = Banded([20, 40], [2.0, 6.0], [2.0, 6.0], [2.0, 6.0])
    (curve,) = costs([Learning("s", [10, 20, 30, 40, 50], [5, 4, 3, 2, 1])], used, since_us=0)
    assert curve.used == [1.0, 2.0, 4.0, 6.0, 6.0]
    assert curve.values == [5, 4, 3, 2, 1]
    assert costs([Learning("s", [10], [5])], Banded(), since_us=0) == []


@given(POINTS, st.booleans())
def test_the_front_is_what_no_other_point_beats(points: list[tuple[float, float]], highest_is_best: bool) -> None:
    """A point is on the front exactly when none is better that had used less or as much."""
    curve = Cost([used for used, _ in points], [value for _, value in points])
    on_front = front([curve], highest_is_best=highest_is_best)
    sign = -1 if highest_is_best else 1
    wanted = {
        (used, value)
        for used, value in points
        if not any(
            (other <= used and sign * better < sign * value) or (other < used and better == value)
            for other, better in points
        )
    }
    assert set(zip(on_front.used, on_front.values, strict=True)) == wanted
    assert list(on_front.used) == sorted(on_front.used)


def test_numbers_that_are_none_are_on_no_front() -> None:
    """A loss that has run away is no point at all."""
    assert front([Cost([1, 2, 3], [float("nan"), float("inf"), 1.0])], highest_is_best=False) == Cost([3], [1.0])


@given(st.lists(RUN_IDS, unique=True, max_size=6))
def test_a_run_has_one_colour_whatever_the_order(run_ids: list[str]) -> None:
    """Colours are told apart on one page, are none that means something else, and do not hang on the order."""
    colours = run_colours(run_ids)
    assert len(set(colours.values())) == len(run_ids)
    assert NEUTRAL_COLOUR not in colours.values()
    assert colours == run_colours(run_ids[::-1])
    for run_id in run_ids:
        assert run_colours([run_id])[run_id] == colours[run_id] or any(
            colours[other] == run_colours([run_id])[run_id] for other in run_ids if other != run_id
        )
