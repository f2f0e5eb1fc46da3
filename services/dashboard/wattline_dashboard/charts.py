"""Curves to Plotly figures; pure functions, no store and no Streamlit."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, tzinfo

import plotly.graph_objects as go

from wattline_dashboard.curves import KINDS, Banded, Learning, Power
from wattline_dashboard.formats import ENERGY, POWER, Quantity, percent
from wattline_dashboard.palette import CATEGORICAL, KIND_COLOURS, translucent

__all__ = ["KIND_LABELS", "energy_split", "learning", "power", "running_total"]

KIND_LABELS = {"CPU": "CPU", "GPU": "GPU", "MEMORY": "Memory", "OTHER": "Other"}
_HEIGHT_PX = 280
_AXIS_FONT = {"size": 13}
_FEW_POINTS = 40  # below it single points are worth seeing
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - Plotly wants the viewer's wall clock, without a zone


def power(curves: Power, zone: tzinfo) -> go.Figure:
    """Return power over time, kinds of device stacked: the upper edge is the run's power."""
    highest = max((sum(column) for column in zip(*curves.watts.values(), strict=True)), default=0.0)
    scale = POWER.scale(highest)
    figure = _figure(f"Power ({scale.unit})")
    clock = _clock(curves.times_us, zone)
    for kind, watts in curves.watts.items():
        figure.add_scatter(
            x=clock,
            y=[value * scale.factor for value in watts],
            name=KIND_LABELS.get(kind, kind),
            mode="lines",
            stackgroup="power",
            line={"width": 1.5, "color": KIND_COLOURS[kind]},
            fillcolor=translucent(KIND_COLOURS[kind], 0.45),
            hovertemplate=f"%{{y:.4~g}} {scale.unit}",
        )
    return figure


def running_total(curve: Banded, quantity: Quantity, title: str, colour: str, zone: tzinfo) -> go.Figure:
    """Return a running total as a line in its band."""
    scale = quantity.scale(max(curve.high, default=0.0))
    figure = _figure(f"{title} ({scale.unit})")
    clock = _clock(curve.times_us, zone)
    edge = {"x": clock, "mode": "lines", "line": {"width": 0, "color": colour}, "showlegend": False}
    hover = f"%{{y:.4~g}} {scale.unit}"
    figure.add_scatter(y=_scaled(curve.low, scale.factor), name="low", hovertemplate=hover, **edge)
    figure.add_scatter(
        y=_scaled(curve.high, scale.factor),
        name="high",
        fill="tonexty",
        fillcolor=translucent(colour, 0.2),
        hovertemplate=hover,
        **edge,
    )
    figure.add_scatter(
        x=clock,
        y=_scaled(curve.value, scale.factor),
        name=title,
        mode="lines",
        line={"width": 2, "color": colour},
        showlegend=False,
        hovertemplate=hover,
    )
    return figure


def learning(curves: Sequence[Learning], title: str, zone: tzinfo, *, is_share: bool = False) -> go.Figure:
    """Return loss or accuracy, a line for each source; a share is shown in percent."""
    figure = _figure(f"{title} (%)" if is_share else title)
    factor, hover = (100.0, "%{y:.4~g} %") if is_share else (1.0, "%{y:.4~g}")
    for number, curve in enumerate(curves):
        figure.add_scatter(
            x=_clock(curve.times_us, zone),
            y=_scaled(curve.values, factor),
            name=html.escape(curve.source_id) or title,
            mode="lines+markers" if len(curve.values) < _FEW_POINTS else "lines",
            marker={"size": 5},
            line={"width": 2, "color": CATEGORICAL[(number + (7 if is_share else 8)) % len(CATEGORICAL)]},
            showlegend=len(curves) > 1,
            hovertemplate=hover,
        )
    return figure


def energy_split(kind_energy: Mapping[str, float], total_kwh: float) -> go.Figure:
    """Return the run's energy by kind of device, as bars with amount and share."""
    whole = sum(kind_energy.values())
    kinds = [kind for kind in reversed(KINDS) if kind in kind_energy]
    shares = {kind: kind_energy[kind] / whole if whole else 0.0 for kind in kinds}
    scale = ENERGY.scale(total_kwh)
    figure = _figure(None)
    figure.add_bar(
        x=[shares[kind] * total_kwh * scale.factor for kind in kinds],
        y=[KIND_LABELS[kind] for kind in kinds],
        orientation="h",
        marker={"color": [KIND_COLOURS[kind] for kind in kinds]},
        text=[f"{ENERGY.text(shares[kind] * total_kwh)} · {percent(shares[kind])}" for kind in kinds],
        textposition="auto",
        hovertemplate="%{text}<extra></extra>",
    )
    figure.update_layout(
        hovermode="closest", bargap=0.45, xaxis={"title": {"text": f"Energy ({scale.unit})", "font": _AXIS_FONT}}
    )
    figure.update_yaxes(showgrid=False, rangemode="normal")
    return figure


def _figure(y_title: str | None) -> go.Figure:
    return go.Figure(
        layout={
            "template": "none",  # colours and fonts are the page's
            "height": _HEIGHT_PX,
            "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
            "hovermode": "x unified",
            "uirevision": "kept",  # a viewer's zoom outlives the next refresh
            "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0.0},
            "yaxis": {"title": {"text": y_title, "font": _AXIS_FONT}, "rangemode": "tozero"},
        }
    )


def _clock(times_us: Sequence[int], zone: tzinfo) -> list[str]:
    """Return moments as the viewer's wall clock, which Plotly shows as it is given."""
    clock = []
    for time_us in times_us:
        utc = _EPOCH + timedelta(microseconds=time_us)
        clock.append(zone.fromutc(utc.replace(tzinfo=zone)).replace(tzinfo=None).isoformat(timespec="milliseconds"))
    return clock


def _scaled(values: Sequence[float], factor: float) -> list[float]:
    return [value * factor for value in values]
