"""The life of a schema file: `draft` copies the newest version to the next, `release` seals what was drafted.

A released file never changes: its digest stands in schemas/released.sha256 (`sha256sum -c` reads it, too).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "schemas"


class SchemaFolderError(ValueError):
    """The folder is not as the rules want it; the message says what and what to do."""


def version_paths(folder: Path) -> dict[str, list[Path]]:
    """Return record name -> files of versions 1, 2, ...; raise `SchemaFolderError` on a gap or a wrong name."""
    found: dict[str, list[Path]] = {}
    for record in sorted(path for path in folder.glob("*/*") if path.is_dir()):
        paths = sorted(record.glob("*.avsc"), key=lambda path: (len(path.stem), path.stem))  # v10 after v9
        for number, path in enumerate(paths, start=1):
            if path.stem != f"v{number}" or json.loads(path.read_text(encoding="utf-8"))["name"] != record.name:
                raise SchemaFolderError(f"{path}: expected v{number}.avsc of a record named {record.name}")
        if paths:
            found[record.name] = paths
    return found


def versions(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return full name -> schemas of versions 1, 2, ...."""
    found = {}
    for paths in version_paths(folder).values():
        schemas = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
        found[f"{schemas[0]['namespace']}.{schemas[0]['name']}"] = schemas
    return found


def released(folder: Path) -> dict[str, str]:
    """Return path below the folder -> digest of every released file."""
    lines = (folder / "released.sha256").read_text(encoding="utf-8").splitlines()
    return {path: digest for digest, path in (line.split(maxsplit=1) for line in lines)}


def changed(folder: Path) -> list[str]:
    """Return the released files that are not what they were when they were released."""
    return [path for path, digest in released(folder).items() if digest != _digest(folder / path)]


def draft(folder: Path, record: str) -> Path:
    """Copy the newest version of a record to the next; raise `SchemaFolderError` when there is a draft already."""
    paths = version_paths(folder).get(record)
    if paths is None:
        raise SchemaFolderError(f"no record is named {record}: RECORD is one of {', '.join(version_paths(folder))}")
    newest = paths[-1]
    if newest.relative_to(folder).as_posix() not in released(folder):
        raise SchemaFolderError(f"{newest} is a draft already: change that one")
    path = newest.with_name(f"v{len(paths) + 1}.avsc")
    path.write_bytes(newest.read_bytes())
    return path


def release(folder: Path) -> list[str]:
    """Seal the drafts and return them; raise `SchemaFolderError` when a released file was changed."""
    if changed(folder):
        raise SchemaFolderError(f"released for ever, yet changed: {', '.join(changed(folder))}; take the change back")
    known = released(folder)
    every = [path.relative_to(folder).as_posix() for paths in version_paths(folder).values() for path in paths]
    drafts = [path for path in every if path not in known]
    with (folder / "released.sha256").open("a", encoding="utf-8") as file:
        file.writelines(f"{_digest(folder / path)}  {path}\n" for path in drafts)
    return drafts


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "missing"


def main() -> int:
    """Draft or release; return the exit code."""
    parser = argparse.ArgumentParser(prog="make schema", description=__doc__)
    commands = parser.add_subparsers(dest="verb", required=True)
    drafting = commands.add_parser("draft", help="copy the newest version of a record to the next")
    drafting.add_argument("record", metavar="RECORD", help="a record's name, such as StepCompleted")
    commands.add_parser("release", help="seal the drafts: from then on they never change")
    arguments = parser.parse_args()
    try:
        if arguments.verb == "draft":
            sys.stdout.write(
                f"{draft(FOLDER, arguments.record)}: change it (only fields with defaults come or go), "
                "then `make generate`; schemas/README.md has the rest\n"
            )
        else:
            sys.stdout.write("".join(f"released {path}\n" for path in release(FOLDER)) or "no drafts to release\n")
    except SchemaFolderError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
