"""The page Run: one run's power, energy, emissions and learning, live while it trains."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from wattline_common.store import RunSummary
from wattline_dashboard import charts, data, fleet_views, run_figures, views
from wattline_dashboard.facts import RunState, computation, device_table, latest_sample_numbers, run_facts
from wattline_dashboard.filters import AGAINST, POWER_BY, RunChoices
from wattline_dashboard.formats import EMISSIONS, ENERGY, literal
from wattline_dashboard.palette import EMISSIONS_COLOUR, ENERGY_COLOUR
from wattline_dashboard.plot import show_plot
from wattline_dashboard.queries import is_run_id
from wattline_dashboard.run_export_views import run_exports
from wattline_dashboard.run_facts import hardware_table, hyperparameter_table, origin_table

_PAGE = "run"
_REFRESH_SLOW_S = 30.0  # of a finished run, as late events may still come in, and of what hardly changes
_FINISHED = "run.finished"  # the identity of the run that is shown, once it is over


@views.guarded
def show_page() -> None:
    """Show the run that the URL names, or else the newest, which the URL names from then on."""
    summary = named_run()
    if summary is None:
        views.live(wait_for_run, data.settings().refresh_s, _PAGE)
        return
    views.title_row(literal(summary["model_name"]), _PAGE)
    views.live(show_live, refresh_s(), _PAGE)
    views.live(show_facts, _REFRESH_SLOW_S, _PAGE)
    run_exports(summary["_id"])


def named_run() -> RunSummary | None:
    """Return the run to show, and put its name into the URL."""
    run_id = st.query_params.get("run") or data.newest_run_id()
    summary = data.run(run_id) if run_id is not None and is_run_id(run_id) else None
    if summary is not None and st.query_params.get("run") != summary["_id"]:
        st.query_params["run"] = summary["_id"]
    return summary


@views.guarded
def wait_for_run() -> None:
    """Say that there is no such run, or none at all, until there is."""
    run_id = st.query_params.get("run")
    if named_run() is not None:
        st.rerun()
    if run_id:
        views.run_not_found(run_id)
    else:
        views.nothing_yet()


def refresh_s() -> float:
    """Return how often to look again: seldom when the run is over."""
    is_over = st.session_state.get(_FINISHED) == st.query_params.get("run", "")
    return _REFRESH_SLOW_S if is_over else data.settings().refresh_s


def refresh_as_often_as_needed(summary: RunSummary) -> None:
    """Change the pace when a run has ended, or goes on again."""
    pace_s = refresh_s()
    st.session_state[_FINISHED] = None if summary["status"] == "RUNNING" else summary["_id"]
    if refresh_s() != pace_s:
        st.rerun()


@views.guarded
def show_live() -> None:
    """Show what changes while a run trains."""
    summary = named_run()
    if summary is None:
        st.rerun()
    state = data.run_state(summary)
    choices = RunChoices.from_query(dict(st.query_params))
    view = data.run_view(summary, by_device=choices.power == "device")
    show_head(summary, state)
    run_figures.show_totals(summary, state, view.forecast)
    run_figures.show_costs(summary, view)
    if view.series.is_empty:
        views.no_sample(state)
    else:
        show_power(view, summary, choices)
        show_totals(view)
        show_learning(view, choices)
        show_epochs(view)
    refresh_as_often_as_needed(summary)


def show_head(summary: RunSummary, state: RunState) -> None:
    """Show what was trained, by whom, where, and how its figures are got."""
    with st.container(horizontal=True, vertical_alignment="center", key="run.badges"):
        views.status_badge(state)
        views.method_badges(summary)
        if views.is_paused(_PAGE):
            st.badge(f"paused at {data.now().astimezone(data.viewer_zone()):%H:%M:%S}", color="gray")
    facts = run_facts(summary, data.viewer_zone())
    st.text("  ·  ".join(f"{name} {value}" for name, value in facts.items()), width="stretch")


def show_power(view: data.RunView, summary: RunSummary, choices: RunChoices) -> None:
    """Show power over time and, beside it, how the energy splits among the devices."""
    over_time, split = st.columns([2, 1])
    with over_time, st.container(border=True):
        by = "device" if view.device_power else "kind"
        with panel_head(f"**Power by {POWER_BY[by].lower()}**  :gray[{view.series.grain}]"):
            fleet_views.choice("power", "Power by", POWER_BY, choices.power, _PAGE, label_visibility="collapsed")
        figure = charts.power(view.device_power or view.series.power, data.viewer_zone())
        show_plot(figure, key=f"run.power.{by}", alt=f"Power over time, stacked by {by} of device")
        if choices.power == "device" and not view.device_power:
            st.caption("Single devices are in raw events, which draw a run's first hour; later there are kinds only.")
    with split, st.container(border=True, height="stretch"):
        st.markdown("**Energy by kind of device**")
        figure = charts.energy_split(view.series.kind_energy, summary["energy_kwh"])
        show_plot(figure, key="run.split", alt="Energy of each kind of device")


def show_totals(view: data.RunView) -> None:
    """Show what the run has used and emitted so far, with the band."""
    zone = data.viewer_zone()
    energy, emissions = st.columns(2)
    with energy, st.container(border=True):
        st.markdown("**Energy so far**  :gray[with its band]")
        figure = charts.running_total(view.series.energy_kwh, ENERGY, "Energy", ENERGY_COLOUR, zone)
        show_plot(figure, key="run.energy", alt="Energy so far over time")
    with emissions, st.container(border=True):
        st.markdown("**Emissions so far**  :gray[with their band]")
        figure = charts.running_total(view.series.emissions_kg, EMISSIONS, "Emissions", EMISSIONS_COLOUR, zone)
        show_plot(figure, key="run.emissions", alt="Emissions so far over time")


def show_learning(view: data.RunView, choices: RunChoices) -> None:
    """Show what the energy bought: loss and accuracy, over time or over energy."""
    zone, series = data.viewer_zone(), view.series
    energy = series.energy_kwh if choices.against == "energy" else None
    over = f"over {AGAINST[choices.against].lower()}"
    loss, accuracy = st.columns(2)
    with loss, st.container(border=True):
        with panel_head(f"**Loss**  :gray[{over}]"):
            fleet_views.choice("against", "Drawn over", AGAINST, choices.against, _PAGE, label_visibility="collapsed")
        if series.loss:
            figure = charts.learning(series.loss, "Loss", zone, energy=energy)
            show_plot(figure, key=f"run.loss.{choices.against}", alt=f"Loss {over}")
        else:
            st.caption("This run has reported no loss yet.")
    with accuracy, st.container(border=True, height="stretch"):
        st.markdown(f"**Accuracy**  :gray[{over}]")
        if series.accuracy:
            figure = charts.learning(series.accuracy, "Accuracy", zone, is_share=True, energy=energy)
            show_plot(figure, key=f"run.accuracy.{choices.against}", alt=f"Accuracy {over}")
        else:
            st.caption("This run has reported no accuracy yet.")


def panel_head(title: str) -> DeltaGenerator:
    """Show a panel's title, and leave the room beside it to what is written inside."""
    row = st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute")
    row.markdown(title, width="content")
    return row


