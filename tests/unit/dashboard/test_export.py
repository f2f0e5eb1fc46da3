"""Tables as files: nothing in them runs, and nothing is lost."""

from __future__ import annotations

import csv
import datetime
import io
import math

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline_dashboard.export import defused, file_name, restored, to_csv, to_parquet

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
dangerous = st.builds("".join, st.tuples(st.sampled_from("=+-@\t\r\n'\uff1d\uff0b\uff0d\uff20"), texts))
numbers = st.floats(allow_nan=False, allow_infinity=False)
moments = st.datetimes(timezones=st.just(datetime.UTC))
rows = st.lists(st.tuples(texts | dangerous, numbers, st.integers(-(2**60), 2**60), moments, st.booleans()), min_size=1)
COLUMNS = ["name", "energy_kwh", "events", "started_at", "simulated"]


def _read(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", "'x"])
def test_what_begins_like_a_formula_is_marked_as_text(text: str) -> None:
    """Each way to begin a formula gets the mark that makes a spreadsheet show it."""
    assert defused(text) == "'" + text


@given(texts | dangerous)
def test_defusing_can_be_undone_and_leaves_no_formula(text: str) -> None:
    """No text begins like a formula afterwards, and each can be had back."""
    shown = defused(text)
    assert not shown.startswith(tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"))
    assert restored(shown) == text


@given(rows)
def test_csv_holds_what_the_table_holds(values: list[tuple[str, float, int, datetime.datetime, bool]]) -> None:
    """Numbers come back exactly, negative ones unmarked; texts do once the mark is off; no text begins a formula."""
    head, *found = _read(to_csv(pd.DataFrame(values, columns=COLUMNS)))
    assert head == COLUMNS
    assert len(found) == len(values)
    for cells, (text, number, count, moment, flag) in zip(found, values, strict=True):
        assert restored(cells[0]) == text
        assert not cells[0].startswith(tuple("=+-@\t\r\n"))
        assert float(cells[1]) == number
        assert int(cells[2]) == count
        assert datetime.datetime.fromisoformat(cells[3]) == moment
        assert cells[4] == str(flag).lower()


@given(rows)
def test_parquet_holds_what_the_table_holds(values: list[tuple[str, float, int, datetime.datetime, bool]]) -> None:
    """Values and their types come back; texts need no mark there."""
    table = pd.DataFrame(values, columns=COLUMNS)
    found = pq.read_table(io.BytesIO(to_parquet(table)))
    assert found.column_names == COLUMNS
    assert [tuple(row[name] for name in COLUMNS) for row in found.to_pylist()] == values


def test_missing_values_are_empty_cells() -> None:
    """What is not known is neither 0 nor a word."""
    table = pd.DataFrame({"a": [None, "x"], "b": [math.nan, 1.5], "c": [pd.NaT, pd.Timestamp(0, tz="UTC")]})
    assert _read(to_csv(table))[1:] == [["", "", ""], ["x", "1.5", "1970-01-01T00:00:00+00:00"]]


def test_column_names_are_defused_too() -> None:
    """A column may be named by a user: a hyperparameter, a metric."""
    assert _read(to_csv(pd.DataFrame({"=1+1": [1]})))[0] == ["'=1+1"]


def test_a_table_without_rows_keeps_its_columns() -> None:
    """Nothing found is a file with a head, not a broken one."""
    empty = pd.DataFrame(columns=COLUMNS)
    assert _read(to_csv(empty)) == [COLUMNS]
    assert pq.read_table(io.BytesIO(to_parquet(empty))).column_names == COLUMNS


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("runs",), "wattline-runs.csv"),
        (("run", "../../etc/passwd"), "wattline-run-etc-passwd.csv"),
        (("run", "a b/ü"), "wattline-run-a-b.csv"),
        (("run", "x" * 300), f"wattline-run-{'x' * 67}.csv"),
    ],
)
def test_a_files_name_is_harmless(parts: tuple[str, ...], name: str) -> None:
    """A run's name makes no path of its file's name."""
    assert file_name(*parts, ending="csv") == name
