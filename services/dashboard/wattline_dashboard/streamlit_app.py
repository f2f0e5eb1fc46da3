"""The router: which pages there are. Streamlit runs this file anew for every visit."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from wattline_dashboard.own_html import style

_ICON = Path(__file__).parent / "icon.svg"
# A live page must not blink: what waits for a refresh is greyed only when that takes long. Captions have too little
# contrast by default (4.3:1).
_STYLE = """
[data-stale=true] { transition-delay: 3s !important; }
[data-testid=stCaptionContainer] { color: inherit !important; opacity: 0.8; }
"""

st.set_page_config(
    page_title="Wattline",
    page_icon=str(_ICON),
    layout="wide",
    menu_items={"About": "Wattline: what a training run costs in energy and CO₂, while it runs."},
)
style(_STYLE)
st.logo(str(_ICON), size="large")
pages = st.navigation(
    [
        st.Page("app_pages/overview.py", title="Overview", url_path="overview", default=True),
        st.Page("app_pages/runs.py", title="Runs", url_path="runs"),
        st.Page("app_pages/run.py", title="Run", url_path="run"),
        st.Page("app_pages/compare.py", title="Compare", url_path="compare"),
        st.Page("app_pages/people.py", title="People", url_path="people"),
        st.Page("app_pages/pipeline.py", title="Pipeline", url_path="pipeline"),
        st.Page("app_pages/method.py", title="Method", url_path="method"),
    ],
    position="top",
)
pages.run()
