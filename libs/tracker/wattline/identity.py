"""Who runs what, where: ids in the alphabet of the contract, and facts of the process. Nothing here raises."""

from __future__ import annotations

import datetime
import getpass
import hashlib
import itertools
import math
import os
import re
import secrets
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from wattline_common.events import RunStarted
from wattline_common.limits import LIMITS

__all__ = [
    "AVRO_INT",
    "AVRO_LONG",
    "as_count",
    "as_float",
    "as_region",
    "as_text",
    "as_text_map",
    "first_entries",
    "framework_in_use",
    "git_commit",
    "host_name",
    "new_run_id",
    "new_source_id",
    "safe_id",
    "user_name",
]

T = TypeVar("T")

AVRO_INT = 2**31
AVRO_LONG = 2**63
_UNSAFE = re.compile(r"[^A-Za-z0-9_:-]+")
_LONGEST_ID = 128
_LONGEST_TEXT: int = LIMITS[RunStarted.AVRO_NAME]["tags"]["maxLength"]
_MOST_ENTRIES: int = LIMITS[RunStarted.AVRO_NAME]["tags"]["maxItems"]
_FRAMEWORKS = ("torch", "tensorflow", "jax", "xgboost", "lightgbm", "sklearn")


def safe_id(text: str) -> str:
    """Return an id in the contract's alphabet: the text itself, or a mended one that still is its own.

    A mended id ends in a digest of the original, so that two different ids never become one, while the processes of
    one distributed run still agree.
    """
    mended = _UNSAFE.sub("-", text)
    if mended == text and 0 < len(text) <= _LONGEST_ID:
        return text
    digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:8]
    return f"{mended[: _LONGEST_ID - 9].strip('-') or 'run'}-{digest}"


def new_run_id(model_name: str, at: datetime.datetime) -> str:
    """Return an id that a person can read and that no other run has."""
    name = _UNSAFE.sub("-", model_name)[:40].strip("-") or "run"
    return f"{name}-{at:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def new_source_id(host: str) -> str:
    """Return an id that no other start of any process has."""
    return f"{_UNSAFE.sub('-', host)[:40].strip('-') or 'host'}-{os.getpid()}-{secrets.token_hex(4)}"


def user_name() -> str:
    """Return the operating system's user."""
    return _or_unknown(getpass.getuser)


def host_name() -> str:
    """Return the machine's name."""
    return _or_unknown(socket.gethostname)


def framework_in_use() -> str:
    """Return the first training framework that is imported already."""
    return next((name for name in _FRAMEWORKS if name in sys.modules), "unknown")


def git_commit(folder: Path | None = None) -> str | None:
    """Return the commit that is checked out in a folder (this process's) or above it, else None. Runs no git."""
    try:
        folder = folder or Path.cwd()  # which may be gone
        for above in (folder, *folder.parents):
            git = above / ".git"
            if git.is_dir():
                return _head(git)
    except (OSError, ValueError):
        pass  # unreadable, or half written: the run goes without
    return None


def as_text(value: object, longest: int = _LONGEST_TEXT) -> str:
    """Return any value as text that can be encoded, of a bounded length; the name of its type where it has no text."""
    try:
        text = str(value)
    except Exception:  # noqa: BLE001  # a value of any library
        text = type(value).__name__
    return text.encode(errors="replace").decode()[:longest]


def as_region(value: object) -> str:
    """Return a grid region as the table has it: in capitals, but for unknown."""
    region = as_text(value).strip()
    return region if region.lower() == "unknown" else region.upper()


def as_text_map(values: Mapping[str, object] | None) -> dict[str, str]:
    """Return a map of texts, of a bounded size."""
    return {as_text(key): as_text(value) for key, value in first_entries(values or {}).items()}


def first_entries(values: Mapping[str, T]) -> dict[str, T]:
    """Return as many entries as a field may hold, the first ones."""
    return dict(itertools.islice(values.items(), _MOST_ENTRIES))


def as_float(value: object) -> float | None:
    """Return a number or anything that behaves like one (an array of one element); None when it is no finite one."""
    try:
        number = float(value)  # type: ignore[arg-type]  # a value of any library
    except Exception:  # noqa: BLE001  # and any library raises its own
        return None
    return number if math.isfinite(number) else None


def as_count(value: object, below: int = AVRO_LONG) -> int | None:
    """Return a whole number of 0 or more that its field can carry, None when it is none."""
    try:
        number = int(value)  # type: ignore[call-overload]  # as above
    except Exception:  # noqa: BLE001  # as above
        return None
    return number if 0 <= number < below else None


def _head(git: Path) -> str | None:
    head = (git / "HEAD").read_text(encoding="ascii").strip()
    if not head.startswith("ref: "):
        return head
    name = head.removeprefix("ref: ")
    loose = git / name
    if loose.exists():
        return loose.read_text(encoding="ascii").strip()
    packed = (git / "packed-refs").read_text(encoding="ascii").splitlines()
    return next((line.split()[0] for line in packed if line.endswith(f" {name}")), None)


def _or_unknown(ask: Callable[[], str]) -> str:
    try:
        return as_text(ask()) or "unknown"
    except (OSError, KeyError, ImportError):
        return "unknown"
