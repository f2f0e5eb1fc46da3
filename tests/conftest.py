"""Fixtures that every test may ask for."""

from __future__ import annotations

from tests.stack_fixture import running_stack, stack, stack_settings

__all__ = ["running_stack", "stack", "stack_settings"]
