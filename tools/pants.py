"""`python -m tools.pants GOAL ...`: run Pants, by the `pants` launcher or, where there is none, from the package index.

Without the launcher a Python 3.9 is needed (the version's own needs); Pants and the one tool that it would download are
then installed once into the cache folder, from the index that pip is set up for. Nothing of that is in the tree.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from tools import pythons

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "tools/pants.lock"
# Asked of the installed Pants: what it would download, and the name that it has for this platform.
ASK = """
from pants.backend.python.util_rules.pex_cli import PexCli
from pants.engine.platform import Platform
print(PexCli.default_version, Platform.create_for_localhost().value)
"""


class PantsMissingError(RuntimeError):
    """Pants cannot be had here; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Pants:
    """How Pants is started on this machine."""

    command: tuple[str, ...]

    def run(self, *arguments: str, root: Path = ROOT, quiet: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a goal in ``root`` and return what it printed; it logs to the terminal unless ``quiet``."""
        command = [*self.command, "--no-dynamic-ui", *arguments]
        log = subprocess.PIPE if quiet else None
        return subprocess.run(command, cwd=root, stdout=subprocess.PIPE, stderr=log, text=True, check=False)

    def without_daemon(self) -> Pants:
        """Return Pants that leaves no process behind: slower from the second goal on."""
        return Pants((*self.command, "--no-pantsd"))


def find() -> Pants:
    """Return the launcher of the PATH, or Pants in the cache folder, which is made when it is not there yet."""
    if launcher := shutil.which("pants"):
        return Pants((launcher,))
    with (ROOT / "pants.toml").open("rb") as file:
        version = tomllib.load(file)["GLOBAL"]["pants_version"]
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    home = _cache_folder() / f"pants-{version}-{digest}"
    settings = home / "pants.toml"
    if not settings.exists():  # written last
        _install(home, settings)
    return Pants((str(home / "venv/bin/pants"), f"--pants-config-files={settings}"))


def _cache_folder() -> Path:
    user = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "wattline"
    return Path(os.environ.get("WATTLINE_CACHE_DIR") or user).expanduser().absolute()


def _install(home: Path, settings: Path) -> None:
    python = _python39()
    print(f"pants: installing Pants into {home} (a minute, once)", file=sys.stderr, flush=True)
    shutil.rmtree(home, ignore_errors=True)
    bin_ = home / "venv/bin"
    steps = (
        [python, "-m", "venv", str(home / "venv")],
        [str(bin_ / "pip"), "install", "--quiet", "--require-hashes", "-r", str(LOCK)],
    )
    for step in steps:
        _must(step)
    version, platform = _must([str(bin_ / "python"), "-c", ASK]).split()
    pex = home / "pex"
    # the same program that Pants would download ready-made: pex, packed by itself
    _must([str(bin_ / "pex"), f"pex=={version.removeprefix('v')}", "-c", "pex", "-o", str(pex)])
    known = f"{version}|{platform}|{hashlib.sha256(pex.read_bytes()).hexdigest()}|{pex.stat().st_size}"
    settings.write_text(f'[pex-cli]\nurl_template = "{pex.as_uri()}"\nknown_versions = ["{known}"]\n')


def _must(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PantsMissingError(f"{' '.join(command[:3])} ... failed: {done.stderr.strip()[-1000:]}")
    return done.stdout


def _python39() -> str:
    if found := pythons.find("3.9"):
        return found
    raise PantsMissingError(
        "no `pants` launcher on the PATH, and no Python 3.9 (on the PATH or by pyenv) to run Pants under. "
        "Remedy: install the launcher as www.pantsbuild.org describes, or `pyenv install 3.9`"
    )


def main() -> int:
    """Run Pants with the arguments of the command line; return its exit code."""
    try:
        pants = find()
    except PantsMissingError as error:
        print(f"pants: {error}", file=sys.stderr)
        return 2
    return subprocess.run([*pants.command, *sys.argv[1:]], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
