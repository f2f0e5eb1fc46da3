"""The messages that the stream refused: which, why, what helps, and the bytes of one as text that nothing can run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from wattline_dashboard import data, fleet_views, pipeline_data
from wattline_dashboard.formats import count, literal, visible
from wattline_dashboard.pipeline import bytes_shown, rejected_table
from wattline_dashboard.pipeline_queries import MAX_REJECTED, is_reason, is_rejected_id

__all__ = ["show_rejected"]

_PAGE = "pipeline"
_MOST_BYTES = 512
_TABLE, _SHOWN = f"{_PAGE}.rejected", f"{_PAGE}.shown"


def show_rejected(ledger: Mapping[str, Any]) -> None:
    """Show the messages that were refused last, why, and the bytes of the one that the URL names."""
    st.markdown("#### Rejected messages")
    asked = st.query_params.get("reason")
    reason = asked if is_reason(asked) else None
    known = sorted({*(ledger.get("rows_rejected") or {}), *([reason] if reason else [])})
    kept = pipeline_data.count_rejected()
    if not kept:
        st.caption("None is kept: every message was accepted.")
        return
    if known:
        with st.container(width=320):
            fleet_views.pick("reason", "Reason", known, reason, _PAGE)
    found = pipeline_data.rejected(reason)
    if not found:
        st.info("**None of this reason is kept.** Another reason, or none, may have some.")
        return
    st.session_state[_SHOWN] = [event["_id"] for event in found]
    st.dataframe(
        rejected_table(found, data.viewer_zone()),
        key=_TABLE,
        hide_index=True,
        on_select=_pick_message,
        selection_mode=["single-row", "single-cell"],
        column_config={"Rejected": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm:ss")},
        alt="Rejected messages: when, reason, what is wrong, what helps, place in Kafka",
    )
    newest = f"The newest {MAX_REJECTED} of {count(kept)}. " if reason is None and kept > len(found) else ""
    st.caption(
        f"{newest}Click a row to see its bytes. `python -m wattline_streaming replay-rejected` submits again "
        "what would be accepted now."
    )
    _show_bytes(st.query_params.get("message"))


def _pick_message() -> None:
    """Put the message whose row was clicked into the URL: a row's number means another one after the next rejection."""
    selection, shown = st.session_state[_TABLE].selection, st.session_state.get(_SHOWN, [])
    rows = [*selection.rows, *(row for row, _ in selection.cells)]
    if rows and rows[0] < len(shown):
        st.query_params["message"] = shown[rows[0]]


def _show_bytes(identity: str | None) -> None:
    """Show a rejected message as it came, as text that nothing can run."""
    if not identity:
        return
    event = pipeline_data.rejected_event(identity) if is_rejected_id(identity) else None
    with st.container(border=True, key=f"{_PAGE}.message"):
        if event is None:
            st.warning("**There is no such rejected message.** It may have been accepted since, or the link is wrong.")
            return
        st.markdown(f"**The message as it came**  :gray[{literal(event['_id'])}]")
        st.text(visible(event["detail"]))
        for name in ("key", "value"):
            content = event.get(name)
            if content is None:
                st.caption(f"It has no {name}.")
                continue
            st.caption(f"{name.capitalize()}, {count(len(content))} bytes")
            st.code(bytes_shown(bytes(content), _MOST_BYTES) or "(empty)", language=None)
        headers = [
            f"{visible(each['k'])}: {bytes(each['v'])[:_MOST_BYTES]!r}"
            for each in event.get("headers") or ()
            if each["v"]
        ]
        if headers:
            st.caption("Headers")
            st.code("\n".join(headers), language=None)
