"""What a test needs beyond Python: missing, it is skipped with reason and remedy, unless WATTLINE_REQUIRE names it."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

__all__ = ["require"]


def require(name: str, reason: str, remedy: str) -> NoReturn:
    """Skip the test because ``name`` is missing, or fail it when WATTLINE_REQUIRE (comma separated) names it."""
    message = f"{name} is missing: {reason}. Remedy: {remedy}"
    if name in {each.strip() for each in os.environ.get("WATTLINE_REQUIRE", "").split(",")}:
        pytest.fail(f"{message} (WATTLINE_REQUIRE names {name}, so this is a failure)", pytrace=False)
    pytest.skip(message)
