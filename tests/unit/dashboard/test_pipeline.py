"""What the stream says of itself, in words, rows and curves."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pipeline_health import LEDGER, rejected_document, streaming_document
from wattline_dashboard import pipeline_charts
from wattline_dashboard.pipeline import (
    REASONS,
    Moment,
    batch_parts,
    bytes_shown,
    coverage,
    gaps_table,
    gaps_to_save,
    health_problems,
    moment_of,
    rejected_table,
    rejected_to_save,
    with_moment,
)
from wattline_dashboard.pipeline_queries import is_reason, is_rejected_id

NOW = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
ROOT = Path(__file__).resolve().parents[3]


def test_every_reason_that_the_stream_knows_is_explained() -> None:
    """The stream's table of reasons and ours name the same."""
    table = re.findall(r"^\| (`[a-z_`, ]+`) \|.*\|.*\|$", (ROOT / "services/streaming/README.md").read_text(), re.M)
    known = {reason for row in table for reason in re.findall(r"`([a-z_]+)`", row)}
    assert set(REASONS) <= known
    assert {reason for reason in known if reason in REASONS or reason == "after_retention"} == set(REASONS)


def test_the_moment_is_what_the_stream_told() -> None:
    """Lag, rates and when; none where it has told nothing."""
    moment = moment_of(streaming_document(NOW))
    assert moment is not None
    assert (moment.at, moment.lag_messages, moment.lag_s) == (NOW, 1_234, 65.0)
    assert moment_of({}) is None


def test_a_viewer_keeps_each_report_once_and_not_for_ever() -> None:
    """The same report seen twice is one point; old ones go."""
    moments: list[Moment] = []
    for second in range(1_000):
        moment = Moment(NOW + datetime.timedelta(seconds=second // 2), second, 0.0, 1.0, 1.0)
        moments = with_moment(moments, moment)
    assert len(moments) == 500
    for second in range(1_000):
        moments = with_moment(moments, Moment(NOW + datetime.timedelta(hours=1, seconds=second), 1, 0.0, 1.0, 1.0))
    assert len(moments) == 720
    assert with_moment(moments, None) == moments


def test_problems_are_told_by_part() -> None:
    """What keeps a part from its work stands there, the registry's too; what is over does not."""
    assert health_problems(streaming_document(NOW)) == {}
    assert health_problems(streaming_document(NOW, problem="no broker")) == {"query": "no broker"}
    assert health_problems({"registry": {"problem": "id 7 is gone"}}) == {"registry": "id 7 is gone"}
    over = streaming_document(NOW, error="it broke")
    assert health_problems(over) == {}
    assert over["figures"]["last_error"]["problem"] == "it broke"


def test_batch_time_adds_up_to_the_whole() -> None:
    """Each part's seconds, and the rest that no part accounts for."""
    parts = dict(batch_parts({"addBatch": 9_000, "queryPlanning": 700, "new part": 50, "triggerExecution": 10_000}))
    assert parts["book, window, write"] == 9.0
    assert parts["new part"] == 0.05
    assert sum(parts.values()) == pytest.approx(10.0, rel=1e-9)
    assert batch_parts({}) == []


def _run(run_id: str, difference_kwh: float | None, status: str = "COMPLETED", **fields: Any) -> dict[str, Any]:
    settled = {"energy_kwh": 2.0 - (difference_kwh or 0.0), "difference_kwh": difference_kwh, "settled_at": NOW}
    run = {"_id": run_id, "status": status, "energy_kwh": 2.0, "model_name": "m", "user_id": "u"}
    run |= {"simulated": False, "methods": ["MODELLED"]}
    return run | ({"settled": settled} if difference_kwh is not None else {}) | fields


def test_coverage_counts_runs_whose_windows_are_whole() -> None:
    """Rounding is no gap; what runs, or waits to be settled, is not judged; the worst gap is first."""
    runs = [
        _run("whole", 1e-12),
        _run("small", 0.1),
        _run("big", 0.5),
        _run("waits", None),
        _run("lives", None, "RUNNING"),
    ]
    found = coverage(runs)
    assert (found.settled, found.whole, found.waiting, found.share) == (3, 1, 1, 1 / 3)
    table = gaps_table(found.gaps)
    assert list(table["Run"]) == ["big", "small"]
    assert list(table["Missing"]) == [0.5, 0.1]
    assert coverage([]).share is None
    saved = gaps_to_save(found.gaps)
    assert list(saved["run_id"]) == ["big", "small"]
    assert list(saved["difference_kwh"]) == [0.5, 0.1]
    assert list(gaps_to_save([]).columns) == list(saved.columns)


@given(st.binary(max_size=600))
def test_bytes_are_shown_whole_and_harmless(content: bytes) -> None:
    """Every byte can be read back from its hexadecimal; nothing but printable ASCII is shown."""
    shown = bytes_shown(content, 512)
    assert all(character == "\n" or 0x20 <= ord(character) < 0x7F for character in shown)
    rows = [row for row in shown.splitlines() if not row.startswith("and ")]
    assert bytes.fromhex("".join(row[10:57] for row in rows)) == content[:512]
    assert ("bytes more" in shown) == (len(content) > 512)


def test_rejected_rows_say_what_is_wrong_and_what_helps() -> None:
    """On the viewer's clock; a reason that we do not know yet is shown as it is."""
    zone = datetime.timezone(datetime.timedelta(hours=2))
    events = [dict(rejected_document(7, NOW)), dict(rejected_document(8, NOW, reason="new_reason"))]
    table = rejected_table(events, zone)
    assert table["Rejected"][0] == datetime.datetime(2026, 3, 1, 14, 0)  # noqa: DTZ001  # wall clock
    assert table["Helped by"][0] == "its producer"
    assert table["Reason"][1] == "new_reason"
    assert list(table["Offset"]) == [7, 8]
    saved = rejected_to_save(events)
    assert list(saved["_id"]) == [event["_id"] for event in events]
    assert list(rejected_to_save([]).columns) == list(saved.columns)


@pytest.mark.parametrize("text", ["", "$ne", "a b", "x" * 65, None, {"$ne": 1}])
def test_no_reason_from_outside_but_a_word(text: object) -> None:
    """What is no reason is not asked for."""
    assert not is_reason(text)
    assert is_reason("out_of_range")


def test_no_identity_from_outside_with_control_characters() -> None:
    """Cluster, topic, partition, offset; nothing else."""
    assert is_rejected_id("cluster:training.events:3:7")
    assert not is_rejected_id("a\x00b")
    assert not is_rejected_id("x" * 513)


def test_charts_have_every_value() -> None:
    """A point a report, a bar a part or reason, with its number beside it."""
    moments = [Moment(NOW + datetime.timedelta(seconds=second), second, 0.0, 2.0, 1.0) for second in range(3)]
    assert list(pipeline_charts.lag(moments, datetime.UTC).data[0].y) == [0, 1, 2]
    assert [line.name for line in pipeline_charts.rates(moments, datetime.UTC).data] == [
        "messages read",
        "events booked",
    ]
    (bars,) = pipeline_charts.rejections(LEDGER["rows_rejected"]).data
    assert dict(zip(bars.y, bars.x, strict=True)) == LEDGER["rows_rejected"]
    assert bars.y[0] == "out_of_range"
    (bars,) = pipeline_charts.batch_time([("plan", 3.0), ("rest", 1.0)]).data
    assert list(bars.text) == ["3 s · 75.0 %", "1 s · 25.0 %"]
