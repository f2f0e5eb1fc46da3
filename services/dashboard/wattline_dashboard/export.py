"""Tables as files: CSV that no spreadsheet runs, and Parquet; pure.

A file's columns are named as the store names its fields, units in the name; moments are UTC.
"""

from __future__ import annotations

import csv
import datetime
import io
import math
import re
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["CSV_MIME", "PARQUET_MIME", "defused", "file_name", "restored", "to_csv", "to_parquet"]

CSV_MIME = "text/csv"
PARQUET_MIME = "application/vnd.apache.parquet"

_MARK = "'"  # spreadsheets take what follows as text
# What a spreadsheet takes for the start of a formula, full-width forms too; and our own mark, so that it can be undone.
_DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20", _MARK)
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
_MOST_OF_NAME = 80
_BOM = "utf-8-sig"  # without it Excel takes UTF-8 for the machine's old code page


def defused(text: str) -> str:
    """Return a text that a spreadsheet shows instead of running: a mark stands before what begins like a formula."""
    return _MARK + text if text.startswith(_DANGEROUS) else text


def restored(text: str) -> str:
    """Return the text that `defused` was given."""
    return text.removeprefix(_MARK)


def to_csv(table: pd.DataFrame) -> bytes:
    """Return a table as CSV (RFC 4180, UTF-8): texts defused, numbers as they are, moments in ISO 8601."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(defused(str(name)) for name in table.columns)
    writer.writerows([_cell(value) for value in row] for row in table.itertuples(index=False, name=None))
    return text.getvalue().encode(_BOM)


def to_parquet(table: pd.DataFrame) -> bytes:
    """Return a table as Parquet; texts as they are, as nothing runs them."""
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), sink, compression="zstd")
    return sink.getvalue()


def file_name(*parts: str, ending: str) -> str:
    """Return the name of a file to save: what a user named is cut to letters, digits and dashes."""
    words = (_NOT_IN_NAMES.sub("-", part).strip("-") for part in ("wattline", *parts))
    return f"{'-'.join(word for word in words if word)[:_MOST_OF_NAME]}.{ending}"


def _cell(value: Any) -> object:  # noqa: ANN401  # whatever a table holds
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    return value if isinstance(value, int | float) else defused(str(value))
