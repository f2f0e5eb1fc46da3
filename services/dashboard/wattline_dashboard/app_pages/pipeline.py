"""The page Pipeline: whether the stream keeps up, what it refused, and whether all that was told has arrived."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import streamlit as st

from wattline_common.store import AUDIT, STREAMING, Document
from wattline_dashboard import data, pipeline_charts, pipeline_data, views
from wattline_dashboard.export_views import table_exports
from wattline_dashboard.formats import ENERGY, MISSING, age, count, duration, literal, percent, plain
from wattline_dashboard.pipeline import (
    SILENT_AFTER_S,
    batch_parts,
    gaps_table,
    gaps_to_save,
    health_problems,
    rejected_to_save,
)
from wattline_dashboard.pipeline_queries import is_reason
from wattline_dashboard.plot import show_plot
from wattline_dashboard.rejected_views import show_rejected

_PAGE = "pipeline"
_REFRESH_S = 5.0


@views.guarded
def show_page() -> None:
    """Show how the stream does, then what it refused, then whether anything is missing."""
    health = pipeline_data.health()
    streaming, audit = health.get(STREAMING), health.get(AUDIT)
    if streaming is None:
        st.info(
            "**No stream has written to this store yet.** It starts with\n\n    python -m wattline_streaming\n\n"
            "and reports here from its first minute on."
        )
    else:
        show_head(streaming, audit)
        show_figures(streaming)
        show_load(streaming)
    show_rejected((streaming or {}).get("ledger") or {})
    show_coverage()
    show_audit(audit)


def show_head(streaming: Document, audit: Document | None) -> None:
    """Say in badges how it stands, and in sentences what is wrong."""
    figures, problems = streaming.get("figures") or {}, health_problems(streaming)
    silent_s = _age_s(figures.get("at"))
    is_silent = silent_s is None or silent_s > SILENT_AFTER_S
    with st.container(horizontal=True, vertical_alignment="center", key=f"{_PAGE}.badges"):
        if is_silent:
            heard = f"silent: last heard of {age(silent_s)}" if silent_s is not None else "has not reported yet"
            st.badge(f"stream {heard}", color="red")
        else:
            st.badge(f"stream {'has a problem' if problems else 'at work'}", color="orange" if problems else "green")
        registry = streaming.get("registry")
        if registry:
            st.badge(
                f"registry {'to be mended' if registry['problem'] else 'whole'}", color=_verdict(registry["problem"])
            )
        if audit:
            st.badge(
                f"last audit {'clean' if audit['clean'] else 'found differences'}", color=_verdict(not audit["clean"])
            )
    if is_silent:
        st.warning(
            "**The stream has stopped, or cannot reach the store.** All figures below are as it last told them; "
            "messages wait in Kafka meanwhile."
        )
    for part, words in problems.items():
        st.error(f"**{literal(part)}**: {literal(words)}")
    error = figures.get("last_error")
    if error and problems.get(error["part"]) != error["problem"]:
        st.caption(
            f"Last error, over by now: {literal(error['part'])}, {_clock(error['at'])}: {literal(error['problem'])}"
        )


def show_figures(streaming: Document) -> None:
    """Show the stream's own figures; sums count since its start."""
    figures, ledger = streaming.get("figures") or {}, streaming.get("ledger") or {}
    rejected = sum((ledger.get("rows_rejected") or {}).values())
    booked = ledger.get("rows_booked")
    refused = rejected / (booked + rejected) if booked is not None and booked + rejected else None
    oldest_s = _age_s(pipeline_data.oldest_dirty())
    late = f"{count(figures.get('windows_late'))} late"
    rows: tuple[tuple[tuple[str, str, str | None], ...], ...] = (
        (
            ("Lag", f"{count(figures.get('lag_messages'))} messages", _lag_words(figures)),
            ("Messages a second", plain(figures.get("messages_per_s")), f"{plain(figures.get('events_per_s'))} booked"),
            (
                "Newest event",
                age(_age_s(figures.get("newest_event_at"))),
                f"watermark {age(_age_s(figures.get('watermark')))}",
            ),
            ("Last batch", _seconds(streaming.get("batch_s")), age(_age_s(streaming.get("batch_at")))),
        ),
        (
            ("Events booked", count(booked), "since the first start"),
            ("Rejected", count(rejected) if ledger else MISSING, percent(refused) if refused is not None else None),
            ("Decoded in Python", percent(ledger.get("filled_share")), "schema newer than the stream's start"),
            (
                "Raw events deleted",
                count(figures.get("raw_events_deleted")),
                f"{count(figures.get('runs_closed'))} runs closed",
            ),
        ),
        (
            ("Windows to settle", count(figures.get("windows_dirty")), _due_words(oldest_s)),
            ("Windows settled", count(figures.get("windows_settled")), late),
            ("Folded anew", count(figures.get("windows_folded_anew")), "differed from raw"),
            ("Behind the watermark", count(figures.get("late_rows")), "left to settling"),
        ),
    )
    for row in rows:
        for column, (label, value, beside) in zip(st.columns(len(row)), row, strict=True):
            with column:
                st.metric(label, value, beside, delta_color="off", delta_arrow="off", border=True, height="stretch")


