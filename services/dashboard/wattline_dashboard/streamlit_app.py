"""The router: which pages there are. Streamlit runs this file anew for every visit."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

_ICON = Path(__file__).parent / "icon.svg"

st.set_page_config(
    page_title="Wattline",
    page_icon=str(_ICON),
    layout="wide",
    menu_items={"About": "Wattline: what a training run costs in energy and CO₂, while it runs."},
)
st.logo(str(_ICON), size="large")
st.navigation(
    [
        st.Page("app_pages/overview.py", title="Overview", url_path="overview", default=True),
        st.Page("app_pages/runs.py", title="Runs", url_path="runs"),
        st.Page("app_pages/run.py", title="Run", url_path="run"),
    ],
    position="top",
).run()
