"""Pieces that pages about many runs share: the figures of one class of runs, and filters that live in the URL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import streamlit as st

from wattline_dashboard.facts import METHOD_COLOURS
from wattline_dashboard.filters import MEASURES
from wattline_dashboard.fleet import Totals
from wattline_dashboard.fleet_charts import QUANTITIES
from wattline_dashboard.formats import change, percent, visible

__all__ = ["choice", "class_head", "hold", "option", "pick", "totals_figure", "words"]

_MAX_OPTIONS = 1_000


def class_head(name: str, totals: Totals) -> None:
    """Say which class of runs the figures below are of, and how they were got."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if name == "simulated":
            st.badge("simulated", color=METHOD_COLOURS["simulated"])  # type: ignore[arg-type]  # of a table of ours
            st.caption("made up by simulated runs: no machine drew this, and it is in no other figure")
            return
        share = totals.measured_share
        st.badge("real", color="blue")
        if share:
            st.badge(f"{percent(share)} measured", color=METHOD_COLOURS["measured"])  # type: ignore[arg-type]  # as above
        if share is not None and share < 1:
            st.badge(f"{percent(1 - share)} modelled", color=METHOD_COLOURS["modelled"])  # type: ignore[arg-type]  # as above


def totals_figure(name: str, measure: str, totals: Totals, before: Totals | None, than: str) -> None:
    """Show energy or emissions of one class of runs with their trend; growth is not judged here."""
    value = totals.of(measure)
    trend = None if before is None else change(value, before.of(measure))
    is_first = before is not None and trend is None and value > 0
    st.metric(
        f"{MEASURES[measure]}, {name}",
        QUANTITIES[measure].text(value),
        "none" if is_first else trend,
        delta_color="off",
        delta_arrow="off" if is_first else "auto",
        delta_description=than if is_first or trend else None,
        border=True,
        height="stretch",
    )


def hold(key: str, value: object) -> None:
    """Make a widget, drawn next, show a value; if it does already, touch nothing: what is sent would undo a click."""
    if key not in st.session_state or st.session_state[key] != value:
        st.session_state[key] = value


def choice(
    name: str,
    label: str,
    options: Mapping[str, str],
    chosen: str,
    page: str,
    label_visibility: Literal["visible", "collapsed"] = "visible",
) -> None:
    """Show a choice of few as buttons; the URL holds it."""
    key = f"{page}.{name}"
    hold(key, chosen)
    st.segmented_control(
        label,
        list(options),
        key=key,
        format_func=lambda option: options[option],
        required=True,
        on_change=_to_url(name, key),
        label_visibility=label_visibility,
    )


def option(name: str, label: str, options: Mapping[str, str], chosen: str, page: str) -> None:
    """Show a choice of several as a list; the URL holds it."""
    key = f"{page}.{name}"
    hold(key, chosen)
    st.selectbox(
        label, list(options), key=key, format_func=lambda option: options[option], on_change=_to_url(name, key)
    )


def pick(name: str, label: str, options: Sequence[str], chosen: str | None, page: str) -> None:
    """Show a choice of many, or of none of them; the URL holds it, even when it does not occur."""
    key = f"{page}.{name}"
    listed = list(options[:_MAX_OPTIONS])
    if chosen is not None and chosen not in listed:
        listed.insert(0, chosen)
    hold(key, chosen)
    st.selectbox(
        label, listed, index=None, key=key, format_func=visible, placeholder="all", on_change=_to_url(name, key)
    )


def words(name: str, label: str, chosen: str, page: str) -> None:
    """Show a field for a search; the URL holds what is in it."""
    key = f"{page}.{name}"
    hold(key, chosen)
    st.text_input(label, key=key, max_chars=100, placeholder="run, model, user, host …", on_change=_to_url(name, key))


def _to_url(name: str, key: str) -> Callable[[], None]:
    def write() -> None:
        value: Any = st.session_state[key]
        if value:
            st.query_params[name] = str(value)
        else:
            st.query_params.pop(name, None)

    return write
