"""Who may import whom, read from the sources alone: what tests/unit/test_imports.py holds the projects to."""

from __future__ import annotations

import ast
import functools
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tools import boundaries

__all__ = [
    "PROJECTS",
    "Import",
    "Project",
    "declared",
    "environment_reads",
    "forbidden_imports",
    "imports",
    "sources",
    "undeclared_imports",
]

ENVIRONMENT_READERS = {"settings.py"}
ENVIRONMENT_READER = "wattline_common/environment.py"
_ENVIRONMENT_NAMES = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
_REQUIREMENT = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)\s*(\[(?P<extras>[^\]]*)\])?")


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with one package, and the in-house packages it may import besides itself."""

    folder: str
    distribution: str
    may_import: frozenset[str]


# One table for both gates: Pants reads the same.
PROJECTS = {
    package: Project(folder, package.replace("_", "-"), frozenset(may_import))
    for package, folder, may_import in boundaries.PROJECTS
}
PLACES = {module: frozenset(packages) for module, _, packages in boundaries.PLACES}
# What has which module, of the extras that no lock of the project holds.
EXTRAS = {"mlflow": ["mlflow-skinny"], "torch": ["torch"], "transformers": ["transformers"]}
_BRIDGES = "libs/tracker/wattline/integrations/"


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module and where it is imported."""

    package: str
    path: str
    line: int
    module: str

    def __str__(self) -> str:
        """Return it as compilers do."""
        return f"{self.path}:{self.line}: {self.package} imports {self.module}"


def sources(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield package and path of every Python file of the projects; a file in none of their packages is an error."""
    for path in sorted(each for top in ("libs", "services") for each in (root / top).rglob("*.py")):
        package = path.relative_to(root).parts[2]
        if package not in PROJECTS or not path.is_relative_to(root / PROJECTS[package].folder / package):
            raise ValueError(f"{path.relative_to(root)} is in no project's package")
        yield package, path


def imports(root: Path) -> Iterator[Import]:
    """Yield every import of the projects, those inside of functions and by constant name too."""
    for package, path in sources(root):
        for node in _nodes(path.read_text(encoding="utf-8")):
            for module in _modules(node, path.relative_to(root).parts[2:-1]):
                yield Import(package, path.relative_to(root).as_posix(), getattr(node, "lineno", 0), module)


def _modules(node: ast.AST, parents: tuple[str, ...]) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=module, names=names, level=level):
            home = ".".join([*parents[: len(parents) + 1 - level], *([module] if module else [])]) if level else module
            yield from (f"{home}.{alias.name}" for alias in names)
        case ast.Call(func=ast.Name(id="__import__" | "import_module"), args=[ast.Constant(value=str(name)), *_]):
            yield name
        case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(name)), *_]):
            yield name


def forbidden_imports(root: Path) -> list[str]:
    """Return the imports that cross a boundary, a line each."""
    found = []
    for each in imports(root):
        top = each.module.partition(".")[0]
        allowed = PROJECTS[each.package].may_import | {each.package}
        if top in PROJECTS and top not in allowed:
            found.append(f"{each}, but may only import {', '.join(sorted(allowed))}")
        for name, places in PLACES.items():
            if (each.module == name or each.module.startswith(f"{name}.")) and each.package not in places:
                found.append(f"{each}, which belongs to {', '.join(sorted(places))} only")
    return found


def environment_reads(root: Path) -> list[str]:
    """Return where the environment is touched outside of a settings.py."""
    found = []
    for _, path in sources(root):
        name = path.relative_to(root).as_posix()
        if path.name in ENVIRONMENT_READERS or name.endswith(ENVIRONMENT_READER):
            continue
        nodes = _nodes(path.read_text(encoding="utf-8"))
        handed_down = {id(value) for node in nodes if isinstance(node, ast.Dict) for value in _unpacked(node)}
        for node in nodes:
            match node:
                case ast.Attribute(value=ast.Name(id="os"), attr=attribute) if attribute in _ENVIRONMENT_NAMES:
                    if id(node) not in handed_down:
                        found.append(f"{name}:{node.lineno}: os.{attribute}; only a settings.py reads the environment")
                case ast.ImportFrom(module="os", names=names) if {alias.name for alias in names} & _ENVIRONMENT_NAMES:
                    found.append(f"{name}:{node.lineno}: imported from os; only a settings.py reads the environment")
    return found


def _unpacked(node: ast.Dict) -> Iterator[ast.expr]:
    """Yield what ``{**this}`` holds: a process may hand its whole environment down to a child."""
    yield from (value for key, value in zip(node.keys, node.values, strict=True) if key is None)


@functools.cache
def _nodes(source: str) -> list[ast.AST]:
    return list(ast.walk(ast.parse(source)))


def declared(root: Path, package: str) -> set[str]:
    """Return the normalised names of what a project declares, with what its in-house dependencies declare."""
    project = _manifest(root, package)
    lines = list(project["dependencies"])
    if package == "wattline_common":  # each of its modules is used under the extra that names its needs
        lines += [line for extra in project["optional-dependencies"].values() for line in extra]
    return _closure(root, lines)


def _closure(root: Path, lines: list[str]) -> set[str]:
    by_distribution = {project.distribution: package for package, project in PROJECTS.items()}
    found: set[str] = set()
    for line in lines:
        match = _REQUIREMENT.match(line)
        if match is None:
            raise ValueError(f"no requirement: {line!r}")
        name = _normalised(match["name"])
        found.add(name)
        if name in by_distribution:
            project = _manifest(root, by_distribution[name])
            extras = [extra.strip() for extra in (match["extras"] or "").split(",") if extra.strip()]
            wanted = [each for extra in extras for each in project["optional-dependencies"][extra]]
            found |= _closure(root, [*project["dependencies"], *wanted])
    return found


def _manifest(root: Path, package: str) -> dict[str, Any]:
    text = (root / PROJECTS[package].folder / "pyproject.toml").read_text(encoding="utf-8")
    return cast(dict[str, Any], tomllib.loads(text)["project"])


def _extra_of_bridge(root: Path, found: Import) -> set[str]:
    """Return what the extra declares that a module of the tracker's integrations is named after."""
    if not found.path.startswith(_BRIDGES):
        return set()
    return _closure(root, _manifest(root, found.package)["optional-dependencies"].get(Path(found.path).stem, []))


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def undeclared_imports(root: Path, distributions: dict[str, list[str]]) -> list[str]:
    """Return the third-party imports that no manifest declares; ``distributions`` maps module to distributions."""
    known = {package: declared(root, package) for package in PROJECTS}
    found = []
    for each in imports(root):
        top = each.module.partition(".")[0]
        if top == each.package or top in sys.stdlib_module_names:
            continue
        names = (
            {PROJECTS[top].distribution}
            if top in PROJECTS
            else {_normalised(name) for name in distributions.get(top) or EXTRAS.get(top, [])}
        )
        if not names & (known[each.package] | _extra_of_bridge(root, each)):
            found.append(f"{each}, which {PROJECTS[each.package].folder}/pyproject.toml does not declare")
    return found
