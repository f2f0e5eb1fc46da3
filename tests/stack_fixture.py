"""The real servers for tests: one stack a session on fresh data, by the same code as the command ``up``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.requirements import require

if TYPE_CHECKING:  # unit tests need none of what this imports
    from wattline_stack import Endpoints, Stack, StackSettings

__all__ = ["running_stack", "stack", "stack_settings"]


@pytest.fixture(scope="session")
def stack_settings(tmp_path_factory: pytest.TempPathFactory) -> StackSettings:
    """Return settings of a stack on a fresh data folder, its Java parts provisioned; skips where they cannot be had.

    KAFKA_BOOTSTRAP_SERVERS, SCHEMA_REGISTRY_URL and MONGODB_URI point the session's tests at real servers.
    """
    from wattline_common.errors import ResourceError
    from wattline_stack import SilentProgress, Stack, StackSettings

    data_dir = tmp_path_factory.mktemp("stack")
    settings = StackSettings.from_environment({**os.environ, "WATTLINE_DATA_DIR": str(data_dir)})
    try:
        Stack(settings).provision(SilentProgress())
    except ResourceError as error:
        require("stack", str(error), "python -m wattline_stack provision, with a network")
    return settings


@pytest.fixture(scope="session")
def running_stack(stack_settings: StackSettings) -> Iterator[Stack]:
    """Run the session's stack and give its handle, for tests that kill and restart a server; leave it running."""
    from wattline_stack import Stack

    stack = Stack(stack_settings)
    stack.start()
    yield stack
    stack.stop()


@pytest.fixture
def stack(running_stack: Stack) -> Endpoints:
    """Tell where the session's servers are."""
    return running_stack.endpoints()
