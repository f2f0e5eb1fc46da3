"""The stream's load, batches and rejections to Plotly figures; pure."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from wattline_dashboard.chart_style import AXIS_FONT, LEGEND, layout
from wattline_dashboard.formats import count, percent
from wattline_dashboard.palette import CATEGORICAL
from wattline_dashboard.pipeline import Moment

__all__ = ["batch_time", "lag", "rates", "rejections"]

_HEIGHT_PX = 240
_BAR_PX = 30
_READ_COLOUR, _BOOKED_COLOUR, _LAG_COLOUR = CATEGORICAL[0], CATEGORICAL[2], CATEGORICAL[6]
_TIME_COLOUR, _REJECTED_COLOUR = CATEGORICAL[7], CATEGORICAL[8]
_ROOM_FOR_TEXT = 1.45  # the longest bar leaves a part of the width to its label
_FEW_POINTS = 40


def lag(moments: Sequence[Moment], zone: datetime.tzinfo) -> go.Figure:
    """Return how many messages waited, over time."""
    figure = _figure("Messages waiting")
    _line(figure, moments, [each.lag_messages for each in moments], "lag", _LAG_COLOUR, zone)
    return figure


def rates(moments: Sequence[Moment], zone: datetime.tzinfo) -> go.Figure:
    """Return how many messages a second were read, and how many events booked; the second line is dashed."""
    figure = _figure("Per second")
    _line(figure, moments, [each.messages_per_s for each in moments], "messages read", _READ_COLOUR, zone)
    _line(figure, moments, [each.events_per_s for each in moments], "events booked", _BOOKED_COLOUR, zone, dash="dash")
    return figure


def batch_time(parts: Sequence[tuple[str, float]]) -> go.Figure:
    """Return the seconds that each part of the batches took, the biggest on top."""
    whole_s = sum(seconds for _, seconds in parts)
    texts = [f"{seconds:.3g} s · {percent(seconds / (whole_s or 1.0))}" for _, seconds in parts]
    return _bars([name for name, _ in parts], [seconds for _, seconds in parts], texts, "Seconds", _TIME_COLOUR)


def rejections(counts: Mapping[str, int]) -> go.Figure:
    """Return how many messages were rejected, by reason, the most frequent on top."""
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    names, numbers = [name for name, _ in ranked], [number for _, number in ranked]
    return _bars(names, numbers, [count(number) for number in numbers], "Messages", _REJECTED_COLOUR)


def _line(
    figure: go.Figure,
    moments: Sequence[Moment],
    values: Sequence[float | None],
    name: str,
    colour: str,
    zone: datetime.tzinfo,
    dash: str = "solid",
) -> None:
    figure.add_scatter(
        x=[each.at.astimezone(zone).replace(tzinfo=None).isoformat(timespec="milliseconds") for each in moments],
        y=list(values),
        name=name,
        mode="lines+markers" if len(moments) < _FEW_POINTS else "lines",
        line={"width": 2, "color": colour, "dash": dash},
        marker={"size": 5},
        hovertemplate="%{y:.4~g}",
    )


def _bars(names: Sequence[str], values: Sequence[float], texts: Sequence[str], title: str, colour: str) -> go.Figure:
    figure = _figure(None, height=max(160, 60 + _BAR_PX * len(names)))
    figure.add_bar(
        x=list(values),
        y=list(names),
        orientation="h",
        marker={"color": colour},
        text=list(texts),
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}: %{text}<extra></extra>",
    )
    top = max(values, default=0.0) or 1.0
    figure.update_layout(
        hovermode="closest",
        bargap=0.35,
        xaxis={"title": {"text": title, "font": AXIS_FONT}, "range": [0, top * _ROOM_FOR_TEXT]},
    )
    figure.update_yaxes(autorange="reversed", showgrid=False, rangemode="normal")
    return figure


def _figure(y_title: str | None, height: int = _HEIGHT_PX) -> go.Figure:
    return go.Figure(
        layout={
            **layout(height),
            "hovermode": "x unified",
            "legend": LEGEND,
            "yaxis": {"title": {"text": y_title, "font": AXIS_FONT}, "rangemode": "tozero"},
        }
    )
