"""Whatever lies in a spool's folder, by damage or on purpose: what can be read is, nothing else stops a report."""

from __future__ import annotations

import datetime
import json
import math
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from wattline import report
from wattline.accounts import Account
from wattline.ranks import Ranks, rank_folders
from wattline.spool_folders import Leftover, SpoolRoot
from wattline.spool_records import Record, scan
from wattline.spool_segments import segment_paths
from wattline_common.events import RunStarted

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
GOOD = Record.of(RunStarted(run_id="good", source_id="s", seq=0, timestamp=START))
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([None, True, -1, 10**400, 1e308, math.nan, math.inf, "", "x", "7", "\ud800", [], {}]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "run_id", "through"]), inner, max_size=2)
    ),
    max_leaves=4,
)
FIELDS = st.sampled_from(
    ["run_id", "source_id", "status", "started_at_s", "ended_at_s", "energy_kwh", "methods", "steps", "host"]
)
ACCOUNTS = st.one_of(VALUES, st.dictionaries(FIELDS, VALUES, max_size=4))
KEPT = st.one_of(
    VALUES,
    st.fixed_dictionaries({}, optional={"through": VALUES, "dropped": VALUES, "account": ACCOUNTS, "other": VALUES}),
)


def _root(tmp_path: Path) -> SpoolRoot:
    folder = tmp_path / "spool" / "source"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "00000001.seg").write_bytes(GOOD.frame())
    return SpoolRoot(tmp_path)


def _read_all(root: SpoolRoot) -> list[report.RunReport]:
    """Read a spool in every way there is; return the report."""
    runs = report.collect(root)
    for form in report.FORMATS.values():
        form(runs)
    for folder in root.folders():
        Leftover(root, folder).take()
    return runs


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, *settings().suppress_health_check])
@given(kept=KEPT)
@example(kept={"through": 10**400})
@example(kept={"account": {"started_at_s": 1e308, "run_id": ["r"]}})
def test_any_account_is_read_or_left_out(tmp_path: Path, kept: Any) -> None:
    """A file that says nonsense costs what it said; the events beside it are still reported."""
    root = _root(tmp_path)
    (tmp_path / "spool" / "source" / "account.json").write_text(json.dumps(kept), encoding="utf-8")
    runs = _read_all(root)
    assert len(runs) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, *settings().suppress_health_check])
@given(lines=st.lists(ACCOUNTS.map(json.dumps) | st.text(max_size=30), max_size=4), damage=st.binary(max_size=10))
def test_any_history_is_read_or_left_out(tmp_path: Path, lines: list[str], damage: bytes) -> None:
    """A line that says nonsense is left out; what waits beside it is still reported."""
    root = _root(tmp_path)
    root.history_path.write_bytes("\n".join(lines).encode(errors="replace") + b"\n" + damage)
    assert "good" in {run.run_id for run in _read_all(root)}


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, "\x00", "null", "[]", '{"account": []}']
)
def test_an_account_that_no_parser_takes_is_left_out(tmp_path: Path, content: str) -> None:
    """However deep or long it is."""
    root = _root(tmp_path)
    for path in (
        tmp_path / "spool" / "source" / "account.json",
        tmp_path / "spool" / "source" / "lock",
        root.history_path,
    ):
        path.write_text(content, encoding="utf-8")
    assert len(_read_all(root)) == 1


@pytest.mark.parametrize("name", ["²", "-1", "1.5", "x", "", "٣", "9" * 100, ".."])
def test_only_a_number_is_a_segment(tmp_path: Path, name: str) -> None:
    """A file of another name is left alone."""
    (tmp_path / "00000001.seg").touch()
    (tmp_path / f"{name}.seg").touch()
    assert tmp_path / "00000001.seg" in segment_paths(tmp_path)


@given(
    data=st.binary(max_size=300), mark=st.sampled_from([b"", b"WLS1", b"WLS1\xff\xff\xff\xff", b"WLS1\x00\x00\x00\x00"])
)
def test_any_bytes_are_scanned_to_their_end(data: bytes, mark: bytes) -> None:
    """Noise before and behind a whole record costs nothing but itself."""
    found = scan(mark + data + GOOD.frame() + mark + data, complete=True)
    assert GOOD in found.records
    assert found.end == 2 * len(mark + data) + len(GOOD.frame())


def test_the_folders_are_their_owners_alone(tmp_path: Path) -> None:
    """Who trains what is no other user's to read, whichever part makes the folder first."""
    for first in ("spool", "running"):
        root = SpoolRoot(tmp_path / first / "state" / "wattline")
        if first == "running":
            Ranks(rank_folders(root.path, "host", "run"))
        root.create("source", "run", "")
        made = [
            root.path,
            root.spool,
            root.spool / "source",
            root.spool / "source" / "lock",
            *root.path.glob("running"),
        ]
        assert len(made) == (4 if first == "spool" else 5)
        assert [path for path in made if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


@given(values=st.dictionaries(FIELDS, VALUES, max_size=6))
def test_an_account_has_the_types_that_it_says(values: dict[str, Any]) -> None:
    """What does not fit its field is refused, so that no sum meets a text."""
    try:
        account = Account.from_json(values)
    except (TypeError, ValueError):
        return
    assert isinstance(account.run_id, str)
    assert account.began is None or account.began.tzinfo is not None
    assert isinstance(account.energy_kwh + account.steps, float)
