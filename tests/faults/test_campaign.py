"""The part of the fault campaign that every commit gets: kinds that no other test here has, once each, on one line.

All kinds, several times: `make campaign`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.__main__ import KINDS
from tests.faults.campaign import Campaign, campaign
from tests.faults.faulted_line import SEED
from tests.requirements import require
from wattline_stack import StackSettings

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

SUBSET = (
    "network to the store: connections cut off",
    "training: SIGKILL",
    "spool: its end torn off",
    "stream: a second driver",
    "checkpoint: torn, emptied or a bit flipped",
    "clock of a producer: an hour ahead",
    "messages: schema versions mixed",
    "store: disk full",
    "all servers, stream and page: SIGKILL at once",
)
PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"
BY_NAME = {kind.name: kind for kind in KINDS}


@pytest.fixture(scope="module")
def line(stack_settings: StackSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    """Run one line for all faults."""
    with campaign(tmp_path_factory.mktemp("campaign"), SEED) as running:
        yield running


@pytest.mark.parametrize("name", SUBSET)
def test_a_line_that_was_struck_is_right_again(line: Campaign, name: str) -> None:
    """Nothing is lost, nothing counted twice, every run is its ledger to the millijoule, and the page shows it."""
    kind = BY_NAME[name]
    if kind.needs_disks and not line.disks:
        require("disks", "no file system can be mounted for a fault to fill", "run as root")
    before = len(line.done())
    line.run(kind, before)
    assert len(line.done()) == before + 1


def test_the_table_is_of_faults_that_there_are() -> None:
    """The page of guarantees has the last whole campaign: 25 kinds or more, each of them at least twice."""
    _, _, text = PAGE.read_text(encoding="utf-8").partition("## The fault campaign\n")
    _, *rows = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    struck = {name.strip(): int(times) for name, times, *_ in rows}
    assert set(struck) <= set(BY_NAME)
    assert sum(times >= 2 for times in struck.values()) >= 25
