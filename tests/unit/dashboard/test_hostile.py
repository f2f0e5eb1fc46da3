"""What a viewer's browser says is untrusted: any query string and any time zone come to checked values."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import streamlit as st
from hypothesis import example, given
from hypothesis import strategies as given_by

from wattline_dashboard import data, own_html
from wattline_dashboard.comparison import runs_from_url, runs_to_url
from wattline_dashboard.filters import CompareFilters, Filters, PeopleFilters, RunChoices, RunFilters
from wattline_dashboard.pipeline_queries import is_reason, is_rejected_id
from wattline_dashboard.queries import is_run_id

NOW = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
SUMMARY: dict[str, Any] = {
    "_id": "run",
    "simulated": False,
    "methods": ["COUNTER"],
    "user_id": "ada",
    "project": None,
    "model_name": "m",
    "dataset_name": "d",
    "region_iso": "FRA",
    "environment": "local",
    "hosts": ["h"],
}
TEXTS = given_by.one_of(
    given_by.text(max_size=300),
    given_by.sampled_from(["$where", '{"$gt": ""}', "a.b", "__proto__", "../..", "\ud800", "x" * 100_000, "NaN", "-1"]),
)


KINDS = (Filters, RunFilters, RunChoices, CompareFilters, PeopleFilters)
NAMES = sorted({name for kind in KINDS for name in kind.names()})


@given(query=given_by.dictionaries(given_by.sampled_from([*NAMES, "$where"]), TEXTS))
@example(query={"period": "\ud800", "kind": "toString", "text": "\x00", "user": "x" * 1_000_000})
def test_any_query_string_is_checked(query: dict[str, str]) -> None:
    """What makes no sense counts as not said; what is left survives the URL, and no run makes it raise."""
    for kind in KINDS:
        filters = kind.from_query(query)
        assert kind.from_query(filters.to_query()) == filters
        assert all(len(value) <= 256 for value in filters.to_query().values())
    Filters.from_query(query).matches(SUMMARY)
    RunFilters.from_query(query).matches(SUMMARY, "running")
    assert (Filters.from_query(query).length.since(NOW) or datetime.datetime.min.replace(tzinfo=datetime.UTC)) < NOW


@given(text=TEXTS)
def test_what_names_a_run_a_reason_or_a_message_is_checked(text: str) -> None:
    """Of a list those that can be runs are taken, each once; a reason or message is asked for when it can be one."""
    found = runs_from_url(text)
    assert all(map(is_run_id, found))
    assert runs_from_url(runs_to_url(found)) == found == list(dict.fromkeys(found))
    assert not is_reason(text) or set(text) <= set("abcdefghijklmnopqrstuvwxyz_")
    assert not is_rejected_id(text) or (0 < len(text) <= 512 and not set(text) & set("\x00\n"))


@given(text=TEXTS)
def test_what_no_run_is_called_is_never_asked_for(text: str) -> None:
    """Only an identity that the contract allows gets as far as the store."""
    assert not is_run_id(text) or (0 < len(text) <= 256 and not set(text) & set(".$|\x00\n"))


@pytest.mark.parametrize(
    "name",
    [
        None,
        "",
        "Nowhere/Nothing",
        "Europe",
        "../../../etc/passwd",
        "/etc/passwd",
        "a\x00b",
        "x" * 5000,
        "\ud800",
        "zone.tab",
    ],
)
def test_a_time_zone_that_is_none_is_utc(monkeypatch: pytest.MonkeyPatch, name: str | None) -> None:
    """No name leads to another file than a zone's."""
    monkeypatch.setattr(st, "context", SimpleNamespace(timezone=name))
    assert data.viewer_zone().utcoffset(NOW) == datetime.timedelta(0)


def test_no_page_hands_html_to_the_browser() -> None:
    """Streamlit shows text as text unless it is told otherwise: only own_html is, of which no text is a user's."""
    sources = [path for path in Path(data.__file__).parent.rglob("*") if path.suffix in {".py", ".js"}]
    assert len(sources) > 20
    loose = re.compile(
        r"unsafe_allow_html|unsafe_allow_javascript|st\.html\(|innerHTML|insertAdjacentHTML|components\.html"
    )
    assert [path.name for path in sources if loose.search(path.read_text(encoding="utf-8"))] == ["own_html.py"]
    for letter, colour in (("<b>", "#ffffff"), ("A", "red;x:y"), ("AB", "#ffffff"), ("", "#ffffff")):
        with pytest.raises(ValueError, match="is no letter in a colour"):
            own_html.show_letter(letter, colour)
