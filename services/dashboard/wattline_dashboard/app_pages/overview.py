"""The page Overview: what a team's runs cost in a period, by whom and by what; real and simulated runs side by side."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from wattline_common.store import Document
from wattline_dashboard import data, fleet_charts, fleet_data, fleet_views, views
from wattline_dashboard.export_tables import groups_to_save, period_runs_to_save
from wattline_dashboard.export_views import table_exports
from wattline_dashboard.facts import method_labels
from wattline_dashboard.filters import DIMENSIONS, KINDS_OF_RUN, MEASURES, Filters
from wattline_dashboard.fleet import Fleet, RunClass, class_of
from wattline_dashboard.formats import EMISSIONS, ENERGY, MISSING, POWER, percent
from wattline_dashboard.periods import PERIODS
from wattline_dashboard.plot import show_plot

_PAGE = "overview"
_REFRESH_S = 5.0  # a page of many figures is read, not watched
_MOST_RUNS = 8  # of each class among the top consumers
_LABELS = {
    "user": "User",
    "project": "Project",
    "model": "Model",
    "dataset": "Data set",
    "region": "Region",
    "environment": "Environment",
}


@views.guarded
def show_page() -> None:
    """Show the filters, and below them what they leave."""
    filters = Filters.from_query(dict(st.query_params))
    fleet, _ = fleet_data.fleet(filters)
    show_filters(filters, fleet)
    views.live(show_fleet, max(_REFRESH_S, data.settings().refresh_s), _PAGE)
    if fleet.shown:
        show_exports(filters)


def show_exports(filters: Filters) -> None:
    """Let what the period has be saved."""

    def shown() -> list[RunClass]:
        return fleet_data.fleet(filters)[0].shown

    with st.container(horizontal=True, gap="large", key="overview.save"):
        runs, sums = "all runs of the period", "the sums by user, model …"
        table_exports("runs-of-period", lambda: period_runs_to_save(shown()), page=_PAGE, what=runs)
        table_exports("sums-of-period", lambda: groups_to_save(shown()), page=_PAGE, what=sums)


def show_filters(filters: Filters, fleet: Fleet) -> None:
    """Show what may be chosen; the URL is where the choice lives."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="large", key="overview.choices"):
        fleet_views.choice(
            "period", "Period", {key: each.label for key, each in PERIODS.items()}, filters.period, _PAGE
        )
        fleet_views.choice("kind", "Runs whose energy is", KINDS_OF_RUN, filters.kind, _PAGE)
    for name, column in zip(DIMENSIONS, st.columns(len(DIMENSIONS)), strict=True):
        with column:
            fleet_views.pick(name, _LABELS[name], fleet.options[name], getattr(filters, name), _PAGE)


@views.guarded
def show_fleet() -> None:
    """Show the period as the URL wants it, and keep it fresh."""
    filters = Filters.from_query(dict(st.query_params))
    fleet, is_cut = fleet_data.fleet(filters)
    running = [run for run in fleet_data.running_runs() if filters.matches(run)]
    if is_cut:
        st.warning(
            "**This period has more than can be added up at once**; some of it is missing. Choose a shorter one."
        )
    if fleet.strays:
        st.warning(f"{fleet.strays} runs have windows but no summary; they are in no figure here.")
    classes = [each for each in fleet.classes.values() if not each.is_empty or _of_class(running, each.name)]
    if not classes:
        show_nothing(filters)
        return
    for each in classes:
        show_class(each, _of_class(running, each.name), filters)
    drawn = fleet.shown
    if drawn:
        show_over_time(fleet, drawn)
        show_breakdowns(drawn, filters)
        show_top_runs(drawn)


def show_nothing(filters: Filters) -> None:
    """Say why there is nothing: nothing at all, nothing lately, or nothing of this kind."""
    if data.newest_run_id() is None:
        views.nothing_yet()
        return
    narrowed = " that the filters let through" if filters.is_narrowed else ""
    st.info(f"**No run{narrowed} in this period.** A longer period, or fewer filters, may have some.")


