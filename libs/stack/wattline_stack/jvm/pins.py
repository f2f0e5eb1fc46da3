"""The committed SHA-256 sums of everything that is downloaded, and the check of a folder against them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from wattline_common.errors import ResourceError

__all__ = ["IVY_FILE", "PARTS", "SUMS_FILE", "Pins", "load_pins", "sha256_of", "verify", "write_pins"]

HERE = Path(__file__).resolve().parent
SUMS_FILE = HERE / "sha256sums"
IVY_FILE = HERE / "ivy.xml"
TOTAL = "# total_mb: "
PARTS = ("kafka", "registry", "store", "spark", "compiler")


@dataclass(frozen=True, slots=True)
class Pins:
    """What the download must be: sums by path inside the bundle, and its size for the progress bar."""

    sums: Mapping[str, str]
    total_mb: int
    key: str

    @property
    def parts(self) -> tuple[str, ...]:
        """The folders of the bundle that these pins are about."""
        return tuple(sorted({path.split("/")[0] for path in self.sums}))

    def of(self, parts: Collection[str]) -> Pins:
        """Return the pins of some parts alone; how much that is to download is not known (0)."""
        chosen = {path: digest for path, digest in self.sums.items() if path.split("/")[0] in parts}
        return Pins(chosen, 0, self.key)


@cache
def load_pins() -> Pins:
    """Read the committed pins; ``key`` changes whenever any pin does."""
    text = SUMS_FILE.read_text(encoding="utf-8")
    sums, total_mb = {}, 0
    for line in text.splitlines():
        if line.startswith(TOTAL):
            total_mb = int(line.removeprefix(TOTAL))
        elif line and not line.startswith("#"):
            digest, path = line.split(maxsplit=1)
            sums[path] = digest
    return Pins(sums, total_mb, hashlib.sha256(text.encode() + IVY_FILE.read_bytes()).hexdigest()[:12])


def verify(folder: Path, pins: Pins) -> None:
    """Compare every file of ``folder`` with its pin; raise `ResourceError` naming file, expected and found."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    for name in sorted(pins.sums.keys() | found.keys()):
        expected = pins.sums.get(name, "no such file")
        actual = sha256_of(found[name]) if name in found else "no such file"
        if actual != expected:
            raise ResourceError(
                f"the download is not what was pinned: {name}: expected sha256 {expected}, found {actual}. "
                "It was thrown away; run again, and if it stays so, do not use that repository: something between "
                "you and it changes files, or WATTLINE_JAR_REPOSITORY names a bad mirror"
            )


def write_pins(folder: Path, target: Path = SUMS_FILE) -> None:
    """Pin what lies in ``folder``: for whoever changes a version in ivy.xml."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    total_mb = sum(path.stat().st_size for path in files) >> 20
    lines = [f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}" for path in files]
    target.write_text("\n".join([f"{TOTAL}{total_mb}", *lines]) + "\n", encoding="utf-8")
    load_pins.cache_clear()


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
