"""Opens a run's page as a click on a link does: in the browser, which then stops the live panels by itself.

A switch of pages by the server leaves a live panel's timer running until the browser hears of it; a refresh that it
asks for meanwhile is drawn into the new page, which then stays blank.
"""

from __future__ import annotations

import streamlit as st
from streamlit.components.v2 import component

from wattline_dashboard.formats import literal

__all__ = ["open_run"]

_KEY = "follow"
_JS = f"""
export default function ({{ parentElement }}) {{
  let tries = 100; // the link is drawn beside this, before or after it
  const follow = () => {{
    const link = document.querySelector(".st-key-{_KEY} a");
    if (link) link.click();
    else if (parentElement.isConnected && tries-- > 0) setTimeout(follow, 20);
  }};
  follow();
}}
"""

_follow = component("wattline_follow", html="<span></span>", js=_JS)


def open_run(run_id: str) -> None:
    """Show a link to a run's page, and click it."""
    with st.container(key=_KEY):
        st.page_link("app_pages/run.py", label=f"Opening {literal(run_id)}", query_params={"run": run_id})
        _follow(key=f"{_KEY}.click")
