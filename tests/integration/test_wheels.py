"""The tracker and what it stands on install as wheels, with loose ranges, on every Python that they name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from tests.requirements import require
from tools import pythons

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"wattline_common": ROOT / "libs/common", "wattline": ROOT / "libs/tracker"}
DATA = {"wattline_common": {"carbon/countries.csv", "carbon/grid_intensity.csv"}, "wattline": set[str]()}
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
AWAY = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1"}
EPOCHS = 3
# A training that tells where its tracker is from and what the run came to.
TRAINING = f"""
import json, time, wattline
with wattline.track(model_name="wheel", region_iso="FRA", run_id="script", emit_interval_s=0.2) as run:
    for epoch in range({EPOCHS}):
        until_s = time.process_time() + 0.2
        while time.process_time() < until_s:
            pass
        run.step(epoch=epoch, loss=1.0, samples=10)
found = run.summary()
print(json.dumps({{
    "file": wattline.__file__,
    "energy_kwh": found.energy_kwh,
    "emissions_g": found.emissions_kg * 1000,
    "events": found.events_emitted,
    "problems": found.problems,
}}))
"""
BURN = "import time\nwhile time.process_time() < 0.5: pass\nprint('burnt')"


def _run(command: Sequence[str | Path], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command away from the sources, which it must not find."""
    inherited = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    return subprocess.run(
        command, cwd=folder, env={**inherited, **environment}, capture_output=True, text=True, timeout=300, check=False
    )


def _uv(folder: Path, *arguments: str | Path) -> None:
    """Run uv; where it fails because no index answers, skip the test."""
    uv = [sys.executable, "-m", "uv"]
    done = _run([*uv, *arguments], folder)
    if done.returncode == 0:
        return
    (folder / "asked.in").write_text("psutil\n", encoding="utf-8")
    asked = _run([*uv, "pip", "compile", "--quiet", "--no-cache", "asked.in"], folder)
    if asked.returncode != 0:
        require("index", f"the package index does not answer: {asked.stderr.strip()[-300:]}", "a network, or UV_INDEX")
    pytest.fail(f"uv {' '.join(map(str, arguments))}: {done.stderr}", pytrace=False)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Give the two wheels, built as for an index."""
    folder = tmp_path_factory.mktemp("wheels")
    for source in FOLDERS.values():
        _uv(folder, "build", "--quiet", "--wheel", "--python", sys.executable, "--out-dir", folder, source)
    return {package: next(folder.glob(f"{package}-*.whl")) for package in FOLDERS}


def _metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


@pytest.mark.parametrize("package", FOLDERS)
def test_a_wheel_holds_its_package_and_nothing_else(wheels: dict[str, Path], package: str) -> None:
    """Every module, the marker of its types, its data and the licence; no test, no cache, no README."""
    with zipfile.ZipFile(wheels[package]) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    inside = {name for name in names if name.startswith(f"{package}/")}
    modules = {path.relative_to(FOLDERS[package]).as_posix() for path in (FOLDERS[package] / package).rglob("*.py")}
    assert inside == modules | {f"{package}/{name}" for name in {"py.typed", *DATA[package]}}
    info = {name.partition(".dist-info/")[2] for name in names - inside}
    assert info - {"entry_points.txt"} == {"METADATA", "WHEEL", "RECORD", "licenses/LICENSE"}


@pytest.mark.parametrize("package", FOLDERS)
def test_what_a_wheel_asks_for_is_loose(wheels: dict[str, Path], package: str) -> None:
    """It must live beside whatever a training has installed: nothing is pinned, and Python 3.10 is enough."""
    metadata = _metadata(wheels[package])
    assert metadata["Requires-Python"] == ">=3.10"
    needs = [need.partition(";")[0] for need in metadata.get_all("Requires-Dist", [])]
    assert len(needs) >= 3
    assert [need for need in needs if "==" in need or "@" in need] == []


def test_the_tracker_asks_for_the_common_part_of_its_own_version(wheels: dict[str, Path]) -> None:
    """An update of one alone would leave two halves that do not fit."""
    version = _metadata(wheels["wattline_common"])["Version"]
    assert version == _metadata(wheels["wattline"])["Version"]
    (need,) = (n for n in _metadata(wheels["wattline"]).get_all("Requires-Dist", []) if n.startswith("wattline-common"))
    least = re.search(r">=([0-9.]+)", need)
    assert least is not None, need
    assert version.startswith(f"{least[1]}.")
    major, minor = map(int, least[1].split("."))
    assert f"<{major}.{minor + 1}" in need


@pytest.mark.parametrize("version", VERSIONS)
def test_a_training_is_measured_by_installed_wheels(wheels: dict[str, Path], tmp_path: Path, version: str) -> None:
    """In a fresh environment, by the script and by the command; the report has the very numbers of the script."""
    python = pythons.find(version)
    if python is None:
        require(f"python{version}", "it is neither on the PATH nor pyenv's", f"pyenv install {version}")
    own = tmp_path / "venv"
    _uv(tmp_path, "venv", "--quiet", "--python", python, own)
    _uv(tmp_path, "pip", "install", "--quiet", "--python", own / "bin/python", *wheels.values())
    environment = {**AWAY, "WATTLINE_SPOOL_DIR": str(tmp_path / "spool"), "WATTLINE_REGION": "FRA"}

    trained = _run([own / "bin/python", "-c", TRAINING], tmp_path, **environment)
    assert trained.returncode == 0, trained.stderr
    told = json.loads(trained.stdout)
    assert Path(told["file"]).is_relative_to(own)
    assert trained.stderr.count(" kWh (") == 1
    command: list[str | Path] = [
        "run",
        "--run-id",
        "command",
        "--emit-interval",
        "0.2",
        "--",
        own / "bin/python",
        "-c",
        BURN,
    ]
    measured = _run([own / "bin/wattline", *command], tmp_path, **environment)
    assert (measured.returncode, measured.stdout) == (0, "burnt\n"), measured.stderr

    report = _run([own / "bin/wattline", "report", "--json"], tmp_path, **environment)
    assert report.returncode == 0, report.stderr
    runs = {run["run_id"]: run for run in json.loads(report.stdout)}
    assert {name: run["status"] for name, run in runs.items()} == {"script": "COMPLETED", "command": "COMPLETED"}
    script = runs["script"]
    assert script["energy_kwh"] == pytest.approx(told["energy_kwh"], rel=1e-9)
    assert script["emissions_g"] == pytest.approx(told["emissions_g"], rel=1e-9)
    assert (script["steps"], script["events_waiting"]) == (EPOCHS, told["events"])
    for run in runs.values():
        assert 0 < run["energy_low_kwh"] <= run["energy_kwh"] <= run["energy_high_kwh"]
        assert run["grid_intensity_source"].startswith("FRA: ")
