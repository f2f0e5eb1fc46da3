"""`python -m wattline_common.store` on a real store: made, repeated, and refused where that is right."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from wattline_common import store

if TYPE_CHECKING:
    from wattline_common.settings import Endpoints


def ensure(uri: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    command = [sys.executable, "-m", "wattline_common.store"]
    return subprocess.run(
        command, env={**os.environ, "MONGODB_URI": uri}, capture_output=True, text=True, check=False, timeout=60
    )


def test_indexes_are_there_however_often_it_runs(stack: Endpoints) -> None:
    """The first run makes them, the second changes nothing."""
    for _ in range(2):
        done = ensure(stack.mongodb_uri)
        assert (done.returncode, done.stdout, done.stderr) == (0, "all indexes are there\n", "")
    keys = [index["key"] for index in store.connect(stack.mongodb_uri)[store.AGGREGATED_METRICS].list_indexes()]
    assert {"window_start": 1} in [dict(key) for key in keys]


def test_a_wrong_address_is_named_without_its_password() -> None:
    """What is no address is a matter of the setting, and its text stays untold."""
    done = ensure("mongodb://user:pass/word@host/")
    assert done.returncode == 1
    assert done.stderr.startswith("MONGODB_URI, which names host, is no address of a store")
    assert "word" not in done.stderr.replace("password", "")
