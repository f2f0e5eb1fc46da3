"""What imports what, read from the sources alone: the second opinion on what `pants dependents` answers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tools import boundaries

TESTS = "tests"


def affected_tests(root: Path, changed: tuple[str, ...]) -> tuple[set[str], set[str]]:
    """Return the tests that import one of the ``changed`` modules, directly or not, and the tests that do not."""
    modules = dict(_modules(root))
    imported = {path: set(_imported(path, modules)) for path in modules.values()}
    reached = {path for name, path in modules.items() if name in changed}
    while more := {path for path, others in imported.items() if others & reached} - reached:
        reached |= more
    tests = {path for path in imported if path.name.startswith("test_") and path.is_relative_to(root / TESTS)}
    names = [{path.relative_to(root).as_posix() for path in chosen} for chosen in (tests & reached, tests - reached)]
    return names[0], names[1]


def _modules(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the full name and the file of every module of ours; those of the top folders are named from the root."""
    homes = [(root / folder, package) for package, folder, _ in boundaries.PROJECTS]
    for home, top in (*homes, (root, TESTS), (root, "tools")):
        for path in (home / top).rglob("*.py"):
            parts = path.relative_to(home).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def _imported(path: Path, modules: dict[str, Path]) -> Iterator[Path]:
    """Yield the files of ours that importing this one runs (all imports here are absolute)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=aliases):
                names = [alias.name for alias in aliases]
            case ast.ImportFrom(module=str(module), names=aliases, level=0):
                names = [module, *(f"{module}.{alias.name}" for alias in aliases)]
            case _:
                continue
        yield from (modules[name] for name in _with_parents(names) if name in modules)


def _with_parents(names: list[str]) -> Iterator[str]:
    for name in names:
        parts = name.split(".")
        yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))
