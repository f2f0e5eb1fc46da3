"""A fleet's period to Plotly figures: real energy in solid colours, simulated energy hatched, never in one bar."""

from __future__ import annotations

import datetime
import html
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from wattline_dashboard.chart_style import AXIS_FONT, HATCH, layout
from wattline_dashboard.charts import KIND_LABELS
from wattline_dashboard.fleet import Fleet, Group, RunClass, ranked
from wattline_dashboard.formats import EMISSIONS, ENERGY, Quantity, percent, visible
from wattline_dashboard.palette import KIND_COLOURS, REAL_COLOUR, SIMULATED_COLOUR, translucent

__all__ = ["MOST_GROUPS", "QUANTITIES", "breakdown", "over_time"]

QUANTITIES: Mapping[str, Quantity] = {"energy": ENERGY, "emissions": EMISSIONS}
MOST_GROUPS = 6  # of one class in one chart
_ROW_PX = 27
_CLASS_PX = 200
_ROOM_FOR_TEXT = 2.0  # the longest bar leaves this share of the width to its label
_MAX_LABEL = 18
_NAMELESS = "none"
_ONE_PERCENT = 0.01


def over_time(fleet: Fleet, classes: Sequence[RunClass]) -> go.Figure:
    """Return the energy of each bar, stacked by kind of device, each class of runs on an axis of its own."""
    figure = make_subplots(rows=len(classes), cols=1, shared_xaxes=True, vertical_spacing=0.1)
    legend: set[str] = set()
    for row, each in enumerate(classes, start=1):
        scale = ENERGY.scale(max((bar.energy_kwh for bar in each.bars), default=0.0))
        for kind, energies in each.bar_kinds.items():
            figure.add_bar(
                x=[start.isoformat() for start in fleet.starts],
                y=[energy * scale.factor for energy in energies],
                name=KIND_LABELS[kind],
                legendgroup=kind,
                showlegend=kind not in legend,
                marker=_marker(KIND_COLOURS[kind], each.name),
                width=fleet.bar.value * 1000 * 0.86,
                offset=fleet.bar.value * 1000 * 0.07,
                hovertemplate=f"%{{y:.4~g}} {scale.unit}, {each.name}",
                row=row,
                col=1,
            )
            legend.add(kind)
        figure.update_yaxes(
            title={"text": f"{each.name} ({scale.unit})", "font": AXIS_FONT}, rangemode="tozero", row=row
        )
    figure.update_layout(
        **layout(_CLASS_PX * len(classes) + 40),
        barmode="stack",
        hovermode="x unified",
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0.0},
    )
    figure.update_xaxes(range=_range(fleet), type="date")
    return figure


def breakdown(classes: Sequence[RunClass], dimension: str, measure: str) -> go.Figure:
    """Return bars of what each user, model and so on has of its own class's total; the amount stands beside."""
    rows = [
        (each, group)
        for each in classes
        for group in ranked(each.groups[dimension], measure, MOST_GROUPS)
        if each.totals.run_ids
    ]
    figure = go.Figure()
    positions = list(range(len(rows)))
    parts = ("measured", "modelled", "simulated")
    shares = [_parts(each, group, measure) for each, group in rows]
    for part in parts:
        values = [share.get(part, 0.0) for share in shares]
        if any(values):
            figure.add_bar(
                x=values, y=positions, orientation="h", name=part, marker=_PART_MARKERS[part], hoverinfo="skip"
            )
    longest = max((sum(share.values()) for share in shares), default=0.0) or 1.0
    for position, (each, group), share in zip(positions, rows, shares, strict=True):
        figure.add_annotation(
            x=sum(share.values()),
            y=position,
            text=_amount(each, group, measure),
            hovertext=_details(each, group),
            showarrow=False,
            xanchor="left",
            xshift=4,
            font=AXIS_FONT,
        )
    figure.update_layout(
        **layout(max(3, len(rows)) * _ROW_PX + 16), barmode="stack", bargap=0.3, hovermode=False, showlegend=False
    )
    figure.update_xaxes(visible=False, range=[0, longest * _ROOM_FOR_TEXT], fixedrange=True)
    figure.update_yaxes(
        tickvals=positions,
        ticktext=[_label(group) for _, group in rows],
        range=[max(3, len(rows)) - 0.4, -0.6],
        showgrid=False,
        zeroline=False,
        fixedrange=True,
    )
    return figure


def _parts(each: RunClass, group: Group, measure: str) -> dict[str, float]:
    """Return the group's share of its class, split by how it was got."""
    share = group.totals.of(measure) / (each.totals.of(measure) or 1.0)
    if each.name == "simulated":
        return {"simulated": share}
    measured = group.totals.measured_share or 0.0
    return {"measured": share * measured, "modelled": share * (1 - measured)}


def _amount(each: RunClass, group: Group, measure: str) -> str:
    amount, whole = group.totals.of(measure), each.totals.of(measure)
    share = amount / whole if whole else 0.0
    return f"{QUANTITIES[measure].text(amount)} · {'<1' if 0 < share < _ONE_PERCENT else f'{100 * share:.0f}'} %"


def _details(each: RunClass, group: Group) -> str:
    """Return what a pointer on a group's amount is told."""
    totals = group.totals
    runs = f"{len(totals.run_ids)} {each.name} run{'s' if len(totals.run_ids) > 1 else ''}"
    measured = f"<br>{percent(totals.measured_share)} measured" if each.name == "real" else ""
    label = html.escape(visible(group.label)) or _NAMELESS
    return f"{label}<br>{runs}<br>{ENERGY.text(totals.energy_kwh)}<br>{EMISSIONS.text(totals.emissions_kg)}{measured}"


def _label(group: Group) -> str:
    text = visible(group.label) or _NAMELESS
    short = text if len(text) <= _MAX_LABEL else f"{text[: _MAX_LABEL - 1]}…"
    return f"<i>{html.escape(short)}</i> " if group.is_rest or not group.label else f"{html.escape(short)} "


def _marker(colour: str, class_name: str) -> dict[str, Any]:
    if class_name == "simulated":
        return {"color": colour, "pattern": HATCH, "line": {"color": colour, "width": 1}}
    return {"color": colour}


_PART_MARKERS: Mapping[str, dict[str, Any]] = {
    "measured": _marker(REAL_COLOUR, "real"),
    "modelled": {"color": translucent(REAL_COLOUR, 0.45), "line": {"color": REAL_COLOUR, "width": 1}},
    "simulated": _marker(SIMULATED_COLOUR, "simulated"),
}


def _range(fleet: Fleet) -> list[str]:
    end = fleet.starts[-1] + datetime.timedelta(seconds=fleet.bar.value)
    return [fleet.starts[0].isoformat(), end.isoformat()]
