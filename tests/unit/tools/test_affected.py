"""What a change can break, by the imports: followed to the end, and no further."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import affected


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a small repository: one generated module, and tests at several removes from it."""
    for name, source in {
        "libs/common/wattline_common/__init__.py": "",
        "libs/common/wattline_common/events.py": "",
        "libs/common/wattline_common/codec.py": "from wattline_common import events",
        "libs/common/wattline_common/errors.py": "",
        "services/trainer/wattline_trainer/__init__.py": "",
        "services/trainer/wattline_trainer/run.py": "def f():\n    import wattline_common.codec",
        "tests/helper.py": "from wattline_trainer.run import f",
        "tests/unit/test_direct.py": "from wattline_common.events import Event",
        "tests/unit/test_far.py": "from tests.helper import f",
        "tests/unit/test_apart.py": "import json\nfrom wattline_common import errors",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return tmp_path


def test_a_test_is_affected_at_any_remove(tree: Path) -> None:
    """Through a function's import, a service and a helper; a neighbour in the same package is not."""
    reached, others = affected.affected_tests(tree, ("wattline_common.events",))
    assert reached == {"tests/unit/test_direct.py", "tests/unit/test_far.py"}
    assert others == {"tests/unit/test_apart.py"}


def test_a_package_s_init_is_imported_with_each_of_its_modules(tree: Path) -> None:
    """Importing a module runs the packages above it."""
    reached, _ = affected.affected_tests(tree, ("wattline_common",))
    assert "tests/unit/test_apart.py" in reached


def test_an_unknown_module_affects_nothing(tree: Path) -> None:
    """The gate takes an empty answer for a mistake of its own."""
    assert affected.affected_tests(tree, ("wattline_common.nothing",))[0] == set()
