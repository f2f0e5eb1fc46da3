"""`make audit`: whether any locked dependency has a known vulnerability, asked of the OSV database by pip-audit.

An answer that could not be had is no clean bill: it is told, and the exit code is 3.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.venvs import locked_python
from wattline_stack.progress import ConsoleProgress
from wattline_stack.settings import StackSettings

__all__ = ["LOCKS", "Found", "main", "read"]

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "tools.lock", "images.lock", "tools/audit.lock")
NOT_AUDITED_EXIT = 3
_OPTIONS = (
    "--no-deps",
    "--disable-pip",
    "--vulnerability-service",
    "osv",
    "--format",
    "json",
    "--progress-spinner",
    "off",
)


@dataclass
class Found:
    """What is known of one lock's dependencies."""

    audited: int = 0
    vulnerable: list[str] = field(default_factory=list)
    """Name, version, identities of the vulnerabilities and the versions that mend them."""
    skipped: list[str] = field(default_factory=list)
    """Those of which nobody could be asked."""


def read(report: str) -> Found:
    """Return what pip-audit's JSON says; raise `ValueError` when it is none."""
    found = Found()
    answer: dict[str, Any] = json.loads(report)
    for each in answer["dependencies"]:
        if "skip_reason" in each:
            found.skipped.append(each["name"])
            continue
        found.audited += 1
        for one in each["vulns"]:
            mended = ", ".join(one["fix_versions"]) or "none yet"
            found.vulnerable.append(f"{each['name']} {each['version']}: {one['id']}, mended in {mended}")
    return found


def _ask(python: Path, lock: Path) -> Found | str:
    """Return what is known of a lock, or in a line why nothing is."""
    command = [str(python), "-m", "pip_audit", "--requirement", str(lock), *_OPTIONS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return read(done.stdout)
    except (ValueError, KeyError, TypeError):
        return next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "pip-audit said nothing")


def _tell(lock: str, found: Found | str) -> int:
    """Print a lock's result; return the exit code that it deserves."""
    if isinstance(found, str):
        print(f"{lock}: NOT AUDITED, the database could not be asked: {found}")
        return NOT_AUDITED_EXIT
    print(f"{lock}: {found.audited} audited, {len(found.vulnerable)} known vulnerabilities")
    print("".join(f"  {line}\n" for line in found.vulnerable), end="")
    if found.skipped:
        print(f"  NOT AUDITED, nobody knew them: {', '.join(sorted(found.skipped))}")
    if found.vulnerable:
        return 1
    return NOT_AUDITED_EXIT if found.skipped else 0


def main(arguments: list[str] | None = None) -> int:
    """Ask for every lock until the database is away; 0 clean, 1 vulnerable, 3 not (all) audited."""
    parser = argparse.ArgumentParser(prog="python -m tools.audit", description=__doc__)
    parser.add_argument("locks", nargs="*", default=list(LOCKS), help=f"of these: {', '.join(LOCKS)} (default all)")
    locks: Iterable[str] = parser.parse_args(arguments).locks
    settings = StackSettings.from_environment()
    python = locked_python(ROOT / "tools" / "audit.lock", settings.cache_dir, ConsoleProgress())
    codes = set()
    for lock in locks:
        found = _ask(python, ROOT / lock)
        codes.add(_tell(lock, found))
        if isinstance(found, str):
            break  # the others would fare no better
    return 1 if 1 in codes else max(codes, default=0)


if __name__ == "__main__":
    sys.exit(main())
