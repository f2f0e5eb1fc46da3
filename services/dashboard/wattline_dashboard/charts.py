"""Curves to Plotly figures; pure functions, no store and no Streamlit."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo

import plotly.graph_objects as go

from wattline_dashboard.chart_style import AXIS_FONT, LEGEND, layout
from wattline_dashboard.costs import EpochCost
from wattline_dashboard.curves import KINDS, Banded, Learning, Power
from wattline_dashboard.formats import ENERGY, POWER, Quantity, percent
from wattline_dashboard.palette import CATEGORICAL, EMISSIONS_COLOUR, ENERGY_COLOUR, KIND_COLOURS, translucent

__all__ = ["KIND_LABELS", "energy_split", "epochs", "learning", "power", "running_total"]

KIND_LABELS = {"CPU": "CPU", "GPU": "GPU", "MEMORY": "Memory", "OTHER": "Other"}
_HEIGHT_PX = 280
_FEW_POINTS = 40  # below it single points are worth seeing
_FEW_BARS = 12  # below it each bar has room for its figure
_MOST_BARS = 200
_MAX_LABEL = 22
_HEADROOM = 1.05  # of the highest power
_LABEL_ROOM = 0.085  # of the plot's height, that a name needs
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - Plotly wants the viewer's wall clock, without a zone


def power(curves: Power, zone: tzinfo) -> go.Figure:
    """Return power over time, kinds of device (or devices) stacked: the upper edge is the run's power."""
    highest = max((sum(column) for column in zip(*curves.watts.values(), strict=True)), default=0.0)
    scale = POWER.scale(highest)
    figure = _figure(f"Power ({scale.unit})")
    clock = _clock(curves.times_us, zone)
    colours = _layer_colours(curves)
    for name, watts in curves.watts.items():
        figure.add_scatter(
            x=clock,
            y=[value * scale.factor for value in watts],
            name=_layer_label(name),
            mode="lines",
            stackgroup="power",
            line={"width": 1.5, "color": colours[name]},
            fillcolor=translucent(colours[name], 0.45),
            hovertemplate=f"%{{y:.4~g}} {scale.unit}",
            showlegend=False,
        )
    if curves.times_us:
        _name_layers(figure, curves, highest, colours)
        figure.update_yaxes(range=[0, highest * scale.factor * _HEADROOM or 1])
        figure.update_layout(margin={"r": _label_px(curves.watts)})
    return figure


def _label_px(names: Iterable[str]) -> int:
    return 28 + 7 * min(_MAX_LABEL, max((len(KIND_LABELS.get(name, name)) for name in names), default=0))


def _layer_label(name: str) -> str:
    label = KIND_LABELS.get(name, name)
    return html.escape(label if len(label) <= _MAX_LABEL else f"{label[: _MAX_LABEL - 1]}\N{HORIZONTAL ELLIPSIS}")


def _layer_colours(curves: Power) -> dict[str, str]:
    """Return each layer's colour: the first device of a kind has its kind's, further ones what is free."""
    free = [colour for colour in CATEGORICAL if colour not in KIND_COLOURS.values()]
    colours: dict[str, str] = {}
    for name in curves.watts:
        mine = KIND_COLOURS[curves.kinds.get(name, name)]
        if mine in colours.values():
            mine = free.pop(0) if free else CATEGORICAL[len(colours) % len(CATEGORICAL)]
        colours[name] = mine
    return colours


def _name_layers(figure: go.Figure, curves: Power, highest: float, colours: Mapping[str, str]) -> None:
    """Write each layer's name beside its right end; names that would overlap are moved apart, bottom to top."""
    below, floor = 0.0, -math.inf
    for name, watts in curves.watts.items():
        at = max((below + watts[-1] / 2) / ((highest or 1.0) * _HEADROOM), floor)
        figure.add_annotation(
            xref="paper",
            yref="paper",
            x=1.0,
            y=at,
            text=f"\N{BLACK SQUARE} {_layer_label(name)}",
            font={"size": 12, "color": colours[name]},
            showarrow=False,
            xanchor="left",
            yanchor="middle",
            xshift=4,
        )
        below += watts[-1]
        floor = at + _LABEL_ROOM


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


