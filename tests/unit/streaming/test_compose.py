"""Promises of the rollups as pure functions: hours and days are the windows' own sums and means, in any order."""

from __future__ import annotations

import datetime
import math
import random
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.windows import MIDNIGHT, column, histories, window
from wattline_common.store import DAY_S, HOUR_S, MEAN_WEIGHTS, ROLLUP_DIMENSIONS, Document, Rollup
from wattline_common.sums import total
from wattline_streaming.compose import all_rollups, floor, run_hours

SUMS = [
    *("energy_kwh", "energy_low_kwh", "energy_high_kwh", "measured_energy_kwh", "energy_cpu_kwh", "energy_gpu_kwh"),
    *("energy_memory_kwh", "energy_other_kwh", "emissions_kg", "interval_s"),
]
COUNTS = ["events", "samples", "cpu_utilization_count", "gpu_utilization_count", "loss_count", "accuracy_count"]
DIMENSIONS = st.sampled_from(ROLLUP_DIMENSIONS)
LENGTHS_S = st.sampled_from([HOUR_S, DAY_S])


def rolled_up(windows: Iterable[Document]) -> list[Rollup]:
    """Return all rollups of the windows."""
    return all_rollups(run_hours(windows))


def of(rollups: Iterable[Rollup], dimension: str, length_s: int) -> list[Rollup]:
    """Return the rollups of one dimension and length."""
    return [each for each in rollups if (each["dimension"], each["length_s"]) == (dimension, length_s)]


def held(rollup: Rollup, windows: Sequence[Document]) -> list[Document]:
    """Return the windows in a rollup, where every window of a run's hour names the same groups."""
    name = rollup["dimension"]
    return [
        each
        for each in windows
        if rollup["window_start"] <= each["window_start"] < rollup["window_end"]
        and each["aggregate"]["context"]["simulated"] == rollup["simulated"]
        and (each["run_id"] if name == "run_id" else each["aggregate"]["context"][name]) == rollup["key"]
    ]


def steady(windows: list[Document]) -> list[Document]:
    """Return the windows with the groups of their run's first one, as nearly every run has them."""
    first: dict[str, Document] = {}
    for each in windows:
        context = first.setdefault(each["run_id"], each["aggregate"]["context"])
        each["aggregate"]["context"] = {**context, "simulated": each["aggregate"]["context"]["simulated"]}
    return windows


@given(windows=histories(), dimension=DIMENSIONS, length_s=LENGTHS_S)
def test_nothing_is_lost_and_nothing_counted_twice(windows: list[Document], dimension: str, length_s: int) -> None:
    """By whatever dimension and length: the rollups sum to the windows, simulated ones and others apart."""
    rollups = of(rolled_up(windows), dimension, length_s)
    for simulated in (False, True):
        parts = [each["aggregate"] for each in rollups if each["simulated"] == simulated]
        whole = [each for each in windows if each["aggregate"]["context"]["simulated"] == simulated]
        for name in COUNTS:
            assert sum(part[name] for part in parts) == sum(column(whole, name))  # type: ignore[literal-required]  # of a list
        for name in SUMS:
            summed = math.fsum(part[name] for part in parts)  # type: ignore[literal-required]  # of a list
            assert summed == pytest.approx(math.fsum(column(whole, name)), rel=1e-9)
        assert sum(part["windows"] for part in parts) == len(whole)


@given(windows=histories().map(steady), dimension=DIMENSIONS, length_s=LENGTHS_S)
def test_every_figure_is_what_its_windows_say(windows: list[Document], dimension: str, length_s: int) -> None:
    """Sums, counts, extremes, distinct runs, and weighted means equal those taken straight from the windows."""
    for rollup in of(rolled_up(windows), dimension, length_s):
        mine = held(rollup, windows)
        figures: Document = {**rollup["aggregate"]}
        assert mine
        assert {name: figures[name] for name in COUNTS} == {name: sum(column(mine, name)) for name in COUNTS}
        assert {name: figures[name] for name in SUMS} == pytest.approx(
            {name: math.fsum(column(mine, name)) for name in SUMS}, rel=1e-9
        )
        powers_w = [power_w for power_w in column(mine, "power_avg_w") if power_w is not None]
        assert figures["power_min_w"] == min(powers_w, default=None)
        peaks_w = [power_w for power_w in column(mine, "power_max_w") if power_w is not None]
        assert figures["power_max_w"] == max(peaks_w, default=None)
        assert figures["runs"] == len({each["run_id"] for each in mine})
        for mean, weight in MEAN_WEIGHTS.items():
            pairs = [(m, w) for m, w in zip(column(mine, mean), column(mine, weight), strict=True) if m is not None]
            direct = math.fsum(m * w for m, w in pairs) / math.fsum(w for _, w in pairs) if pairs else None
            assert figures[mean] == (None if direct is None else pytest.approx(direct, rel=1e-9))


@given(windows=histories(), seed=st.integers())
def test_the_order_of_windows_does_not_matter(windows: list[Document], seed: int) -> None:
    """Shuffled windows make the same hours to the last bit, and so everything above them."""
    shuffled = windows[:]
    random.Random(seed).shuffle(shuffled)
    hours = {each["_id"]: each for each in run_hours(windows)}
    assert {each["_id"]: each for each in run_hours(shuffled)} == hours
    mixed = list(hours.values())
    random.Random(seed).shuffle(mixed)
    straight = {each["_id"]: each for each in all_rollups(list(hours.values()))}
    assert {each["_id"]: each for each in all_rollups(mixed)} == straight


