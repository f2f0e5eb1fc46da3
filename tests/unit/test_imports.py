"""The boundaries of the projects, held without a build tool; and each rule can fail."""

from __future__ import annotations

import re
import shutil
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests import import_rules

ROOT = Path(__file__).resolve().parents[2]
DISTRIBUTIONS = dict(packages_distributions())
VENVS = "tests/integration/venvs"
LOCKS = ["requirements.lock", "tools.lock", "tools/pants.lock", f"{VENVS}/huggingface.lock", f"{VENVS}/mlflow.lock"]


def test_every_project_is_known_and_has_sources() -> None:
    """Guards the tests below against an empty walk, and against a project that nobody listed."""
    folders = {path.parent.relative_to(ROOT).as_posix() for path in ROOT.glob("[ls]*s/*/pyproject.toml")}
    assert folders == {project.folder for project in import_rules.PROJECTS.values()}
    assert {package for package, _ in import_rules.sources(ROOT)} == set(import_rules.PROJECTS)


def test_imports_go_one_way() -> None:
    """Common <- tracker <- trainer; common <- streaming, dashboard, stack; each library in its place only."""
    assert import_rules.forbidden_imports(ROOT) == []


def test_only_settings_read_the_environment() -> None:
    """What can be set from outside stands in one file a project."""
    assert import_rules.environment_reads(ROOT) == []


