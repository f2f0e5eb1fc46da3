"""`make pants-check`: the second gate beside the tests, held by Pants: boundaries, affected tests, one pex per service.

Skipped, with reason and remedy, where Pants cannot be had; a failure then if WATTLINE_REQUIRE (comma separated) names
pants.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import import_rules
from tools import affected, boundaries, pants

ROOT = pants.ROOT
# generated from the schemas, or naming their fields
CONTRACT = tuple(f"wattline_common.{name}" for name in ("events", "limits", "schemas", "store"))
SERVICES = tuple(folder for _, folder, _ in boundaries.PROJECTS if folder.startswith("services/"))
# Streamlit runs its pages by path; importing them would draw them.
IMPORT_ALL = """
import importlib, pkgutil, sys
for top in sys.argv[1:]:
    for module in pkgutil.walk_packages(importlib.import_module(top).__path__, f"{top}."):
        if not any(part in module.name for part in ("__main__", "streamlit_app", "app_pages")):
            importlib.import_module(module.name)
"""


class GateError(Exception):
    """Something that the gate holds does not hold; the message says what."""


def _goal(runner: pants.Pants, *arguments: str, root: Path = ROOT) -> list[str]:
    done = runner.run(*arguments, root=root)
    if done.returncode != 0:
        raise GateError(f"pants {' '.join(arguments)} failed; {done.stdout.strip()[-2000:] or 'its log says why'}")
    return done.stdout.splitlines()


def hold_boundaries(runner: pants.Pants) -> str:
    """Hold that every Python file and schema has a target, and every import is one that tools/boundaries.py allows."""
    owned = {line.partition(":")[0] for line in _goal(runner, "list", "dependencies", "::")}
    files = {path for top in ("libs", "services", "tests", "tools") for path in (ROOT / top).rglob("*.py")}
    wanted = {path.relative_to(ROOT).as_posix() for path in files | set((ROOT / "schemas").rglob("*.avsc"))}
    if without := sorted(wanted - owned):
        raise GateError(f"no BUILD file has a target for {', '.join(without)}")
    return f"{len(wanted)} files, each in a target, none with a forbidden dependency"


def reach_from_schemas(runner: pants.Pants) -> str:
    """Hold that a change of any schema reaches every pex, and every test that imports what is generated from it."""
    breakable, others = affected.affected_tests(ROOT, CONTRACT)
    if not breakable:
        raise GateError("no test imports what is generated from the schemas: the sources are read wrongly")
    pexes = {f"{folder}:pex" for folder in SERVICES}
    schemas = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "schemas").rglob("*.avsc"))
    for schema in schemas:
        reached = set(_goal(runner, "dependents", "--transitive", schema))
        files = set(map(_file, reached))
        if missing := sorted((pexes - reached) | (breakable - files)):
            raise GateError(f"pants dependents --transitive {schema} misses {', '.join(missing)}")
        if others and others <= files:
            raise GateError(f"pants dependents --transitive {schema} names every test: something ties all to all")
    reach = f"{len(pexes)} pexes and {len(breakable)} tests, not all {len(others)} others"
    return f"each of {len(schemas)} schemas reaches {reach}"


def run_unit_tests(runner: pants.Pants) -> str:
    """Hold that tests/unit passes with what its targets declare and nothing else."""
    _goal(runner, "test", "tests/unit::")
    return "tests/unit passes"


def package_services(runner: pants.Pants) -> str:
    """Hold that each service is one pex that starts."""
    _goal(runner, "package", "::")
    for package, folder, _ in boundaries.PROJECTS:
        if folder in SERVICES:
            pex = ROOT / "dist" / f"wattline-{Path(folder).name}.pex"
            if "usage:" not in _run(pex, "--help"):
                raise GateError(f"{pex.name} --help tells no usage")
            _run(pex, "-c", IMPORT_ALL, package, "wattline_common", PEX_INTERPRETER="1")
    return f"{len(SERVICES)} pexes, each answers --help and imports all that is in it"


def _run(pex: Path, *arguments: str, **environment: str) -> str:
    command = [sys.executable, str(pex), *arguments]
    variables = {**os.environ, **environment}
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run(command, cwd=elsewhere, env=variables, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise GateError(f"{pex.name} {arguments[0]} failed with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def refuse_forbidden_imports(runner: pants.Pants) -> str:
    """Hold, in a throw-away copy, that a forbidden import fails Pants, which forbids what the pytest does."""
    with tempfile.TemporaryDirectory(prefix="wattline-pants-") as folder:
        copy = Path(folder, "copy")
        shutil.copytree(ROOT, copy, ignore=_generated)
        message = _refusal(runner.without_daemon(), copy)
        forbidden, allowed = _agreement(runner.without_daemon(), copy)
    print(message, flush=True)
    return f"refused, as shown; of {forbidden + allowed} imports, Pants and the pytest forbid the same {forbidden}"


def _generated(folder: str, names: list[str]) -> set[str]:
    hidden = {name for name in names if name.startswith(".")} if Path(folder) == ROOT else set()
    return hidden | ({"dist", "artifacts", "__pycache__"} & set(names))


def _refusal(runner: pants.Pants, copy: Path) -> str:
    importer = "services/streaming/wattline_streaming/forbidden.py"
    imported = "services/dashboard/wattline_dashboard/queries.py"
    _write(copy / importer, "wattline_dashboard.queries")
    done = runner.run("dependencies", importer, root=copy, quiet=True)
    (copy / importer).unlink()
    if done.returncode == 0 or importer not in done.stderr or imported not in done.stderr:
        raise GateError(f"one service imports another, and Pants lets it pass: {done.stdout}{done.stderr[-2000:]}")
    return done.stderr.strip()


def _agreement(runner: pants.Pants, copy: Path) -> tuple[int, int]:
    """Try every project with every module that has a rule; return how many imports both forbid, and allow."""
    modules = [package for package, _, _ in boundaries.PROJECTS] + [module for module, _, _ in boundaries.PLACES]
    probes = {}
    for package, folder, _ in boundaries.PROJECTS:
        for number, module in enumerate(modules):
            probe = f"{folder}/{package}/probe_{number}.py"
            _write(copy / probe, module)
            probes[probe] = f"{package} imports {module}"
    with (copy / "tools/boundaries.py").open("a") as table:
        table.write(WARNING_ONLY)
    done = runner.run("--level=error", "peek", "--include-dep-rules", *probes, root=copy, quiet=True)
    if done.returncode != 0:
        raise GateError(f"pants peek failed: {done.stderr[-4000:]}")
    by_pants = {_file(target["address"]) for target in json.loads(done.stdout) if _is_forbidden(target)}
    by_pytest = {found.partition(":")[0] for found in import_rules.forbidden_imports(copy)}
    differing = by_pants ^ by_pytest
    if differing or not by_pytest:
        raise GateError(
            f"Pants and tests/unit/test_imports.py disagree on: {sorted(probes.get(p, p) for p in differing)}"
        )
    return len(by_pytest), len(probes) - len(by_pytest)


# Pants stops at the first refusal: as warnings it tells all in one run.
WARNING_ONLY = """

