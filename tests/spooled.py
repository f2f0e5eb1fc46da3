"""What a run has written into a spool, for tests that ask what would be delivered."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import fastavro

from wattline.report import RunReport, collect
from wattline.spool_folders import SpoolRoot
from wattline.spool_records import scan
from wattline.spool_segments import segment_paths
from wattline_common.codec import newest_schema

__all__ = ["events", "the_run"]


def events(root: Path, record: str) -> list[dict[str, Any]]:
    """Return the events of one record, source by source, each in its order."""
    found = []
    for folder in SpoolRoot(root).folders():
        for path in segment_paths(folder.path):
            for each in scan(path.read_bytes(), complete=True).records:
                if each.name.endswith(f".{record}"):
                    event = fastavro.schemaless_reader(io.BytesIO(each.body), newest_schema(each.name), None)
                    assert isinstance(event, dict)
                    found.append(event)
    return found


def the_run(root: Path) -> RunReport:
    """Return the one run that is there."""
    (run,) = collect(SpoolRoot(root))
    return run