def test_every_import_is_declared() -> None:
    """A project installed alone has all that it imports."""
    assert import_rules.undeclared_imports(ROOT, DISTRIBUTIONS) == []


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return an empty copy of the projects: manifests and packages without code."""
    for package, project in import_rules.PROJECTS.items():
        folder = tmp_path / project.folder / package
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        shutil.copy(ROOT / project.folder / "pyproject.toml", folder.parent)
    return tmp_path


def _write(tree: Path, package: str, source: str, name: str = "module.py") -> None:
    path = tree / import_rules.PROJECTS[package].folder / package / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("wattline_common", "import wattline"),
        ("wattline_common", "from wattline_stack import Stack"),
        ("wattline", "import wattline_trainer.digits"),
        ("wattline", "from wattline_streaming.windows import fold"),
        ("wattline_trainer", "import wattline_stack"),
        ("wattline_stack", "def f():\n    import wattline_streaming.job"),
        ("wattline_stack", "import wattline"),
        ("wattline_stack", "import pyspark"),
        ("wattline_streaming", "from wattline_dashboard import queries"),
        ("wattline_streaming", "import importlib\nimportlib.import_module('wattline_trainer')"),
        ("wattline_dashboard", "if True:\n    from wattline import track"),
        ("wattline_dashboard", "from confluent_kafka import Consumer"),
        ("wattline_dashboard", "from wattline_common import kafka"),
        ("wattline_dashboard", "from pyspark.sql import SparkSession"),
        ("wattline", "import pymongo"),
        ("wattline", "from bson import Int64"),
        ("wattline", "from wattline_common.store import connect"),
        ("wattline_trainer", "from wattline_common import store"),
        ("wattline_streaming", "import streamlit as st"),
        ("wattline_common", "import plotly.express"),
    ],
)
def test_a_forbidden_import_is_found(tree: Path, package: str, source: str) -> None:
    """Wherever it stands: at the top, in a function, in a condition, by constant name."""
    _write(tree, package, source)
    (found,) = import_rules.forbidden_imports(tree)
    assert f"{package}/module.py:" in found


def test_allowed_imports_are_not_found(tree: Path) -> None:
    """The arrows of the design, relative imports, and names that only begin alike."""
    _write(tree, "wattline", "from wattline_common.events import Event\nfrom wattline_common import kafka, storehouse")
    _write(tree, "wattline_trainer", "import wattline\nfrom wattline_common import errors")
    _write(tree, "wattline_streaming", "import pyspark.sql, pymongo\nfrom . import windows\nfrom ..windows import a")
    _write(tree, "wattline_dashboard", "import streamlit, pymongo\nfrom wattline_common.store import connect")
    _write(tree, "wattline_stack", "import pymongo\nfrom wattline_common import kafka\nimport pyspark_tools")
    assert import_rules.forbidden_imports(tree) == []


def test_a_file_outside_of_a_package_is_found(tree: Path) -> None:
    """No stray module escapes the rules."""
    (tree / "services/streaming/helper.py").write_text("import wattline_trainer")
    with pytest.raises(ValueError, match="in no project's package"):
        import_rules.forbidden_imports(tree)


@pytest.mark.parametrize(
    "source",
    [
        "import os\nX = os.environ['X']",
        "import os\nX = os.getenv('X')",
        "from os import environ",
        "from os import path, getenv as get",
        "import os\ndef f():\n    os.environ.setdefault('A', 'b')",
    ],
)
def test_reading_the_environment_elsewhere_is_found(tree: Path, source: str) -> None:
    """By attribute, by import, at the top or in a function."""
    _write(tree, "wattline_streaming", source, "job.py")
    _write(tree, "wattline_streaming", source, "settings.py")
    (found,) = import_rules.environment_reads(tree)
    assert "wattline_streaming/job.py:" in found


def test_only_the_one_environment_module_is_exempt(tree: Path) -> None:
    """wattline_common/environment.py may; a namesake elsewhere may not."""
    _write(tree, "wattline_common", "import os\nos.environ", "environment.py")
    assert import_rules.environment_reads(tree) == []
    _write(tree, "wattline_stack", "import os\nos.environ", "environment.py")
    assert len(import_rules.environment_reads(tree)) == 1


def test_handing_the_environment_down_to_a_child_reads_no_setting(tree: Path) -> None:
    """A child process gets what the user has set, whoever starts it."""
    _write(tree, "wattline_stack", "import os\ndef f(more):\n    return {**os.environ, **more}")
    assert import_rules.environment_reads(tree) == []


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("wattline_trainer", "import plotly"),
        ("wattline_dashboard", "import psutil"),
        (
            "wattline",
            "def f():\n    import pymongo",
        ),  # common has it in an extra that the tracker does not take
        ("wattline_stack", "import wattline"),
        ("wattline_common", "import no_such_library"),
    ],
)
def test_an_undeclared_import_is_found(tree: Path, package: str, source: str) -> None:
    """Whatever another project happened to install."""
    _write(tree, package, source)
    (found,) = import_rules.undeclared_imports(tree, DISTRIBUTIONS)
    assert "does not declare" in found


def test_a_bridge_may_import_what_its_own_extra_names(tree: Path) -> None:
    """And nothing else may: who does not ask for the extra does not have it."""
    _write(tree, "wattline", "import torch\nfrom transformers import TrainerCallback", "integrations/huggingface.py")
    _write(tree, "wattline", "import mlflow.entities", "integrations/mlflow.py")
    assert import_rules.undeclared_imports(tree, DISTRIBUTIONS) == []
    _write(tree, "wattline", "import transformers", "integrations/mlflow.py")
    _write(tree, "wattline", "import mlflow", "run.py")
    found = import_rules.undeclared_imports(tree, DISTRIBUTIONS)
    assert [each.partition(": ")[2].split(",")[0] for each in found] == [
        "wattline imports transformers",
        "wattline imports mlflow",
    ]


def test_a_dependency_of_an_in_house_dependency_is_declared(tree: Path) -> None:
    """The tracker asks for wattline-common[registry], which asks for wattline-common[kafka]."""
    assert {"fastavro", "confluent-kafka", "psutil"} <= import_rules.declared(tree, "wattline")
    assert "pymongo" not in import_rules.declared(tree, "wattline")
    assert "confluent-kafka" in import_rules.declared(tree, "wattline-trainer".replace("-", "_"))


def _naming_a_host(text: str) -> list[str]:
    """Return the lines that name a host or an index; a package's name may hold http."""
    plain = re.compile(r"[a-z0-9._-]+==[^\s:/]+( ; [^:/]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?")
    return [line for line in text.splitlines() if not plain.fullmatch(line)]


@pytest.mark.parametrize("name", LOCKS)
def test_locks_pin_hashes_and_name_no_host(name: str) -> None:
    """Every line is a pinned package or one of its hashes: a lock works with any index."""
    text = (ROOT / name).read_text()
    assert len(text.splitlines()) > 50
    assert _naming_a_host(text) == []


def test_a_host_in_a_lock_is_found() -> None:
    """In an option, an address or a comment."""
    good = f"httpx2==2.0 \\\n    --hash=sha256:{'0' * 64}\n"
    assert _naming_a_host(good) == []
    for line in ("--index-url http://x/", "a @ https://x/a.whl", "# via http://x", "a>=1", "--find-links x"):
        assert _naming_a_host(f"{good}{line}\n") == [line]


def test_every_declared_dependency_is_locked() -> None:
    """What a manifest names, the lock pins."""
    locked = set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    ours = {project.distribution for project in import_rules.PROJECTS.values()}
    needed = {name for package in import_rules.PROJECTS for name in import_rules.declared(ROOT, package)}
    assert needed - ours - locked == set()
