"""Windows of a minute as they stand in the store, drawn for properties: any figures, any groups, around midnights."""

from __future__ import annotations

import datetime
from typing import Any

from hypothesis import strategies as st

from wattline_common import store
from wattline_common.store import MEAN_WEIGHTS, Document

__all__ = ["MIDNIGHT", "column", "histories", "window"]

MIDNIGHT = datetime.datetime(2026, 3, 2, tzinfo=datetime.UTC)

_ENERGIES = [name for name in store.RollupAggregate.__annotations__ if name.endswith("_kwh")] + ["emissions_kg"]
_KEYS = st.sampled_from(["ada", "null", 'b|"c', ""])
_AMOUNTS = st.floats(0, 1e3) | st.just(0.1)


@st.composite
def _aggregates(draw: st.DrawFn) -> Document:
    """Draw the figures of a window; a mean is null exactly when nothing weighs it."""
    figures: Document = {"revision": 1, "events": draw(st.integers(1, 200)), "samples": draw(st.integers(0, 60))}
    figures |= {name: draw(_AMOUNTS) for name in _ENERGIES}
    for mean, weight in MEAN_WEIGHTS.items():
        figures[weight] = draw(_AMOUNTS if weight == "interval_s" else st.integers(0, 60))
        figures[mean] = draw(_AMOUNTS) if figures[weight] else None
    figures["power_max_w"] = None if figures["power_avg_w"] is None else figures["power_avg_w"] + draw(_AMOUNTS)
    context = {name: draw(_KEYS) for name in ("user_id", "model_name", "region_iso")}
    figures["context"] = context | {"project": draw(_KEYS | st.none()), "simulated": draw(st.booleans())}
    return figures


def window(run_id: str, start: datetime.datetime, aggregate: Document) -> Document:
    """Return the document of a run's window."""
    start_us = round(start.timestamp()) * 1_000_000
    end = start + datetime.timedelta(seconds=store.WINDOW_LENGTH_S)
    same: Document = {"run_id": run_id, "window_start": start, "window_end": end, "length_s": store.WINDOW_LENGTH_S}
    return {"_id": store.window_id(run_id, start_us), **same, "aggregate": aggregate}


def histories(most: int = 20) -> st.SearchStrategy[list[Document]]:
    """Return a strategy of windows of a few runs, none twice, in hours and days that border each other."""
    minutes = st.sampled_from([-1500, -1441, -1440, -61, -60, -2, -1, 0, 1, 59, 60, 61, 1439, 1440])
    starts = minutes.map(lambda minute: MIDNIGHT + datetime.timedelta(minutes=minute))
    places = st.tuples(st.sampled_from(["run-a", "run-b", "run-c"]), starts)
    drawn = st.dictionaries(places, _aggregates(), max_size=most)
    return drawn.map(lambda windows: [window(*place, aggregate) for place, aggregate in windows.items()])


def column(windows: list[Document], name: str) -> list[Any]:
    """Return one figure of all windows."""
    return [each["aggregate"][name] for each in windows]
