"""What was used over a month or a year, to Plotly figures: running totals under their budgets, and spans in a row."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from wattline_dashboard.budgets import Budget
from wattline_dashboard.chart_style import AXIS_FONT, HATCH, layout
from wattline_dashboard.fleet_charts import QUANTITIES
from wattline_dashboard.palette import BUDGET_COLOUR, REAL_COLOUR, SIMULATED_COLOUR, translucent
from wattline_dashboard.people import Step, Usage
from wattline_dashboard.spans import Span

__all__ = ["SMALL_PX", "running_totals", "spans_in_a_row"]

SMALL_PX = 200
_HEIGHT_PX = 300
_COLOURS = {"real": REAL_COLOUR, "simulated": SIMULATED_COLOUR}
_ROOM_ABOVE = 1.12  # for the words on the highest budget line


def running_totals(
    curves: Mapping[str, Sequence[Step]],
    budgets: Sequence[Budget],
    span: Span,
    zone: datetime.tzinfo,
    now: datetime.datetime,
    measure: str,
    height_px: int = _HEIGHT_PX,
) -> go.Figure:
    """Return what each class of runs had used by then, each on an axis of its own, under the budgets that count it."""
    figure = make_subplots(rows=max(1, len(curves)), cols=1, shared_xaxes=True, vertical_spacing=0.12)
    for row, (name, steps) in enumerate(curves.items(), start=1):
        lines = [budget for budget in budgets if budget.counts == name and budget.measure == measure]
        highest = max([steps[-1].usage.of(measure), *(budget.limit for budget in lines)])
        scale = QUANTITIES[measure].scale(highest)
        end = min(max(now, steps[0].until), span.until(zone))
        steps = [*steps, Step(end, steps[-1].usage)]  # nothing more was used since
        figure.add_scatter(
            x=[_wall(min(step.until, end), zone) for step in steps],
            y=[step.usage.of(measure) * scale.factor for step in steps],
            name=name,
            mode="lines",
            fill="tozeroy",
            fillcolor=translucent(_COLOURS[name], 0.18),
            line={"width": 2, "color": _COLOURS[name], "dash": "dot" if name == "simulated" else "solid"},
            hovertemplate=f"%{{y:.4~g}} {scale.unit}, {name}",
            showlegend=False,
            row=row,
            col=1,
        )
        for budget in lines:
            _add_line(figure, budget, scale.factor, row)
        title = {"text": f"{name} ({scale.unit})", "font": AXIS_FONT}
        top = highest * scale.factor * _ROOM_ABOVE or 1.0
        figure.update_yaxes(title=title, range=[0, top], row=row, col=1)
    figure.update_xaxes(range=[_wall(span.since(zone), zone), _wall(span.until(zone), zone)], type="date")
    figure.update_layout(**layout(height_px + 120 * (len(curves) - 1)), hovermode="x unified")
    return figure


def spans_in_a_row(
    usages: Mapping[str, Sequence[Usage]], spans: Sequence[Span], shown: Span, measure: str
) -> go.Figure:
    """Return a bar for each span, each class of runs on an axis of its own; the one that is shown stands out."""
    figure = make_subplots(rows=max(1, len(usages)), cols=1, shared_xaxes=True, vertical_spacing=0.12)
    labels = [_short(span) for span in spans]
    opacities = [1.0 if span == shown else 0.55 for span in spans]
    for row, (name, values) in enumerate(usages.items(), start=1):
        scale = QUANTITIES[measure].scale(max((usage.of(measure) for usage in values), default=0.0))
        marker: dict[str, Any] = {"color": _COLOURS[name], "opacity": opacities}
        if name == "simulated":
            marker |= {"pattern": HATCH, "line": {"color": _COLOURS[name], "width": 1}}
        figure.add_bar(
            x=labels,
            y=[usage.of(measure) * scale.factor for usage in values],
            name=name,
            marker=marker,
            hovertemplate=f"%{{y:.4~g}} {scale.unit}, {name}<extra></extra>",
            row=row,
            col=1,
        )
        figure.update_yaxes(
            title={"text": f"{name} ({scale.unit})", "font": AXIS_FONT}, rangemode="tozero", row=row, col=1
        )
    figure.update_xaxes(type="category")
    figure.update_layout(**layout(_HEIGHT_PX + 120 * (len(usages) - 1)), bargap=0.25, showlegend=False)
    return figure


def _add_line(figure: go.Figure, budget: Budget, factor: float, row: int) -> None:
    figure.add_hline(
        y=budget.limit * factor,
        line={"color": BUDGET_COLOUR, "width": 2, "dash": "dash"},
        annotation={
            "text": f"budget {budget.limit_text}",
            "font": AXIS_FONT,
            "showarrow": False,
            "yanchor": "bottom",
        },
        annotation_position="top left",
        row=row,
        col=1,
    )


def _short(span: Span) -> str:
    """Return a label that fits under a bar."""
    if span.kind == "month":
        return f"{span.label[:3]}<br>{span.year % 100:02}"
    return span.label


def _wall(moment: datetime.datetime, zone: datetime.tzinfo) -> str:
    """Return a moment as a zone's wall clock, which Plotly shows as it is given."""
    return moment.astimezone(zone).replace(tzinfo=None).isoformat()