def show_load(streaming: Document) -> None:
    """Show lag and rates since the page was opened, and where batches spend their time."""
    zone, seen = data.viewer_zone(), pipeline_data.load_seen(streaming)
    if len(seen) > 1:
        lag, rates = st.columns(2)
        with lag, st.container(border=True):
            st.markdown("**Lag**  :gray[since this page was opened]")
            show_plot(pipeline_charts.lag(seen, zone), key=f"{_PAGE}.lag", alt="Messages that waited, over time")
        with rates, st.container(border=True):
            st.markdown("**Rates**  :gray[since this page was opened]")
            figure = pipeline_charts.rates(seen, zone)
            show_plot(figure, key=f"{_PAGE}.rates", alt="Messages and events a second, over time")
    else:
        st.caption("Lag and rates are drawn here from the stream's second report on: it makes one every few seconds.")
    batches, reasons = st.columns(2)
    parts = batch_parts((streaming.get("figures") or {}).get("batch_ms") or {})
    with batches, st.container(border=True, height="stretch"):
        st.markdown("**Batch time by part**  :gray[since the stream's start]")
        if parts:
            show_plot(pipeline_charts.batch_time(parts), key=f"{_PAGE}.batch", alt="Seconds of batches by part")
        else:
            st.caption("No batch has ended yet.")
    counts = (streaming.get("ledger") or {}).get("rows_rejected") or {}
    with reasons, st.container(border=True, height="stretch"):
        st.markdown("**Rejected by reason**  :gray[since the first start]")
        if counts:
            show_plot(pipeline_charts.rejections(counts), key=f"{_PAGE}.reasons", alt="Rejected messages by reason")
        else:
            st.caption("Nothing was rejected.")


def show_coverage() -> None:
    """Show whether all that the runs told has arrived."""
    st.markdown("#### Coverage")
    found = pipeline_data.run_coverage()
    if not found.settled and not found.waiting:
        st.caption("No run has ended yet.")
        return
    whole, gaps, waiting = st.columns(3)
    whole.metric(
        "Runs that are whole",
        f"{count(found.whole)} of {count(found.settled)}",
        percent(found.share),
        delta_color="off",
        delta_arrow="off",
        border=True,
        height="stretch",
    )
    gaps.metric(
        "Runs with gaps",
        count(len(found.gaps)),
        "windows miss some of what the sources told",
        delta_color="off",
        delta_arrow="off",
        border=True,
        height="stretch",
    )
    waiting.metric("Ended, not settled yet", count(found.waiting), None, border=True, height="stretch")
    if found.gaps:
        table = gaps_table(found.gaps)
        energies = dict.fromkeys(("Energy told", "Energy arrived", "Missing"), ENERGY.text)
        views.run_links(table, energies, {}, f"{_PAGE}.gaps", "Runs with gaps: energy told, arrived and missing")
        st.caption(
            "A run's total is what its sources told last, so a gap costs curves and windows, never the total. "
            "Click a row to open its run."
        )


def show_audit(audit: Document | None) -> None:
    """Show how the last recount of everything ended."""
    st.markdown("#### Last audit")
    if audit is None:
        st.caption("None was made yet. `python -m wattline_streaming audit` recounts everything from the raw events.")
        return
    rows = (
        ("Result", "clean" if audit["clean"] else "differences", age(_age_s(audit["at"]))),
        ("Runs recounted", count(audit["runs"]), None),
        ("Differences left", count(audit["differences"]), f"{count(audit['pending'])} wait for settling"),
        ("Mended", count(audit["repaired"]), "by audit --repair"),
    )
    for column, (label, value, beside) in zip(st.columns(len(rows)), rows, strict=True):
        with column:
            st.metric(label, value, beside, delta_color="off", delta_arrow="off", border=True, height="stretch")


def _age_s(moment: datetime.datetime | None) -> float | None:
    return None if moment is None else max(0.0, (data.now() - moment).total_seconds())


def _clock(moment: datetime.datetime) -> str:
    return f"{moment.astimezone(data.viewer_zone()):%Y-%m-%d %H:%M:%S}"


def _lag_words(figures: Mapping[str, Any]) -> str:
    lag_s = figures.get("lag_s")
    return "not known" if lag_s is None else f"oldest waits {duration(lag_s)}"


def _due_words(oldest_s: float | None) -> str:
    return "none is due" if oldest_s is None or oldest_s <= 0 else f"longest due {duration(oldest_s)}"


def _seconds(seconds: float | None) -> str:
    return MISSING if seconds is None else f"{plain(seconds)} s"


def _verdict(is_bad: object) -> Any:  # noqa: ANN401  # Streamlit's literal of colours
    return "red" if is_bad else "green"


def show_exports() -> None:
    """Let the tables be saved; the rejected messages as far as the URL's reason goes, without their bytes."""
    asked = st.query_params.get("reason")
    reason = asked if is_reason(asked) else None
    with st.container(horizontal=True, gap="large", key=f"{_PAGE}.save"):
        rejected, gaps = "the rejected messages", "the runs with gaps"
        table_exports("rejected", lambda: rejected_to_save(pipeline_data.rejected(reason)), page=_PAGE, what=rejected)
        table_exports("gaps", lambda: gaps_to_save(pipeline_data.run_coverage().gaps), page=_PAGE, what=gaps)


views.title_row("Pipeline", _PAGE)
views.live(show_page, max(_REFRESH_S, data.settings().refresh_s), _PAGE)
show_exports()