@given(windows=histories())
def test_identities_bounds_and_groups(windows: list[Document]) -> None:
    """No id comes twice; a rollup starts on its hour or day of UTC; a run's hour is in one group by dimension."""
    rollups = rolled_up(windows)
    assert len({each["_id"] for each in rollups}) == len(rollups)
    for each in rollups:
        assert each["window_start"] == floor(each["window_start"], each["length_s"])
        assert each["window_end"] - each["window_start"] == datetime.timedelta(seconds=each["length_s"])
        assert (each["dimension"] == "run_id") == ("keys" in each)
    hours = of(rollups, "run_id", HOUR_S)
    assert all(len(keys) == 1 for hour in hours for keys in hour["keys"].values())
    for day in of(rollups, "run_id", DAY_S):
        its = [h for h in hours if (h["key"], h["simulated"]) == (day["key"], day["simulated"])]
        its = [h for h in its if floor(h["window_start"], DAY_S) == day["window_start"]]
        assert {name: set(keys) for name, keys in day["keys"].items()} == {
            name: {key for h in its for key in h["keys"][name]} for name in ROLLUP_DIMENSIONS[1:]
        }


def figures(**changes: object) -> Document:
    """Return a window's figures: ten watts for a minute, by ada, without a project."""
    context = {"user_id": "ada", "model_name": "mlp", "region_iso": "FRA", "project": None, "simulated": False}
    sums = dict.fromkeys(SUMS, 0.001) | {"interval_s": 60.0}
    means: Document = dict.fromkeys(MEAN_WEIGHTS, None) | dict.fromkeys(COUNTS, 0)
    return {**sums, **means, "events": 1, "power_avg_w": 10.0, "power_max_w": 12.0, "context": context, **changes}


def test_a_window_of_an_older_version_counts_but_weighs_nothing() -> None:
    """Its sums are there; its means, whose weights nobody noted, have no part."""
    old = {key: value for key, value in figures(loss_avg=9.0).items() if key not in MEAN_WEIGHTS.values()}
    new = figures(loss_avg=1.0, loss_count=3, power_avg_w=30.0)
    minute = datetime.timedelta(minutes=1)
    (hour,) = run_hours([window("run", MIDNIGHT, old), window("run", MIDNIGHT + minute, new)])
    found = hour["aggregate"]
    assert (found["windows"], found["energy_kwh"], found["loss_avg"]) == (2, 0.002, 1.0)
    assert (found["power_avg_w"], found["power_min_w"], found["interval_s"]) == (30.0, 10.0, 60.0)


def test_no_project_is_a_group_of_its_own() -> None:
    """Null is neither the empty name nor the word."""
    projects = [None, "", "null"]
    windows = [
        window(f"run-{number}", MIDNIGHT, figures(context=figures()["context"] | {"project": project}))
        for number, project in enumerate(projects)
    ]
    found = of(rolled_up(windows), "project", DAY_S)
    assert [(each["key"], each["aggregate"]["windows"]) for each in found] == [(project, 1) for project in projects]
    assert len({each["_id"] for each in found}) == 3


def test_a_runs_hour_goes_to_the_highest_group_that_its_windows_name() -> None:
    """As a window's does by its events; the next hour may go to another group, and the day's run is counted in both."""
    moved = figures(context=figures()["context"] | {"user_id": "zoe"})
    starts = [MIDNIGHT + datetime.timedelta(minutes=minute) for minute in (0, 1, 60)]
    windows = [window("run", at, each) for at, each in zip(starts, (figures(), moved, figures()), strict=True)]
    users = {(r["key"], r["length_s"]): r["aggregate"] for r in rolled_up(windows) if r["dimension"] == "user_id"}
    assert {key: each["windows"] for key, each in users.items()} == {
        ("zoe", HOUR_S): 2,
        ("ada", HOUR_S): 1,
        ("zoe", DAY_S): 2,
        ("ada", DAY_S): 1,
    }
    assert [users[key, DAY_S]["runs"] for key in ("ada", "zoe")] == [1, 1]


def test_a_name_that_says_something_goes_before_the_unknown() -> None:
    """Windows in which only `wattline run` spoke do not take the script's hour to another model."""
    said = figures(context=figures()["context"] | {"model_name": "resnet50"})
    unsaid = figures(context=figures()["context"] | {"model_name": "unknown"})
    starts = [MIDNIGHT + datetime.timedelta(minutes=minute) for minute in (0, 1)]
    windows = [window("run", at, each) for at, each in zip(starts, (unsaid, said), strict=True)]
    models = {(r["key"], r["length_s"]) for r in rolled_up(windows) if r["dimension"] == "model_name"}
    assert models == {("resnet50", HOUR_S), ("resnet50", DAY_S)}


@pytest.mark.parametrize("values", [[1e308, 1e308], [math.inf, -math.inf], [math.inf, 1e308, 1e308]])
def test_sums_beyond_a_double_stop_nothing(values: list[float]) -> None:
    """They are infinite or no number; everything else goes on."""
    assert not math.isfinite(total(values))
    assert total([0.1] * 10) == 1.0
