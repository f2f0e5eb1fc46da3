"""The contract's properties are tried as hard as the profile says."""

from __future__ import annotations

from tests.hypothesis_profile import pytest_collection_modifyitems, pytest_terminal_summary

__all__ = ["pytest_collection_modifyitems", "pytest_terminal_summary"]