def learning(
    curves: Sequence[Learning], title: str, zone: tzinfo, *, is_share: bool = False, energy: Banded | None = None
) -> go.Figure:
    """Return loss or accuracy, a line for each source, over time or over the run's ``energy``; a share in percent."""
    figure = _figure(f"{title} (%)" if is_share else title)
    factor, hover = (100.0, "%{y:.4~g} %") if is_share else (1.0, "%{y:.4~g}")
    scale = ENERGY.scale(max(energy.value, default=0.0)) if energy else None
    for number, curve in enumerate(curves):
        x: Sequence[str | float] = _clock(curve.times_us, zone)
        if energy and scale:
            x = _scaled([energy.at(time_us) for time_us in curve.times_us], scale.factor)
        figure.add_scatter(
            x=x,
            y=_scaled(curve.values, factor),
            name=html.escape(curve.source_id) or title,
            mode="lines+markers" if len(curve.values) < _FEW_POINTS else "lines",
            marker={"size": 5, "symbol": number},
            line={
                "width": 2,
                "color": CATEGORICAL[(number + (7 if is_share else 8)) % len(CATEGORICAL)],
                "dash": _DASHES[number % len(_DASHES)],
            },
            showlegend=len(curves) > 1,
            hovertemplate=hover,
        )
    if scale:
        figure.update_xaxes(title={"text": f"Energy so far ({scale.unit})", "font": AXIS_FONT}, rangemode="tozero")
    return figure


def epochs(costs: Sequence[EpochCost], mean_kwh: float | None) -> go.Figure:
    """Return the energy of each epoch as bars, the one under way hatched, and their mean as a line."""
    drawn = _grouped(costs)
    scale = ENERGY.scale(max((each.energy_kwh for each in drawn), default=0.0))
    figure = _figure(f"Energy of an epoch ({scale.unit})")
    figure.add_bar(
        x=[each.epoch for each in drawn],
        y=[each.energy_kwh * scale.factor for each in drawn],
        marker={
            "color": ENERGY_COLOUR,
            "pattern": {"shape": ["/" if each.is_open else "" for each in drawn], "solidity": 0.45},
        },
        text=[ENERGY.text(each.energy_kwh) for each in drawn] if len(drawn) <= _FEW_BARS else None,
        textposition="outside",
        hovertemplate=[
            f"epoch %{{x}}: {ENERGY.text(each.energy_kwh)}{', so far' if each.is_open else ''}<extra></extra>"
            for each in drawn
        ],
    )
    if mean_kwh is not None and len(drawn) > 1:
        figure.add_hline(
            y=mean_kwh * scale.factor,
            line={"width": 1.5, "dash": "dash", "color": EMISSIONS_COLOUR},
        )
    figure.update_layout(hovermode="closest", bargap=0.25)
    figure.update_xaxes(title={"text": "Epoch", "font": AXIS_FONT}, tickformat="d")
    return figure


def _grouped(costs: Sequence[EpochCost]) -> list[EpochCost]:
    """Return at most `_MOST_BARS` bars: of more epochs, each is the mean of several."""
    size = -(-len(costs) // _MOST_BARS)
    groups = [costs[start : start + size] for start in range(0, len(costs), size or 1)]
    return [
        EpochCost(
            group[-1].epoch,
            sum(each.energy_kwh * each.epochs for each in group) / sum(each.epochs for each in group),
            sum(each.epochs for each in group),
            is_open=group[-1].is_open,
        )
        for group in groups
    ]


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
        hovermode="closest", bargap=0.45, xaxis={"title": {"text": f"Energy ({scale.unit})", "font": AXIS_FONT}}
    )
    figure.update_yaxes(showgrid=False, rangemode="normal")
    return figure


def _figure(y_title: str | None) -> go.Figure:
    return go.Figure(
        layout={
            **layout(_HEIGHT_PX),
            "hovermode": "x unified",
            "legend": LEGEND,
            "yaxis": {"title": {"text": y_title, "font": AXIS_FONT}, "rangemode": "tozero"},
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
