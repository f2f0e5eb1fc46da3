"""What a run believes it has emitted, as a file to compare the collections with."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from wattline import RunSummary

__all__ = ["replace_text", "write_ledger"]


def write_ledger(path: Path, summary: RunSummary) -> None:
    """Write a run's summary as JSON, whole or not at all."""
    replace_text(path, f"{json.dumps(asdict(summary), indent=2)}\n")


def replace_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all: who reads it meanwhile sees the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
