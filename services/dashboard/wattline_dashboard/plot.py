"""A Plotly figure on a page, redrawn in place by the JavaScript beside this file.

Plotly's own script comes from the plotly package, by this server: nothing is fetched from outside.
"""

from __future__ import annotations

from pathlib import Path

import plotly
import plotly.graph_objects as go
import streamlit as st
from streamlit.components.v1 import declare_component
from streamlit.components.v2 import component

__all__ = ["show_plot"]

_LIBRARY = "plotly_library"
_CONFIG = {"displayModeBar": False, "displaylogo": False, "showTips": False}
_HTML = '<div class="wattline-plot" role="figure" style="width: 100%"></div>'

# Never mounted: declaring a component makes Streamlit serve its folder.
_served = declare_component(_LIBRARY, path=str(Path(plotly.__file__).parent / "package_data"))
_plot = component(
    "wattline_plot",
    html=_HTML,
    js=Path(__file__).with_name("plot.js").read_text(encoding="utf-8"),
    isolate_styles=False,  # Plotly puts its style sheet into the page
)


def show_plot(figure: go.Figure, *, key: str, alt: str) -> None:
    """Show a figure; under the same key it is redrawn, with the viewer's zoom kept."""
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    _plot(
        key=key,
        data={
            "figure": figure.to_json(),
            "config": _CONFIG,
            "height": figure.layout.height,
            "alt": alt,
            "library": f"{'/' + base if base else ''}/component/{_served.name}/plotly.min.js",
        },
    )
