"""Promises of the backlog: what Spark has committed is read from its own log, and the rest is the lag."""

from __future__ import annotations

from pathlib import Path

import pytest

from wattline_common.errors import StopError
from wattline_streaming.backlog import batch_under_way, committed_offsets, unread


def log(checkpoint: Path, batch: int, offsets: str, *, committed: bool = True) -> None:
    """Write a batch as Spark does: its offsets before, its commit after."""
    for folder in ("offsets", "commits"):
        (checkpoint / folder).mkdir(exist_ok=True)
    (checkpoint / "offsets" / str(batch)).write_text(f'v1\n{{"batchWatermarkMs":0}}\n{offsets}')
    (checkpoint / "offsets" / f".{batch}.crc").touch()
    if committed:
        (checkpoint / "commits" / str(batch)).write_text('v1\n{"nextBatchWatermarkMs":0}')
        (checkpoint / "commits" / f".{batch}.crc").touch()


def test_only_committed_batches_are_done(tmp_path: Path) -> None:
    """By number, not by name; a batch under way is not done."""
    assert committed_offsets(tmp_path) == {}
    log(tmp_path, 9, '{"training.events":{"0":5,"1":6}}')
    log(tmp_path, 10, '{"training.events":{"0":7,"1":8}}')
    log(tmp_path, 11, '{"training.events":{"0":70,"1":80}}', committed=False)
    assert committed_offsets(tmp_path) == {0: 7, 1: 8}
    told = batch_under_way(tmp_path)
    assert "batch 11, training.events partition:offsets 0:7-70 1:8-80" in told
    assert str(tmp_path) in told


def test_a_batch_that_is_done_is_not_under_way(tmp_path: Path) -> None:
    """Nor is there one before the first."""
    assert "none is planned" in batch_under_way(tmp_path)
    log(tmp_path, 0, '{"training.events":{"0":5}}')
    assert "none is planned" in batch_under_way(tmp_path)


@pytest.mark.parametrize("body", ["", "v1", "v1\n{}\n{", 'v1\n{}\n{"training.events":7}', 'v1\n{}\n{"other":{}}'])
def test_a_damaged_file_of_offsets_is_named_with_the_remedy(tmp_path: Path, body: str) -> None:
    """However it is damaged; a person then knows which folder to leave."""
    log(tmp_path, 3, '{"training.events":{"0":5}}', committed=False)
    (tmp_path / "offsets" / "3").write_text(body)
    with pytest.raises(StopError, match=r"offsets/3 is damaged .*WATTLINE_CHECKPOINT_DIR"):
        batch_under_way(tmp_path)


def test_the_lag_counts_what_is_kept_and_not_done() -> None:
    """Messages that retention has removed cannot be read any more, and a partition never read is wholly left."""
    assert unread({0: (0, 10), 1: (0, 5)}, {0: 7, 1: 5}) == {0: (7, 10)}
    assert unread({0: (8, 10), 1: (2, 5)}, {0: 3}) == {0: (8, 10), 1: (2, 5)}
    assert unread({0: (0, 4)}, {0: 9}) == {}, "the broker's answer may be older than the commit"