_refusing = boundary


def boundary(package):
    return tuple(rule.replace("!", "?", 1) for rule in _refusing(package))
"""


def _file(address: str) -> str:
    return address.partition(":")[0]


def _is_forbidden(target: dict[str, Any]) -> bool:
    return any(rule["action"] != "ALLOW" for rule in target["_applicable_dep_rules"] or ())


def _write(path: Path, module: str) -> None:
    path.write_text(f"import {module}\n")


CHECKS: tuple[Callable[[pants.Pants], str], ...] = (
    hold_boundaries,
    reach_from_schemas,
    refuse_forbidden_imports,
    run_unit_tests,
    package_services,
)


def main() -> int:
    """Hold all, cheapest first; return 0 when all hold or Pants cannot be had."""
    try:
        runner = pants.find()
    except pants.PantsMissingError as error:
        required = "pants" in {name.strip() for name in os.environ.get("WATTLINE_REQUIRE", "").split(",")}
        print(f"pants-check: {'FAILED' if required else 'skipped'}: {error}", file=sys.stderr)
        return int(required)
    if runner.run("--version", quiet=True).returncode != 0:  # on a busy machine the daemon gives up after a minute
        runner = runner.without_daemon()
    for check in CHECKS:
        start = time.monotonic()
        try:
            said = check(runner)
        except GateError as error:
            print(f"pants-check: FAILED: {check.__name__}: {error}", file=sys.stderr)
            return 1
        print(f"pants-check: {check.__name__}: {said} ({time.monotonic() - start:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
