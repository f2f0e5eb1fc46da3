"""The page Run: one run's power, energy, emissions and learning, live while it trains."""

from __future__ import annotations

import streamlit as st

from wattline_common.store import RunSummary
from wattline_dashboard import charts, data, views
from wattline_dashboard.curves import RunSeries
from wattline_dashboard.facts import (
    RunState,
    computation,
    device_table,
    emissions_band_kg,
    energy_band_kwh,
    latest_sample_numbers,
    mean_power_w,
)
from wattline_dashboard.formats import CO2E, EMISSIONS, ENERGY, MISSING, POWER, age, duration, literal, percent, plain
from wattline_dashboard.palette import EMISSIONS_COLOUR, ENERGY_COLOUR
from wattline_dashboard.plot import show_plot
from wattline_dashboard.queries import is_run_id

_REFRESH_FINISHED_S = 30.0  # late events may still come in
_FIGURE_PX = 171  # six fit in a window of 1280; the same for all and always: nothing moves when a digit does
_FINISHED = "run.finished"  # the identity of the run that is shown, once it is over


@views.guarded
def show_page() -> None:
    """Show the run that the URL names, or else the newest, which the URL names from then on."""
    run_id = st.query_params.get("run") or data.newest_run_id()
    if run_id is None:
        views.nothing_yet()
    elif not is_run_id(run_id) or (summary := data.run(run_id)) is None:
        views.run_not_found(run_id)
    else:
        if st.query_params.get("run") != run_id:
            st.query_params["run"] = run_id
        show_run(summary)
        refresh_as_often_as_needed(summary)


def refresh_s() -> float:
    """Return how often to look again: seldom when the run is over."""
    is_over = st.session_state.get(_FINISHED) == st.query_params.get("run", "")
    return _REFRESH_FINISHED_S if is_over else data.settings().refresh_s


def refresh_as_often_as_needed(summary: RunSummary) -> None:
    """Change the pace when a run has ended, or goes on again."""
    pace_s = refresh_s()
    st.session_state[_FINISHED] = None if summary["status"] == "RUNNING" else summary["_id"]
    if refresh_s() != pace_s:
        st.rerun()


def show_run(summary: RunSummary) -> None:
    """Show everything there is to one run."""
    state = data.run_state(summary)
    show_head(summary, state)
    show_figures(summary, state)
    series = data.run_series(summary)
    if series.is_empty:
        views.no_sample(state)
        return
    show_power(series, summary)
    show_totals(series)
    show_learning(series)
    show_method(summary)


def show_head(summary: RunSummary, state: RunState) -> None:
    """Show what was trained, by whom, where, and how its figures are got."""
    st.title(literal(summary["model_name"]), anchor=False)
    with st.container(horizontal=True, vertical_alignment="center", key="run.badges"):
        views.status_badge(state)
        views.method_badges(summary)
    started = summary["started_at"].astimezone(data.viewer_zone())
    facts = {
        "data set": summary["dataset_name"],
        "framework": summary["framework"],
        "user": summary["user_id"],
        "region": summary["region_iso"],
        "host": ", ".join(summary["hosts"]),
        "started": f"{started:%Y-%m-%d %H:%M:%S}",
        "run": summary["_id"],
    }
    st.text("  ·  ".join(f"{name} {value}" for name, value in facts.items() if value), width="stretch")


def show_figures(summary: RunSummary, state: RunState) -> None:
    """Show the run's figures as the store has them."""
    drawn_w = summary["power_w"] if state.is_running and not state.is_stale else None
    epoch = MISSING if summary["epoch"] is None else f"epoch {summary['epoch']}"
    with st.container(horizontal=True, horizontal_alignment="distribute", key="run.figures"):  # wraps when narrow
        show_figure("Energy", ENERGY.text(summary["energy_kwh"]), ENERGY.band(*energy_band_kwh(summary)))
        band = EMISSIONS.band(*emissions_band_kg(summary))
        show_figure(f"Emissions, {CO2E}", short(EMISSIONS.text(summary["emissions_kg"])), short(band))
        show_figure("Power now", POWER.text(drawn_w), f"mean {POWER.text(mean_power_w(summary))}")
        show_figure("Accuracy", percent(summary["accuracy"]), f"loss {plain(summary['loss'])}")
        show_figure("Duration", duration(state.duration_s), epoch)
        show_figure("Data age", age(state.age_s), state.freshness)


def short(emissions: str) -> str:
    """Return an amount without what the label says already: six figures stand in one row of a small screen."""
    return emissions.removesuffix(f" {CO2E}")


def show_figure(label: str, value: str, beside: str) -> None:
    """Show one figure and, smaller, what goes with it."""
    st.metric(label, value, beside, delta_color="off", delta_arrow="off", border=True, width=_FIGURE_PX)


def show_power(series: RunSeries, summary: RunSummary) -> None:
    """Show power over time and, beside it, how the energy splits among the devices."""
    over_time, split = st.columns([2, 1])
    with over_time, st.container(border=True):
        st.markdown(f"**Power by kind of device**  :gray[{series.grain}]")
        show_plot(charts.power(series.power, data.viewer_zone()), key="run.power", alt=_ALT_POWER)
    with split, st.container(border=True):
        st.markdown("**Energy by kind of device**")
        figure = charts.energy_split(series.kind_energy, summary["energy_kwh"])
        show_plot(figure, key="run.split", alt="Energy of each kind of device")


def show_totals(series: RunSeries) -> None:
    """Show what the run has used and emitted so far, with the band."""
    zone = data.viewer_zone()
    energy, emissions = st.columns(2)
    with energy, st.container(border=True):
        st.markdown("**Energy so far**  :gray[with its band]")
        figure = charts.running_total(series.energy_kwh, ENERGY, "Energy", ENERGY_COLOUR, zone)
        show_plot(figure, key="run.energy", alt="Energy so far over time")
    with emissions, st.container(border=True):
        st.markdown("**Emissions so far**  :gray[with their band]")
        figure = charts.running_total(series.emissions_kg, EMISSIONS, "Emissions", EMISSIONS_COLOUR, zone)
        show_plot(figure, key="run.emissions", alt="Emissions so far over time")


def show_learning(series: RunSeries) -> None:
    """Show what the energy bought: loss and accuracy."""
    zone = data.viewer_zone()
    loss, accuracy = st.columns(2)
    with loss, st.container(border=True):
        st.markdown("**Loss**")
        if series.loss:
            show_plot(charts.learning(series.loss, "Loss", zone), key="run.loss", alt="Loss")
        else:
            st.caption("This run has reported no loss yet.")
    with accuracy, st.container(border=True):
        st.markdown("**Accuracy**")
        if series.accuracy:
            figure = charts.learning(series.accuracy, "Accuracy", zone, is_share=True)
            show_plot(figure, key="run.accuracy", alt="Accuracy")
        else:
            st.caption("This run has reported no accuracy yet.")


def show_method(summary: RunSummary) -> None:
    """Show how the figures were computed, and what read each device."""
    latest = data.latest_samples(summary["_id"], latest_sample_numbers(summary))
    with st.container(border=True):
        st.markdown("**How the emissions are computed**")
        st.markdown(computation(summary, latest))
        if not summary.get("raw_complete", True):
            st.caption("Raw events of runs this old are deleted: the curves are by the minute, devices are not listed.")
    table = device_table(latest)
    if not table.empty:
        with st.expander("Devices, and how each one's energy is got", key="run.devices"):
            st.dataframe(table, hide_index=True, key="run.device_table")


_ALT_POWER = "Power over time, stacked by kind of device"

st.fragment(show_page, run_every=refresh_s())()
