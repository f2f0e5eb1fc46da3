"""What runs learned over what they used, to Plotly figures: a colour and a letter for each, and the Pareto front."""

from __future__ import annotations

import html
from collections.abc import Sequence

import plotly.graph_objects as go

from wattline_dashboard.chart_style import AXIS_FONT, LEGEND, layout
from wattline_dashboard.comparison import Compared, Cost, front
from wattline_dashboard.filters import MEASURES
from wattline_dashboard.fleet_charts import QUANTITIES
from wattline_dashboard.formats import Scale, visible
from wattline_dashboard.palette import NEUTRAL_COLOUR

__all__ = ["learning_cost"]

_HEIGHT_PX = 380
_MAX_LABEL = 24
_MAX_FRONT_POINTS = 2_000
_ROOM_FOR_LETTERS = 1.06
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star")


def learning_cost(runs: Sequence[Compared], what: str, measure: str) -> go.Figure | None:
    """Return ``loss`` or ``accuracy`` over energy or emissions, or none when no run has reported any."""
    curves = [(run, [curve for curve in run.costs(what, measure) if curve.used]) for run in runs]
    drawn = [(run, own) for run, own in curves if own]
    if not drawn:
        return None
    highest = max(max(curve.used) for _, own in drawn for curve in own)
    scale = QUANTITIES[measure].scale(highest)
    figure = _figure(f"{MEASURES[measure]} ({scale.unit})", "Accuracy (%)" if what == "accuracy" else "Loss")
    figure.update_xaxes(range=[0, highest * scale.factor * _ROOM_FOR_LETTERS])
    for name, is_simulated in (("real", False), ("simulated", True)):
        of_class = [curve for run, own in drawn if run.is_simulated == is_simulated for curve in own]
        if of_class:
            _add_front(figure, of_class, what, scale, name)
    for run, own in drawn:
        _add_run(figure, run, own, what, scale)
    return figure


def _add_front(figure: go.Figure, curves: Sequence[Cost], what: str, scale: Scale, name: str) -> None:
    best = front(curves, highest_is_best=what == "accuracy")
    stride = -(-len(best.used) // _MAX_FRONT_POINTS) or 1
    figure.add_scatter(
        x=_scaled(best.used[::stride], scale.factor),
        y=_scaled(best.values[::stride], _factor(what)),
        name=f"Pareto front, {name}",
        mode="lines",
        line={"shape": "hv", "width": 7, "color": NEUTRAL_COLOUR, "dash": "dot" if name == "simulated" else "solid"},
        opacity=0.35,
        hoverinfo="skip",
    )


def _add_run(figure: go.Figure, run: Compared, curves: Sequence[Cost], what: str, scale: Scale) -> None:
    number = ord(run.letter) - ord("A")
    model = visible(run.summary["model_name"])
    short = model if len(model) <= _MAX_LABEL else f"{model[: _MAX_LABEL - 1]}…"
    name = f"{run.letter} {html.escape(short)}{', simulated' if run.is_simulated else ''}"
    unit = " %" if what == "accuracy" else ""
    for at, curve in enumerate(curves):
        x, y = _scaled(curve.used, scale.factor), _scaled(curve.values, _factor(what))
        figure.add_scatter(
            x=x,
            y=y,
            name=name,
            legendgroup=run.letter,
            showlegend=not at,
            mode="lines+markers",
            line={"width": 2, "color": run.colour, "dash": "dot" if run.is_simulated else "solid"},
            marker={
                "symbol": _SYMBOLS[number],
                "color": run.colour,
                "size": [0] * (len(x) - 1) + [11],  # the end of each curve, where its letter stands
                "opacity": 1,
                "line": {"width": 0},
            },
            hovertemplate=f"%{{y:.4~g}}{unit} for %{{x:.4~g}} {scale.unit}<extra>{name}</extra>",
        )
        figure.add_annotation(
            x=x[-1], y=y[-1], text=f"<b>{run.letter}</b>", showarrow=False, xanchor="left", xshift=9, font=AXIS_FONT
        )


def _factor(what: str) -> float:
    return 100.0 if what == "accuracy" else 1.0


def _scaled(values: Sequence[float], factor: float) -> list[float]:
    return [value * factor for value in values]


def _figure(x_title: str, y_title: str) -> go.Figure:
    return go.Figure(
        layout={
            **layout(_HEIGHT_PX),
            "hovermode": "closest",
            "legend": LEGEND,
            "xaxis": {"title": {"text": x_title, "font": AXIS_FONT}},
            "yaxis": {"title": {"text": y_title, "font": AXIS_FONT}},
        }
    )
