"""Files for their owner alone: who trains what, and what it costs, is nobody else's to read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, TextIO

__all__ = ["open_private"]


def open_private(path: Path, mode: Literal["a", "w"]) -> TextIO:
    """Open a text file, which is made with mode 0600 if it is not there. Raises `OSError`."""
    # `Path.open` takes no opener.
    return open(path, mode, encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600))
