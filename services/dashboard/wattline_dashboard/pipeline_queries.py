"""Why the page Pipeline is empty: what the stream wrote of itself, what it rejected, and which runs have gaps."""

from __future__ import annotations

import datetime
import re

from pymongo import ASCENDING, DESCENDING
from pymongo.database import Database

from wattline_common.store import (
    AUDIT,
    DIRTY_WINDOWS,
    PIPELINE_HEALTH,
    REJECTED_EVENTS,
    STREAMING,
    TRAINING_RUN_SUMMARY,
    Document,
)
from wattline_dashboard.queries import MAX_RUNS, translated

__all__ = [
    "MAX_REJECTED",
    "count_rejected",
    "health",
    "is_reason",
    "is_rejected_id",
    "oldest_dirty",
    "recent_coverage",
    "rejected",
    "rejected_event",
]

MAX_REJECTED = 200

_REASON = re.compile(r"[a-z_]{1,64}")
_REJECTED_ID = re.compile(r"[^\x00-\x1f\x7f]{1,512}")  # cluster:topic:partition:offset
_HEALTH_FIELDS: dict[str, int] = dict.fromkeys(
    (
        *("batch_at", "batch_s", "previous_batch", "ledger", "registry", "figures"),
        *("at", "clean", "runs", "differences", "pending", "repaired"),
    ),
    1,
)
_REJECTED_FIELDS: dict[str, int] = dict.fromkeys(
    ("reason", "detail", "partition", "offset", "append_time", "rejected_at"), 1
)
_COVERAGE_FIELDS: dict[str, int] = dict.fromkeys(
    ("status", "simulated", "methods", "user_id", "model_name", "last_event_at", "energy_kwh", "settled"), 1
)


def is_reason(text: object) -> bool:
    """Say whether something from outside can be the reason of a rejection."""
    return isinstance(text, str) and _REASON.fullmatch(text) is not None


def is_rejected_id(text: object) -> bool:
    """Say whether something from outside can be the identity of a rejected message."""
    return isinstance(text, str) and _REJECTED_ID.fullmatch(text) is not None


@translated
def health(database: Database[Document]) -> dict[str, Document]:
    """Return what the stream and the last audit wrote of themselves, by document."""
    found = database[PIPELINE_HEALTH].find({"_id": {"$in": [STREAMING, AUDIT]}}, _HEALTH_FIELDS)
    return {document["_id"]: document for document in found}


@translated
def rejected(database: Database[Document], reason: str | None) -> list[Document]:
    """Return the messages rejected last, without their bytes: of one reason, or of all."""
    condition = {} if reason is None else {"reason": {"$eq": str(reason)}}
    cursor = database[REJECTED_EVENTS].find(condition, _REJECTED_FIELDS)
    return list(cursor.sort("rejected_at", DESCENDING).limit(MAX_REJECTED))


@translated
def rejected_event(database: Database[Document], identity: str) -> Document | None:
    """Return one rejected message with its bytes, or none."""
    return database[REJECTED_EVENTS].find_one({"_id": {"$eq": str(identity)}})


@translated
def count_rejected(database: Database[Document]) -> int:
    """Return about how many rejected messages are kept."""
    return database[REJECTED_EVENTS].estimated_document_count()


@translated
def oldest_dirty(database: Database[Document]) -> datetime.datetime | None:
    """Return when the window that waits longest to be settled was due, or none."""
    cursor = database[DIRTY_WINDOWS].find({}, {"due_at": 1}).sort("due_at", ASCENDING).limit(1)
    found: datetime.datetime | None = next((mark["due_at"] for mark in cursor), None)
    return found


@translated
def recent_coverage(database: Database[Document]) -> list[Document]:
    """Return what the runs last heard of say of their own totals, and their windows of them."""
    cursor = database[TRAINING_RUN_SUMMARY].find({}, _COVERAGE_FIELDS)
    return list(cursor.sort("last_event_at", DESCENDING).limit(MAX_RUNS))