def show_class(each: RunClass, running: list[Document], filters: Filters) -> None:
    """Show what one class of runs comes to, and what it draws now."""
    period = filters.length
    with st.container(border=True, key=f"overview.{each.name}"):
        fleet_views.class_head(each.name, each.totals)
        energy, emissions, *rest = st.columns([3, 3, 2, 2, 2])
        than = f"{'on' if each.before and each.before.energy_kwh else 'in'} the {period.span} before"
        with energy:
            fleet_views.totals_figure(each.name, "energy", each.totals, each.before, than)
        with emissions:
            fleet_views.totals_figure(each.name, "emissions", each.totals, each.before, than)
        states = data.run_states(running)
        live = [run for run, state in zip(running, states, strict=True) if not state.is_stale]
        waiting = {
            "arriving": sum(state.is_arriving for state in states),
            "stalled": sum(state.is_stalled for state in states),
        }
        note = ", ".join(f"{count} {word}" for word, count in waiting.items() if count) or None
        power_w = sum(run["power_w"] or 0.0 for run in live) if live else None
        shown = (
            (f"Runs, {each.name}", str(len(each.totals.run_ids)), None),
            (f"Running, {each.name}", str(len(live)), note),
            (f"Power now, {each.name}", POWER.text(power_w), None),
        )
        for column, (label, value, note) in zip(rest, shown, strict=True):
            with column:
                st.metric(label, value, note, delta_color="off", delta_arrow="off", border=True, height="stretch")


def show_over_time(fleet: Fleet, classes: list[RunClass]) -> None:
    """Show when the energy was used, and by which kind of device."""
    with st.container(border=True):
        hatched = " · simulated is hatched, on its own axis" if any(c.name == "simulated" for c in classes) else ""
        st.markdown(f"**Energy by kind of device**  :gray[per {fleet.bar.words}{hatched}]")
        show_plot(
            fleet_charts.over_time(fleet, classes),
            key=f"overview.time.{len(classes)}",
            alt=f"Energy per {fleet.bar.words}, stacked by kind of device",
        )


def show_breakdowns(classes: list[RunClass], filters: Filters) -> None:
    """Show who and what used it."""
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        st.markdown("#### Who and what used it")
        fleet_views.choice("measure", "Measure", MEASURES, filters.measure, _PAGE)
    st.caption(_legend(classes))
    names = list(DIMENSIONS)
    for start in (0, 3):
        for name, column in zip(names[start : start + 3], st.columns(3), strict=True):
            with column, st.container(border=True, height="stretch"):
                st.markdown(f"**{MEASURES[filters.measure]} by {_LABELS[name].lower()}**")
                figure = fleet_charts.breakdown(classes, name, filters.measure)
                show_plot(figure, key=f"overview.by.{name}", alt=f"{MEASURES[filters.measure]} by {_LABELS[name]}")


def _legend(classes: list[RunClass]) -> str:
    parts = []
    if any(each.name == "real" for each in classes):
        parts.append("solid: real and measured · pale: real and modelled")
    if any(each.name == "simulated" for each in classes):
        parts.append("hatched: simulated")
    both = " · each in percent of its own total, real and simulated are never added up" if len(classes) > 1 else ""
    return " · ".join(parts) + both


def show_top_runs(classes: list[RunClass]) -> None:
    """Show the runs that used most; a click opens one."""
    st.markdown("#### Top consumers")
    rows = [
        {
            "Energy": share.totals.energy_kwh,
            "Share": f"{percent(share.totals.energy_kwh / (each.totals.energy_kwh or 1.0))} of {each.name}",
            "Emissions": share.totals.emissions_kg,
            "Method": ", ".join(method_labels(share.summary)) or MISSING,
            "Model": share.summary["model_name"],
            "User": share.summary["user_id"],
            "Project": share.summary["project"] or MISSING,
            "Region": share.summary["region_iso"],
            "Status": data.run_state(share.summary).label,
            "Run": share.summary["_id"],
        }
        for each in classes
        for share in each.runs[:_MOST_RUNS]
    ]
    table = pd.DataFrame(rows)
    views.run_links(table, {"Energy": ENERGY.text, "Emissions": EMISSIONS.text}, {}, _PAGE, "Runs that used most")
    st.caption("Click a row to open its run.")


def _of_class(runs: list[Document], name: str) -> list[Document]:
    return [run for run in runs if class_of(run) == name]


views.title_row("Overview", _PAGE)
show_page()
