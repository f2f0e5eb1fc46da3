"""What a URL may say, and what comes of it."""

from __future__ import annotations

from typing import Any

import pytest

from wattline_dashboard.filters import Filters, RunFilters, is_simulated

RUN: dict[str, Any] = {
    "_id": "run-1",
    "user_id": "ada",
    "project": None,
    "model_name": "Resnet50",
    "dataset_name": "cifar10",
    "region_iso": "DEU",
    "environment": "local",
    "hosts": ["host-7"],
    "simulated": False,
    "methods": ["COUNTER", "MODELLED"],
}


def test_a_choice_survives_the_url() -> None:
    """What is written to a URL is read from it; what is at its default is not written."""
    chosen = Filters(period="7d", kind="real", measure="emissions", user="ada", region="DEU")
    assert Filters.from_query(chosen.to_query()) == chosen
    assert Filters().to_query() == {}
    assert chosen.to_query()["period"] == "7d"
    assert chosen.is_narrowed
    assert not Filters(period="7d", measure="emissions").is_narrowed


@pytest.mark.parametrize(
    "query",
    [
        {"period": "9999d"},
        {"period": ""},
        {"kind": "$where"},
        {"kind": "__class__"},
        {"measure": "money"},
        {"user": "x" * 257},
        {"user": "a\x00b"},
        {"user": "a\nb"},
        {"user": ""},
        {"user": ["ada"]},
        {"user": {"$ne": ""}},
        {"unknown": "1", "self": "2", "matches": "3"},
    ],
    ids=str,
)
def test_nonsense_in_the_url_is_not_said(query: Any) -> None:
    """What no choice is, or no name can be, leaves the default: nothing breaks and nothing else is asked."""
    assert Filters.from_query(query) == Filters()


def test_a_name_like_code_is_a_name() -> None:
    """A user may be called anything printable; it is compared, nothing more."""
    filters = Filters.from_query({"user": "<b>$where</b>"})
    assert filters.user == "<b>$where</b>"
    assert not filters.matches(RUN)
    assert filters.matches(RUN | {"user_id": "<b>$where</b>"})


@pytest.mark.parametrize(
    ("kind", "real", "simulated"),
    [
        ("all", True, True),
        ("real", True, False),
        ("measured", True, False),
        ("modelled", True, False),
        ("simulated", False, True),
    ],
)
def test_kinds_of_runs(kind: str, *, real: bool, simulated: bool) -> None:
    """A simulated run is never measured or modelled, whatever its devices claim."""
    filters = Filters(kind=kind)
    assert filters.matches(RUN) is real
    assert filters.matches(RUN | {"simulated": True}) is simulated
    assert not Filters(kind="measured").matches(RUN | {"methods": ["MODELLED"]})


def test_one_simulated_device_makes_a_run_simulated() -> None:
    """Nothing that is partly made up counts as real."""
    assert is_simulated(RUN | {"methods": ["COUNTER", "SIMULATED"]})
    assert not is_simulated(RUN)


def test_every_dimension_filters() -> None:
    """Each filter looks at its own field; a run without a project matches no project."""
    for name, value in (("user", "ada"), ("model", "Resnet50"), ("dataset", "cifar10"), ("region", "DEU")):
        assert Filters(**{name: value}).matches(RUN)
        assert not Filters(**{name: "other"}).matches(RUN)
    assert not Filters(project="vision").matches(RUN)


@pytest.mark.parametrize(
    ("filters", "status", "matches"),
    [
        (RunFilters(), "running", True),
        (RunFilters(status="stalled"), "running", False),
        (RunFilters(status="stalled"), "stalled", True),
        (RunFilters(text="RESNET ada"), "running", True),
        (RunFilters(text="resnet grace"), "running", False),
        (RunFilters(text="host-7"), "running", True),
        (RunFilters(text=".*"), "running", False),
        (RunFilters(user="grace"), "running", False),
        (RunFilters(model="Resnet50", kind="measured"), "running", True),
    ],
    ids=str,
)
def test_runs_are_picked(filters: RunFilters, status: str, *, matches: bool) -> None:
    """Status, kind, user, model and every word of the search must agree; a search is no pattern."""
    assert filters.matches(RUN, status) is matches
    assert RunFilters.from_query(filters.to_query()) == filters
