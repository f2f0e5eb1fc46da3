"""The page People: what users, projects and models used in a month, quarter or year, and how far their budgets are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import streamlit as st

from wattline_dashboard import data, fleet_charts, fleet_views, people_charts, people_data, people_views, views
from wattline_dashboard.budget_use import BudgetUse
from wattline_dashboard.filters import DIMENSIONS, MEASURES, OWNERS, PeopleFilters
from wattline_dashboard.fleet import CLASSES
from wattline_dashboard.formats import EMISSIONS, ENERGY, MISSING, percent
from wattline_dashboard.people import GroupUse, curve, in_spans, run_classes, total
from wattline_dashboard.people_scene import Scene, found
from wattline_dashboard.plot import show_plot

_PAGE = "people"
_REFRESH_S = 30.0  # as long as an answer is kept
_CLASS_CHOICES = {"all": "All, marked", "real": "Real", "simulated": "Simulated"}
_FORMATS: Mapping[str, Callable[[Any], str]] = {"Energy": ENERGY.text, "Emissions": EMISSIONS.text}
_IN_A_ROW = {"month": 12, "quarter": 8, "year": 5}


@views.guarded
def show_page() -> None:
    """Show what may be chosen, and below it what that comes to."""
    if data.newest_run_id() is None:
        views.nothing_yet()
        return
    show_choices(scene())
    views.live(show_people, _REFRESH_S, _PAGE)
    people_views.show_saves(scene())


def scene() -> Scene:
    """Return whom and when the URL wants to see."""
    filters = PeopleFilters.from_query(dict(st.query_params))
    return Scene.of(filters, data.now(), people_data.zone())


def show_choices(scene: Scene) -> None:
    """Show the choices; the URL is where they live."""
    filters = scene.filters
    with st.container(horizontal=True, vertical_alignment="bottom", gap="large", key="people.choices"):
        fleet_views.choice("by", "By", OWNERS, filters.by, _PAGE)
        fleet_views.choice("span", "Of a", scene.kinds_of_span(), scene.span.key, "people.per")
        fleet_views.choice("kind", "Runs that are", _CLASS_CHOICES, scene.kind, _PAGE)
        fleet_views.choice("measure", "Measure", MEASURES, filters.measure, _PAGE)
    which, whom = st.columns(2)
    with which:
        fleet_views.option("span", scene.span.kind.capitalize(), scene.spans_to_choose(), scene.span.key, _PAGE)
    with whom:
        names = sorted(
            {group.name for group in people_data.groups(filters.by, scene.span, scene.zone) if group.name},
            key=str.casefold,
        )
        fleet_views.pick("name", OWNERS[filters.by], names, filters.name, _PAGE)


@views.guarded
def show_people() -> None:
    """Show what the URL wants, and keep it fresh."""
    now_shown = scene()
    filters, span, zone = now_shown.filters, now_shown.span, now_shown.zone
    budgets, problem = people_data.budgets()
    people_views.show_budget_problem(problem, has_old=bool(budgets.entries))
    people_views.show_banners(people_data.budget_uses(budgets.entries, None, zone), data.now(), zone)
    all_of = found(now_shown)
    mine, uses = list(all_of.mine), list(all_of.uses)
    shown = [name for name in CLASSES if any(g.class_name == name and (g.now.energy_kwh or g.run_ids) for g in mine)]
    if not shown:
        of_whom = "" if filters.name is None else f" of this {filters.by}"
        st.info(f"**Nothing was used in {span.label}**{of_whom}. Another {span.kind} may have something.")
    for name in shown:
        show_class(name, mine, now_shown)
    if shown or uses:
        show_courses(now_shown, shown or list(filters.classes(CLASSES))[:1], uses)
    if uses:
        people_views.show_budgets(uses, data.now(), zone, span)
        if filters.name is None:  # else it stands on the curve above
            people_views.show_budget_courses(uses, data.now(), zone)
    if shown:
        show_groups(now_shown, list(all_of.groups))
        people_views.show_statement(now_shown)
    st.caption(
        f"Months begin by the clock of {zone}"
        f"{', as the budgets say' if budgets.zone else ''}. Figures are sums of settled hours and days, about a minute "
        "behind; a run counts with the part that it used in the time shown."
    )


def show_class(name: str, groups: list[GroupUse], scene: Scene) -> None:
    """Show what one class of runs comes to."""
    now, before = total(groups, name)
    mine = [group for group in groups if group.class_name == name and (group.now.energy_kwh or group.run_ids)]
    last = scene.span.shifted(-1).label
    with st.container(border=True, key=f"people.{name}"):
        people_views.show_class_head(name, now)
        figures = (
            (f"Energy, {name}", ENERGY.text(now.energy_kwh), f"{last}: {ENERGY.text(before.energy_kwh)}"),
            (f"Emissions, {name}", EMISSIONS.text(now.emissions_kg), f"{last}: {EMISSIONS.text(before.emissions_kg)}"),
            (f"Band, {name}", ENERGY.band(now.energy_low_kwh, now.energy_high_kwh), "of the energy"),
            (f"{OWNERS[scene.filters.by]}s, {name}", str(len(mine)), None),
            (f"Runs, {name}", str(len({run_id for group in mine for run_id in group.run_ids})), None),
        )
        for column, (label, value, beside) in zip(st.columns([3, 3, 3, 2, 2]), figures, strict=True):
            with column:
                st.metric(label, value, beside, delta_color="off", delta_arrow="off", border=True, height="stretch")


def show_courses(scene: Scene, classes: list[str], uses: list[BudgetUse]) -> None:
    """Show the running total under its budgets and, beside it, the spans before."""
    filters, span, zone = scene.filters, scene.span, scene.zone
    spans = [span.shifted(-back) for back in range(_IN_A_ROW[span.kind] - 1, -1, -1)]
    rows = people_data.course(filters.by, filters.name, spans, zone)
    since, until = span.since(zone), span.until(zone)
    curves = {name: curve(rows, name, since, until) for name in classes}
    in_a_row = {name: usages for name, usages in in_spans(rows, spans, zone).items() if name in classes}
    whom = "all" if filters.name is None else filters.name
    # A budget of one of many is no limit of their sum: its line stands where its owner's own curve is shown.
    lines = [use.budget for use in uses] if filters.name is not None else []
    measure = MEASURES[filters.measure]
    so_far, before = st.columns([3, 2])
    with so_far, st.container(border=True):
        until_now = " so far" if data.now() < until else ""
        st.markdown(f"**{measure} in {span.label}{until_now}**  :gray[added up by day]")
        figure = people_charts.running_totals(curves, lines, span, zone, data.now(), filters.measure)
        show_plot(figure, key=f"people.course.{len(curves)}", alt=f"{measure} of {whom} added up in {span.label}")
    with before, st.container(border=True):
        st.markdown(f"**{measure} by {span.kind}**")
        figure = people_charts.spans_in_a_row(in_a_row, spans, span, filters.measure)
        show_plot(figure, key=f"people.spans.{len(in_a_row)}", alt=f"{measure} of {whom} in each {span.kind}")


def show_groups(scene: Scene, groups: list[GroupUse]) -> None:
    """Show all users, projects or models beside each other."""
    filters, span = scene.filters, scene.span
    st.markdown(f"#### By {OWNERS[filters.by].lower()}")
    chart, table = st.columns([2, 3])
    dimension = DIMENSIONS[filters.by]
    with chart, st.container(border=True):
        st.markdown(f"**{MEASURES[filters.measure]} by {filters.by}**  :gray[percent of its own class]")
        figure = fleet_charts.breakdown(run_classes(groups, dimension), dimension, filters.measure)
        show_plot(figure, key="people.groups", alt=f"{MEASURES[filters.measure]} by {filters.by}")
    with table:
        rows = [row_of(group, filters.by, span.shifted(-1).label) for group in groups]
        st.dataframe(
            views.as_shown(pd.DataFrame(rows)).style.format(dict(_FORMATS), na_rep=MISSING),
            key="people.table",
            hide_index=True,
            height="content" if len(rows) <= 12 else 460,
            alt=f"Energy and emissions by {filters.by}",
        )


def row_of(group: GroupUse, owner: str, before: str) -> dict[str, object]:
    """Return a row of the table of users, projects or models."""
    now = group.now
    measured = f"{percent(now.measured_share)} measured" if now.energy_kwh else MISSING
    return {
        OWNERS[owner]: group.name or "none",
        "Energy": now.energy_kwh,
        "Emissions": now.emissions_kg,
        "Method": "simulated" if group.class_name == "simulated" else measured,
        "Runs": len(group.run_ids),
        before: ENERGY.text(group.before.energy_kwh),
        "Band": ENERGY.band(now.energy_low_kwh, now.energy_high_kwh),
    }


views.title_row("People", _PAGE)
show_page()
