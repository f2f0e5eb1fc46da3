"""Small files of JSON that a kill may have cut, a disk damaged, or anybody written: what no parser takes is nothing."""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["parsed", "read_json"]


def parsed(text: str | bytes) -> object:
    """Return what a text says, None where it is no JSON or is nested without end."""
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found


def read_json(path: Path) -> object:
    """Return what a file says, None where there is none, or it says nothing."""
    try:
        return parsed(path.read_bytes())
    except OSError:
        return None
