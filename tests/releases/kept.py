"""What releases have left behind, kept for ever: where it is, and that nobody has changed it since."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["FOLDER", "SUMS", "Release", "RunKept", "altered", "releases", "seal"]

FOLDER = Path(__file__).parent
SUMS = "released.sha256"
"""Digest and path of every file; `sha256sum -c` reads it, too."""


@dataclass(frozen=True)
class RunKept:
    """What a run's producer has emitted, by its own ledger, and how much of that never reached Kafka."""

    events: int
    energy_kwh: float
    emissions_kg: float
    status: str
    lost_events: int = 0
    lost_energy_kwh: float = 0.0


@dataclass(frozen=True)
class Release:
    """What one version has left: a backup of its line, and a spool that its tracker could not deliver."""

    version: str
    folder: Path

    @property
    def archive(self) -> Path:
        """What `python -m wattline_stack backup` of that version wrote."""
        return self.folder / "line.tar.gz"

    @property
    def spool(self) -> Path:
        """A `WATTLINE_SPOOL_DIR` of that version, with the rest of a run whose begin is in the archive."""
        return self.folder / "spool"

    @property
    def ledger(self) -> Path:
        """What the producers say."""
        return self.folder / "ledger.json"

    def runs(self) -> dict[str, RunKept]:
        """Return run_id -> what was emitted."""
        return {run_id: RunKept(**run) for run_id, run in self._told()["runs"].items()}

    def rejected(self) -> dict[str, int]:
        """Return reason -> messages that had to be rejected for it."""
        return dict(self._told()["rejected"])

    def _told(self) -> dict[str, Any]:
        return dict(json.loads(self.ledger.read_text(encoding="utf-8")))


def releases(folder: Path = FOLDER) -> list[Release]:
    """Return all that is kept, the oldest version first."""
    found = [Release(path.parent.name, path.parent) for path in folder.glob("*/ledger.json")]
    return sorted(found, key=lambda release: [int(part) for part in release.version.split(".")])


def altered(folder: Path = FOLDER) -> list[str]:
    """Return the files that are not what they were when they were sealed, that are gone, or that were never sealed."""
    sums = folder / SUMS
    lines = sums.read_text(encoding="utf-8").splitlines() if sums.exists() else []
    sealed = {path: digest for digest, path in (line.split(maxsplit=1) for line in lines)}
    present = {path: _digest(folder / path) for path in _files(folder)}
    return sorted(path for path in sealed.keys() | present.keys() if sealed.get(path) != present.get(path))


def seal(release: Release) -> None:
    """Note the digests of a new version's files."""
    root = release.folder.parent
    with (root / SUMS).open("a", encoding="utf-8") as file:
        file.writelines(f"{_digest(root / path)}  {path}\n" for path in _files(root, release.version))


def _files(folder: Path, version: str = "*") -> list[str]:
    of_versions = (path for root in folder.glob(version) if root.name[0].isdigit() for path in root.rglob("*"))
    return sorted(path.relative_to(folder).as_posix() for path in of_versions if path.is_file())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
