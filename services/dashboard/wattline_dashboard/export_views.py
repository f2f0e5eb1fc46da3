"""The buttons that pages share to save what they show: a table as CSV and as Parquet, and files of other kinds.

They stand beside live panels, never in them: each refresh of a panel makes its buttons anew, and a click on the ones
before finds nothing. What they save is asked for when they are clicked, so it is as fresh as what is shown.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st

from wattline_dashboard.export import CSV_MIME, PARQUET_MIME, file_name, to_csv, to_parquet

__all__ = ["save_button", "table_exports"]


def table_exports(
    name: str, table: Callable[[], pd.DataFrame], *, page: str, what: str, key: str | None = None
) -> None:
    """Show the two buttons that save a table; it is made when one is clicked.

    ``table`` runs on a thread of its own: it may ask `data` and its kin, but knows neither session nor viewer. ``what``
    ends the sentence "Save ...".
    ``key`` tells the buttons apart where ``name``, of the files, changes.
    """
    of_buttons = f"{page}.save.{key or name}"
    with st.container(horizontal=True, vertical_alignment="center", gap="small", width="content", key=of_buttons):
        st.caption(f"Save {what}", width="content")
        csv, parquet = file_name(name, ending="csv"), file_name(name, ending="parquet")
        save_button("CSV", lambda: to_csv(table()), csv, CSV_MIME, key=f"{of_buttons}.csv")
        save_button("Parquet", lambda: to_parquet(table()), parquet, PARQUET_MIME, key=f"{of_buttons}.parquet")


def save_button(label: str, content: Callable[[], bytes], name: str, mime: str, *, key: str) -> None:
    """Show a button that saves a file, made when it is clicked; the page stays as it is."""
    st.download_button(label, content, name, mime, key=key, on_click="ignore", type="secondary")
