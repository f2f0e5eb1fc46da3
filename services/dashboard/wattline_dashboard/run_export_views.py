"""What a run's page offers to take away: a report for paper, BoAmps, a part of a model card, and its curves."""

from __future__ import annotations

import streamlit as st

from wattline_common.errors import StoreUnavailableError
from wattline_common.store import Document, RunSummary
from wattline_dashboard import data
from wattline_dashboard.boamps import FORMAT_VERSION, boamps_json
from wattline_dashboard.curves import RunSeries
from wattline_dashboard.export import file_name
from wattline_dashboard.export_tables import curves_to_save, devices_to_save, learning_to_save
from wattline_dashboard.export_views import save_button, table_exports
from wattline_dashboard.facts import latest_sample_numbers
from wattline_dashboard.model_card import model_card
from wattline_dashboard.run_report import run_report

__all__ = ["run_exports"]

_PAGE = "run"


def run_exports(run_id: str) -> None:
    """Show everything of a run that can be saved; each file is of the moment when its button is clicked."""
    with st.container(border=True, key=f"{_PAGE}.save"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown("**Take it with you**", width="content")
            st.page_link(
                "app_pages/method.py", label="Every formula, with these numbers in it", query_params={"run": run_id}
            )
        _documents(run_id)
        with st.container(horizontal=True, gap="large", key=f"{_PAGE}.save.tables"):
            tables = (
                ("curves", lambda: curves_to_save(_series(run_id)), "power, energy and emissions"),
                ("learning", lambda: learning_to_save(_series(run_id)), "loss and accuracy"),
                ("devices", lambda: devices_to_save(_latest_samples(run_id)), "devices"),
            )
            for name, table, what in tables:
                table_exports(f"{name}-{run_id}", table, page=_PAGE, what=what, key=name)


def _documents(run_id: str) -> None:
    zone = data.viewer_zone()
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"{_PAGE}.save.documents"):
        save_button(
            "Report for paper (HTML)",
            lambda: run_report(_summary(run_id), _series(run_id), data.now(), zone),
            file_name("report", run_id, ending="html"),
            "text/html",
            key=f"{_PAGE}.save.report",
        )
        save_button(
            "Model card (Markdown)",
            lambda: model_card(_summary(run_id)).encode(),
            file_name("model-card", run_id, ending="md"),
            "text/markdown",
            key=f"{_PAGE}.save.card",
        )
        save_button(
            f"BoAmps {FORMAT_VERSION} (JSON)",
            lambda: boamps_json(_summary(run_id), data.now()),
            file_name("boamps", run_id, ending="json"),
            "application/json",
            key=f"{_PAGE}.save.boamps",
        )


def _summary(run_id: str) -> RunSummary:
    summary = data.run(run_id)
    if summary is None:
        raise StoreUnavailableError(f"the run {run_id} is in the store no more")
    return summary


def _series(run_id: str) -> RunSeries:
    return data.run_series(_summary(run_id))


def _latest_samples(run_id: str) -> list[Document]:
    return data.latest_samples(run_id, latest_sample_numbers(_summary(run_id)))
