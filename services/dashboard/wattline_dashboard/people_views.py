"""Pieces of the page People: what is shown of whom and when, budgets and their banners, and the statement."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from wattline_common.errors import ConfigurationError
from wattline_dashboard import data, fleet_views, people_charts, people_data, views
from wattline_dashboard.budget_use import BudgetUse
from wattline_dashboard.export import file_name
from wattline_dashboard.export_views import save_button, table_exports
from wattline_dashboard.facts import method_labels
from wattline_dashboard.fleet import Totals
from wattline_dashboard.fleet_charts import QUANTITIES
from wattline_dashboard.formats import EMISSIONS, ENERGY, MISSING, literal, percent
from wattline_dashboard.people import Usage, curve
from wattline_dashboard.people_scene import Scene, found, statement_of
from wattline_dashboard.plot import show_plot
from wattline_dashboard.spans import Span
from wattline_dashboard.statement import groups_to_save, printable, runs_to_save

__all__ = [
    "show_banners",
    "show_budget_courses",
    "show_budget_problem",
    "show_budgets",
    "show_class_head",
    "show_saves",
    "show_statement",
]

_MOST_BANNERS = 8  # lines of one banner
_MOST_COURSES = 6  # drawn
_MAX_RUNS = 200  # listed


def show_class_head(name: str, usage: Usage) -> None:
    """Say which class of runs the figures below are of, and how they were got."""
    fleet_views.class_head(name, Totals(usage.energy_kwh, usage.measured_energy_kwh, usage.emissions_kg))


def show_budget_problem(problem: ConfigurationError | None, *, has_old: bool) -> None:
    """Say what is wrong with the file of budgets."""
    if problem is None:
        return
    st.error("**The file of budgets is wrong.** " + ("Those that were right before are used." if has_old else ""))
    st.text(str(problem))


def show_banners(uses: Sequence[BudgetUse], now: datetime.datetime, zone: datetime.tzinfo) -> None:
    """Say which budgets of now are passed, and which nearly are."""
    for show, chosen, title in (
        (st.error, [use for use in uses if use.is_passed], "passed"),
        (st.warning, [use for use in uses if use.is_near], "nearly used up"),
    ):
        if not chosen:
            continue
        lines = [f"- {literal(_sentence(use, now, zone))}" for use in chosen[:_MOST_BANNERS]]
        more = [f"- and {len(chosen) - _MOST_BANNERS} more"] if len(chosen) > _MOST_BANNERS else []
        count = f"{len(chosen)} budgets are" if len(chosen) > 1 else "A budget is"
        show("\n".join([f"**{count} {title}**", "", *lines, *more]))


def _sentence(use: BudgetUse, now: datetime.datetime, zone: datetime.tzinfo) -> str:
    used = QUANTITIES[use.budget.measure].text(use.used)
    day = _day(use.passes_at(now, zone), zone)
    expected = f"; at this pace it is passed on {day}" if day else ""
    return f"{use.budget.words}; in {use.span.label} {used} are used, {percent(use.ratio)}{expected}"


def _day(moment: datetime.datetime | None, zone: datetime.tzinfo) -> str:
    return f"{moment.astimezone(zone):%Y-%m-%d}" if moment else ""


def show_budgets(uses: Sequence[BudgetUse], now: datetime.datetime, zone: datetime.tzinfo, span: Span) -> None:
    """Show how far each budget was used up in the span, in figures and as a bar."""
    st.markdown("#### Budgets")
    rows = [
        {
            "Budget of": f"{use.budget.owner} {use.budget.name}",
            "State": use.state,
            "Used": QUANTITIES[use.budget.measure].text(use.used),
            "Of": use.budget.limit_text,
            "Share": 100 * use.ratio,
            "Left": QUANTITIES[use.budget.measure].text(max(0.0, use.budget.limit - use.used)),
            "Counts": use.budget.counts,
            "Passed on, at this pace": f"{at.astimezone(zone):%Y-%m-%d}"
            if (at := use.passes_at(now, zone))
            else MISSING,
        }
        for use in uses
    ]
    st.dataframe(
        views.as_shown(pd.DataFrame(rows)),
        key="people.budgets",
        hide_index=True,
        height="content",
        column_config={
            "Share": st.column_config.ProgressColumn("Share", format="%.1f %%", min_value=0, max_value=100, width=160)
        },
        alt=f"Budgets in {span.label}: used, limit, share and what is left",
    )


def show_budget_courses(uses: Sequence[BudgetUse], now: datetime.datetime, zone: datetime.tzinfo) -> None:
    """Show, for the fullest budgets, how they are used up: each a running total under its line."""
    chosen = list(uses[:_MOST_COURSES])
    for start in range(0, len(chosen), 3):
        for use, column in zip(chosen[start : start + 3], st.columns(3), strict=False):
            budget, span = use.budget, use.span
            rows = people_data.course(budget.owner, budget.name, [span], zone)
            steps = {budget.counts: curve(rows, budget.counts, span.since(zone), span.until(zone))}
            with column, st.container(border=True):
                st.markdown(f"**{literal(budget.name)}**  :gray[{use.state}, {percent(use.ratio)} used]")
                figure = people_charts.running_totals(
                    steps, [budget], span, zone, now, budget.measure, height_px=people_charts.SMALL_PX
                )
                alt = f"Budget of {budget.words}: used so far in {span.label}"
                show_plot(figure, key=f"people.budget.{start}.{chosen.index(use)}", alt=alt)


def show_statement(scene: Scene) -> None:
    """Show the runs behind the figures."""
    statement = statement_of(scene)
    span, runs = scene.span, statement.runs
    st.markdown(f"#### Statement: {literal(statement.title)}, {span.label}")
    if people_data.is_cut(scene.filters.by, span, scene.zone):
        st.warning("**There are more runs than can be listed**; the sums above hold all.")
    table = _run_table(runs, statement.summaries)
    if not table.empty:
        formats = {"Energy": ENERGY.text, "Emissions": EMISSIONS.text}
        views.run_links(table, formats, {}, "people.runs", f"Runs of the statement of {span.label}")
        listed = f" The first {_MAX_RUNS} of {len(runs)} are listed." if len(runs) > _MAX_RUNS else ""
        st.caption(f"Click a row to open its run.{listed}")


def show_saves(scene: Scene) -> None:
    """Let the statement be printed and saved; beside the live panel, as what that refreshes cannot be clicked long."""
    filters, span = scene.filters, scene.span
    name = (filters.by, filters.name or "all", span.key)
    with st.container(horizontal=True, vertical_alignment="center", gap="large", key="people.save"):
        save_button(
            "Statement to print (HTML)",
            lambda: printable(statement_of(scene), data.now()),
            file_name("statement", *name, ending="html"),
            "text/html",
            key="people.statement",
        )
        table_exports(
            "-".join(("runs", *name)),
            lambda: runs_to_save(statement_of(scene)),
            page="people",
            what="the statement's runs",
            key="runs",
        )
        table_exports(
            f"{filters.by}s-{span.key}",
            lambda: groups_to_save(filters.by, span, scene.zone, found(scene).groups),
            page="people",
            what=f"all {filters.by}s",
            key="groups",
        )


def _run_table(runs: Mapping[tuple[str, str], Usage], summaries: Mapping[str, dict[str, object]]) -> pd.DataFrame:
    rows = []
    for (run_id, class_name), usage in list(runs.items())[:_MAX_RUNS]:
        summary = summaries.get(run_id)
        rows.append(
            {
                "Energy": usage.energy_kwh,
                "Emissions": usage.emissions_kg,
                "Method": ", ".join(method_labels(summary)) if summary else class_name,
                "Model": summary["model_name"] if summary else MISSING,
                "User": summary["user_id"] if summary else MISSING,
                "Project": (summary["project"] or MISSING) if summary else MISSING,
                "Status": data.run_state(summary).label if summary else MISSING,
                "Run": run_id,
            }
        )
    return pd.DataFrame(rows)
