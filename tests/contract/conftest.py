"""The contract's properties are tried as hard as the profile says."""

from __future__ import annotations

from tests.hypothesis_profile import pytest_terminal_summary

__all__ = ["pytest_terminal_summary"]
