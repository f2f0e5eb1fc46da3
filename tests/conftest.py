"""Fixtures that every test may ask for, and how hard every property is tried."""

from __future__ import annotations

from tests.hypothesis_profile import pytest_collection_modifyitems, pytest_configure, pytest_terminal_summary
from tests.stack_fixture import running_stack, stack, stack_settings

__all__ = [
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_terminal_summary",
    "running_stack",
    "stack",
    "stack_settings",
]