def show_epochs(view: data.RunView) -> None:
    """Show what each epoch cost."""
    cost = view.learning
    if not cost.epochs:
        return
    with st.container(border=True):
        about = ["hatched: so far"] if cost.epochs[-1].is_open else []
        if cost.per_epoch_kwh is not None:
            about.insert(0, f"dashed: mean of those that are over, {ENERGY.text(cost.per_epoch_kwh)}")
        if cost.thinning > 1:
            about.append(f"from 1 of {cost.thinning} steps")
        st.markdown(f"**Energy of each epoch**  :gray[{' · '.join(about)}]")
        show_plot(charts.epochs(cost.epochs, cost.per_epoch_kwh), key="run.epochs", alt="Energy of each epoch")


@views.guarded
def show_facts() -> None:
    """Show how the figures were computed, and what was trained on what."""
    summary = named_run()
    if summary is None:
        return
    latest = data.latest_samples(summary["_id"], latest_sample_numbers(summary))
    with st.container(border=True):
        st.markdown(f"**How it is computed**  :gray[as of {data.now().astimezone(data.viewer_zone()):%H:%M:%S}]")
        st.markdown(computation(summary, latest))
        st.markdown(run_figures.EXPLANATION)
        if not summary.get("raw_complete", True):
            st.caption("Raw events of runs this old are deleted: the curves are by the minute, devices are not listed.")
    tables = {
        "Hyperparameters and tags": hyperparameter_table(summary),
        "Hardware": hardware_table(summary),
        "Devices at the latest sample, and how each one's energy is got": device_table(latest),
        "Plan and code": origin_table(summary),
    }
    for number, (title, table) in enumerate(tables.items()):
        if not table.empty:
            with st.expander(title, key=f"run.table.{number}"):
                st.dataframe(views.as_shown(table), hide_index=True, key=f"run.rows.{number}", alt=title)


show_page()
