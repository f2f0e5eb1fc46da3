"""Fixtures that every test may ask for, and how hard every property is tried."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.hypothesis_profile import pytest_collection_modifyitems, pytest_configure, pytest_terminal_summary
from tests.stack_fixture import running_stack, stack, stack_settings

__all__ = [
    "own_spool",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_terminal_summary",
    "running_stack",
    "stack",
    "stack_settings",
]


@pytest.fixture(scope="module", autouse=True)
def own_spool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the spool of whoever runs the tests out of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "WATTLINE_SPOOL_DIR", str(tmp_path_factory.mktemp("spool")))
        yield
