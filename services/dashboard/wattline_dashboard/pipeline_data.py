"""What the page Pipeline asks for, by way of `data`: each answer serves all viewers for a moment."""

from __future__ import annotations

import datetime

import streamlit as st

from wattline_common.store import Document
from wattline_dashboard import data, pipeline_queries
from wattline_dashboard.pipeline import Coverage, Moment, coverage, moment_of, with_moment

__all__ = ["count_rejected", "health", "load_seen", "oldest_dirty", "rejected", "rejected_event", "run_coverage"]

_SEEN = "pipeline.seen"


@st.cache_data(ttl=1, max_entries=1, show_spinner=False)
def health() -> dict[str, Document]:
    """Return what the stream and the last audit wrote of themselves."""
    return data.ask(pipeline_queries.health)


@st.cache_data(ttl=5, max_entries=16, show_spinner=False)
def rejected(reason: str | None) -> list[Document]:
    """Return the messages rejected last, of one reason or of all."""
    return data.ask(pipeline_queries.rejected, reason)


@st.cache_data(ttl=60, max_entries=16, show_spinner=False)
def rejected_event(identity: str) -> Document | None:
    """Return one rejected message with its bytes, or none."""
    return data.ask(pipeline_queries.rejected_event, identity)


@st.cache_data(ttl=5, max_entries=1, show_spinner=False)
def count_rejected() -> int:
    """Return about how many rejected messages are kept."""
    return data.ask(pipeline_queries.count_rejected)


@st.cache_data(ttl=5, max_entries=1, show_spinner=False)
def oldest_dirty() -> datetime.datetime | None:
    """Return when the window that waits longest to be settled was due, or none."""
    return data.ask(pipeline_queries.oldest_dirty)


@st.cache_data(ttl=15, max_entries=1, show_spinner=False)
def run_coverage() -> Coverage:
    """Return how many of the runs last heard of are whole."""
    return coverage(data.ask(pipeline_queries.recent_coverage))


def load_seen(streaming: Document) -> list[Moment]:
    """Return the stream's load since this viewer opened the page."""
    seen = with_moment(st.session_state.get(_SEEN, ()), moment_of(streaming))
    st.session_state[_SEEN] = seen
    return seen
