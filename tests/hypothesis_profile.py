"""How hard the properties are tried: HYPOTHESIS_PROFILE is `ci` (200 examples, the default) or `thorough` (5000).

The seed of a run is printed at its end, and `--hypothesis-seed` repeats it, however many processes share the tests.
"""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import HealthCheck, core, settings

__all__ = ["pytest_collection_modifyitems", "pytest_configure", "pytest_terminal_summary"]

# The whole contract is one strategy, so some records are large and slow to draw: that is no fault of a test.
_SUPPRESSED = [HealthCheck.too_slow, HealthCheck.data_too_large]
_THOROUGH_TIMEOUT_S = 7200

settings.register_profile("ci", max_examples=200, deadline=None, print_blob=True, suppress_health_check=_SUPPRESSED)
settings.register_profile("thorough", settings.get_profile("ci"), max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or "ci")


def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed where none was asked for; as an option it reaches pytest-xdist's processes, too."""
    if config.option.hypothesis_seed is None:
        seed = random.randrange(2**32)  # no secret
        config.option.hypothesis_seed = str(seed)
        core.global_force_seed = seed  # type: ignore[assignment]  # typed as None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give a thorough property the time that it takes."""
    if settings().max_examples > settings.get_profile("ci").max_examples:
        for item in items:
            item.add_marker(pytest.mark.timeout(_THOROUGH_TIMEOUT_S))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what repeats this run's examples."""
    count, seed = settings().max_examples, terminalreporter.config.option.hypothesis_seed
    terminalreporter.write_line(f"hypothesis: {count} examples a property; repeat with --hypothesis-seed={seed}")
