"""Identities and shapes of the store that need no server."""

from __future__ import annotations

import datetime
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo.errors import AutoReconnect

from wattline_common import store
from wattline_common.errors import StoreUnavailableError
from wattline_common.events import WindowAggregated

IDS = st.text(st.characters(exclude_characters=".$|", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)
SEQS = st.integers(0, 2**63 - 1)
TIMES_US = st.integers(-(2**55), 2**55)
YEAR_1_US, YEAR_9999_US = -62_135_596_800_000_000, 253_402_300_799_999_999


@given(first=st.tuples(IDS, IDS, SEQS), second=st.tuples(IDS, IDS, SEQS))
def test_event_ids_are_injective(first: tuple[str, str, int], second: tuple[str, str, int]) -> None:
    """Two events have one id only if run, source and seq are the same."""
    assert (store.event_id(*first) == store.event_id(*second)) == (first == second)


@given(parts=st.tuples(IDS, IDS, SEQS))
def test_an_event_id_can_be_taken_apart(parts: tuple[str, str, int]) -> None:
    """The separator is in no part, so the id still says run, source and seq."""
    run_id, source_id, seq = store.event_id(*parts).split("|")
    assert (run_id, source_id, int(seq)) == parts


def test_why_the_separator_is_forbidden_in_ids() -> None:
    """With `|` in an id two different events would share one identity."""
    assert store.event_id("a|b", "c", 0) == store.event_id("a", "b|c", 0)


@pytest.mark.parametrize(
    ("timestamp_us", "length_s", "start_us"),
    [
        (0, 60, 0),
        (59_999_999, 60, 0),
        (60_000_000, 60, 60_000_000),
        (60_000_001, 60, 60_000_000),
        (-1, 60, -60_000_000),
        (-60_000_000, 60, -60_000_000),
        (-60_000_001, 60, -120_000_000),
        (1_767_225_599_999_999, 60, 1_767_225_540_000_000),
        (3_599_999_999, 3600, 0),
        (1, 1, 0),
    ],
)
def test_windows_start_at_multiples_of_their_length(timestamp_us: int, length_s: int, start_us: int) -> None:
    """A window holds its start and not its end; before 1970 too, where division must round down."""
    assert store.window_start_us(timestamp_us, length_s) == start_us


@given(timestamp_us=TIMES_US, length_s=st.integers(1, 86_400))
def test_a_moment_is_in_exactly_one_window(timestamp_us: int, length_s: int) -> None:
    """Start <= moment < start + length, and all of that window's moments have the same start."""
    start_us = store.window_start_us(timestamp_us, length_s)
    length_us = length_s * 1_000_000
    assert start_us <= timestamp_us < start_us + length_us
    assert start_us % length_us == 0
    assert {store.window_start_us(each, length_s) for each in (start_us, start_us + length_us - 1)} == {start_us}
    assert store.window_start_us(start_us - 1, length_s) == start_us - length_us
    assert store.window_start_us(start_us + length_us, length_s) == start_us + length_us


def test_the_default_window_is_a_minute() -> None:
    """The length that all parts share."""
    assert store.WINDOW_LENGTH_S == 60
    assert store.window_start_us(61_000_000) == 60_000_000
    assert store.window_id("run", 0) == "run|1970-01-01T00:00:00Z|60"


@pytest.mark.parametrize(
    ("start_us", "text"),
    [
        (1_767_225_540_000_000, "2025-12-31T23:59:00Z"),
        (-60_000_000, "1969-12-31T23:59:00Z"),
        (1_772_323_200_000_000, "2026-03-01T00:00:00Z"),
    ],
)
def test_a_window_id_says_its_start_in_utc(start_us: int, text: str) -> None:
    """People read these ids."""
    assert store.window_id("run", start_us, 3600) == f"run|{text}|3600"


@given(
    first=st.tuples(IDS, st.integers(YEAR_1_US, YEAR_9999_US), st.integers(1, 86_400)),
    second=st.tuples(IDS, st.integers(YEAR_1_US, YEAR_9999_US), st.integers(1, 86_400)),
)
def test_window_ids_are_injective(first: tuple[str, int, int], second: tuple[str, int, int]) -> None:
    """Two windows have one id only if run, start and length are the same (a start is a whole second)."""

    def whole(run_id: str, start_us: int, length_s: int) -> tuple[str, int, int]:
        return run_id, start_us // 1_000_000 * 1_000_000, length_s

    one, other = whole(*first), whole(*second)
    assert (store.window_id(*one) == store.window_id(*other)) == (one == other)


ROLLUPS = st.tuples(
    st.sampled_from(store.ROLLUP_DIMENSIONS),
    st.none() | st.sampled_from(["null", "", "a|true", '"', 'x|"y"|false', "\\"]) | st.text(),
    st.booleans(),
    st.integers(0, YEAR_9999_US // 1_000_000).map(
        lambda second: datetime.datetime.fromtimestamp(second, tz=datetime.UTC)
    ),
    st.sampled_from([store.HOUR_S, store.DAY_S]),
)


@given(one=ROLLUPS, other=ROLLUPS)
def test_rollup_ids_are_injective(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    """Two rollups have one id only if they are the same, whatever text names a user or project."""
    assert (store.rollup_id(*one) == store.rollup_id(*other)) == (one == other)


@pytest.mark.parametrize(
    ("dimension", "key", "simulated", "length_s", "said"),
    [
        ("user_id", "ada", False, store.HOUR_S, 'user_id|"ada"|false|2026-03-01T12:00:00Z|3600'),
        ("project", None, True, store.DAY_S, "project|null|true|2026-03-01T12:00:00Z|86400"),
        ("project", "null", True, store.DAY_S, 'project|"null"|true|2026-03-01T12:00:00Z|86400'),
        ("model_name", "é|t", True, store.DAY_S, 'model_name|"é|t"|true|2026-03-01T12:00:00Z|86400'),
    ],
)
def test_a_rollup_id_can_be_read(dimension: str, key: str | None, simulated: bool, length_s: int, said: str) -> None:
    """People read these ids, too; no project is another one than the project `null`."""
    start = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
    assert store.rollup_id(dimension, key, simulated, start, length_s) == said


@given(values=st.dictionaries(st.text(), st.none() | st.floats(allow_nan=False) | st.text()))
def test_pairs_bring_a_map_back(values: dict[str, Any]) -> None:
    """Any keys, dots, dollars and the empty one among them, survive as pairs."""
    assert store.as_map(store.as_pairs(values)) == values


@given(values=st.dictionaries(st.text(), st.integers()))
def test_pairs_do_not_depend_on_the_maps_order(values: dict[str, int]) -> None:
    """Equal maps are stored as equal documents, so a replay changes nothing."""
    assert store.as_pairs(dict(reversed(values.items()))) == store.as_pairs(values)


def test_pairs_are_plain_documents() -> None:
    """What a chart or a person finds in the store."""
    assert store.as_pairs({"b.c": 1.0, "$a": 2.0}) == [{"k": "$a", "v": 2.0}, {"k": "b.c", "v": 1.0}]


def test_the_revision_comes_first_in_an_aggregate() -> None:
    """`$max` compares sub-documents field by field, so the first one decides."""
    assert next(iter(get_type_hints(store.Aggregate))) == "revision"


def test_an_aggregates_figures_are_those_of_the_event() -> None:
    """The stored aggregate and WindowAggregated carry the same figures under the same names, weights of means aside."""
    figures = set(get_type_hints(store.Aggregate)) - {"context"} - set(store.MEAN_WEIGHTS.values())
    assert figures <= set(get_type_hints(WindowAggregated))
    event_only = {"run_id", "source_id", "seq", "timestamp", "window_start", "window_end", "AVRO_NAME"}
    context = {"user_id", "model_name", "dataset_name", "framework", "environment", "region_iso", "project", "host"}
    assert set(get_type_hints(WindowAggregated)) - figures == event_only | context | {"rank", "simulated"}


def test_means_can_be_composed() -> None:
    """Every mean of an aggregate is in the rollups with what weighs it; the rest of a rollup are sums and extremes."""
    window, rollup = set(get_type_hints(store.Aggregate)), set(get_type_hints(store.RollupAggregate))
    means = {name for name in window if "_avg" in name}
    assert means == set(store.MEAN_WEIGHTS)
    assert means | set(store.MEAN_WEIGHTS.values()) <= window & rollup
    assert rollup - window == {"runs", "windows", "power_min_w"}


def test_settlements_outrank_any_count_of_events() -> None:
    """One settlement more beats any number of events that a window can hold."""
    assert store.SETTLEMENT * 1 + 0 > store.SETTLEMENT * 0 + (2**40 - 1)
    assert store.SETTLEMENT * (2**22) < 2**63  # settlements that fit the store's integers


def test_connecting_sends_nothing_and_reads_times_in_utc() -> None:
    """`connect` returns at once, whether a store is there or not."""
    database = store.connect("mongodb://127.0.0.1:9/", timeout_ms=50)
    assert database.name == "energy_emissions"
    assert database.codec_options.tz_aware
    assert database.codec_options.tzinfo in (None, datetime.UTC)
    database.client.close()


def test_a_store_that_is_away_is_named_with_its_setting() -> None:
    """`ensure` translates the driver's error and names MONGODB_URI."""
    database = store.connect("mongodb://127.0.0.1:9/", timeout_ms=50)
    with pytest.raises(StoreUnavailableError, match="MONGODB_URI") as caught:
        store.ensure(database)
    assert isinstance(caught.value.__cause__, AutoReconnect)
    database.client.close()
