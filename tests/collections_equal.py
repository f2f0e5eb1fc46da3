"""Do two stores hold the same? Compares the read models of two databases and names the first difference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pymongo.database import Database

from tests.differences import difference
from wattline_common import store
from wattline_common.store import Document

__all__ = ["Contents", "collections_difference", "contents"]

Contents = Mapping[str, Mapping[str, Document]]
"""Collection -> _id -> document, without what tells when it came in and how often it was written."""

_COMPARED = (store.TRAINING_METRICS, store.TRAINING_RUN_SUMMARY, store.AGGREGATED_METRICS)
_SUMS_TOLERANCE, _SPREAD_TOLERANCE = 1e-9, 1e-6
_SPREADS = frozenset({"cpu_utilization_stddev_pct", "energy_cpu_utilization_corr"})


def contents(database: Database[Document], *, same_topic: bool = True) -> Contents:
    """Return what a database holds; of one topic, raw events also keep their place in it."""
    found: dict[str, dict[str, Document]] = {}
    for name in _COMPARED:
        found[name] = {str(document["_id"]): document for document in database[name].find()}
    for event in found[store.TRAINING_METRICS].values():
        del event["ingested_at"]
        if not same_topic:
            del event["kafka"]
    for run in found[store.TRAINING_RUN_SUMMARY].values():
        run.get("settled", {}).pop("settled_at", None)
    for window in found[store.AGGREGATED_METRICS].values():
        del window["aggregate"]["revision"]
    return found


def collections_difference(found: Contents, wanted: Contents) -> str | None:
    """Return the first place where the contents differ (`collection/_id: field: this, not that`), or None.

    Raw events and summaries must be alike bit by bit, windows and their sums to 1e-9, spreads to 1e-6.
    """
    for name in _COMPARED:
        for key in sorted(found[name].keys() | wanted[name].keys()):
            if key not in found[name] or key not in wanted[name]:
                return f"{name}/{key}: only in the {'first' if key in found[name] else 'second'}"
            if (inner := difference(*_alike(name, found[name][key], wanted[name][key]))) is not None:
                return f"{name}/{key}: {inner}"
    return None


def _alike(name: str, found: Document, wanted: Document) -> tuple[Document, Document]:
    """Return the documents, the first with the second's figures where the two are as close as sums can be."""
    if name == store.AGGREGATED_METRICS:
        return {**found, "aggregate": _closed(found["aggregate"], wanted["aggregate"])}, wanted
    if "settled" in found and "settled" in wanted:
        scale_kwh = max(found["energy_kwh"], wanted["energy_kwh"])  # a difference of sums is as exact as they are
        return {**found, "settled": _closed(found["settled"], wanted["settled"], scale=scale_kwh)}, wanted
    return found, wanted


def _closed(found: Document, wanted: Document, *, scale: float = 0.0) -> Document:
    return {
        name: wanted[name] if _close(name, value, wanted.get(name), scale) else value for name, value in found.items()
    }


def _close(name: str, one: Any, other: Any, scale: float) -> bool:
    if not isinstance(one, float) or not isinstance(other, float):
        return False
    if name in _SPREADS:
        return math.isclose(one, other, rel_tol=_SPREAD_TOLERANCE, abs_tol=_SPREAD_TOLERANCE)
    return math.isclose(one, other, rel_tol=_SUMS_TOLERANCE, abs_tol=_SUMS_TOLERANCE * scale)
