"""The one table of boundaries says to Pants what it says to the pytest."""

from __future__ import annotations

import pytest

from tests import import_rules
from tools import boundaries


@pytest.mark.parametrize("package", import_rules.PROJECTS)
def test_a_project_may_depend_on_itself_and_what_its_row_names(package: str) -> None:
    """Everything else is refused by the last rule."""
    rules = boundaries.boundary(package)
    project = import_rules.PROJECTS[package]
    assert rules[-1] == "!*"
    assert "/**" in rules
    for other, row in import_rules.PROJECTS.items():
        assert (f"//{row.folder}/**" in rules) == (other in project.may_import)


@pytest.mark.parametrize("package", import_rules.PROJECTS)
def test_what_belongs_elsewhere_is_refused_before_anything_is_allowed(package: str) -> None:
    """The first rule that matches decides, so an exception must come first."""
    rules = boundaries.boundary(package)
    refused = [rule.startswith("!") for rule in rules[:-1]]
    assert refused == sorted(refused, reverse=True)
    assert ("!//reqs#pyspark" in rules) == (package != "wattline_streaming")
    assert ("!//libs/common/wattline_common/kafka.py" in rules) == (
        package in {"wattline_trainer", "wattline_dashboard"}
    )


def test_only_the_generated_code_may_depend_on_the_contract() -> None:
    """Whoever wants a schema asks wattline_common for it."""
    having = {package for package in import_rules.PROJECTS if "//schemas/**" in boundaries.boundary(package)}
    assert having == {"wattline_common"}
