"""Promises of the endpoint: it answers its three paths, is off by default, and says when its port is taken."""

from __future__ import annotations

import datetime
import re
import socket
from collections import Counter
from pathlib import Path

import pytest

from tests.probes import Probes, free_port
from wattline_common.errors import ConfigurationError
from wattline_streaming.endpoint import serving
from wattline_streaming.figures import Figures
from wattline_streaming.retention import Deleted
from wattline_streaming.settings import StreamingSettings
from wattline_streaming.settle import Settled
from wattline_streaming.vitals import QUERY, Vitals

LOOPBACK = "127.0.0.1"
README = Path(__file__).resolve().parents[3] / "services" / "streaming" / "README.md"
NOW = datetime.datetime(2026, 3, 1, 12, 0, 0, 500_000, tzinfo=datetime.UTC)


def known() -> Figures:
    """Return figures of a stream that knows all of them."""
    return Figures(
        ledger={"rows_booked": 10, "rows_filled": 4, "filled_share": 0.4, "rows_rejected": {"no_value": 2}},
        batch_ms=Counter(addBatch=1500),
        settled=Settled(windows=5, late=2, folded_anew=3),
        watermark=NOW,
        newest_event_at=NOW,
        last_batch_at=NOW,
        last_settling_at=NOW,
        lag_messages=7,
        lag_s=3.5,
        dirty_windows=1,
        raw_deleted=Deleted(events=9, runs=1),
        runs_closed=1,
        audit={"at": NOW, "clean": False, "runs": 3, "differences": 2, "pending": 1, "repaired": 4},
    )


def test_the_endpoint_is_off_and_on_loopback_by_default() -> None:
    """Nothing listens unless it is asked for, and then not beyond this machine."""
    assert (StreamingSettings.http_port, StreamingSettings.http_address) == (0, LOOPBACK)
    with serving(LOOPBACK, 0, Vitals(300), Figures()):
        pass


def test_its_three_paths_answer_and_others_do_not() -> None:
    """Probes by status and words, /metrics to Prometheus' own parser; an unknown path names the known ones."""
    probes = Probes(free_port())
    with serving(LOOPBACK, probes.port, Vitals(300), known()):
        assert probes.get("/livez") == (200, "ok\n")
        assert probes.get("/readyz")[0] == 503
        assert probes.get("/nothing") == (404, "there are /livez, /readyz and /metrics\n")
        assert probes.value("wattline_events_rejected_total", reason="no_value") == 2
        assert probes.value("wattline_batch_seconds_total", part="addBatch") == 1.5
        assert probes.value("wattline_watermark_timestamp_seconds") == NOW.timestamp()
        assert probes.value("wattline_windows_late_total") == 2
        assert probes.value("wattline_problem", part="query") == 1
        assert probes.value("wattline_lag_seconds") == 3.5
        assert probes.value("wattline_raw_events_deleted_total") == 9
        assert [probes.value(f"wattline_audit_{name}") for name in ("clean", "differences", "repaired")] == [0, 2, 4]
    assert probes.get("/livez")[0] == 0, "it ends with its context"


def test_the_readmes_table_is_what_is_exposed() -> None:
    """Every metric stands in the table, and nothing else does; what is not known yet is left out, not invented."""
    probes = Probes(free_port())
    vitals = Vitals(300)
    vitals.note(QUERY, "the store is away")
    with serving(LOOPBACK, probes.port, vitals, known()):
        exposed = {name for name, _ in probes.metrics()}
    table = set(re.findall(r"^\| `(wattline_[a-z_]+)` \|", README.read_text(encoding="utf-8"), re.MULTILINE))
    assert table == exposed
    probes = Probes(free_port())
    with serving(LOOPBACK, probes.port, Vitals(300), Figures()):
        unknown = exposed - {name for name, _ in probes.metrics()}
    assert {
        "wattline_lag_messages",
        "wattline_audit_clean",
        "wattline_watermark_timestamp_seconds",
        "wattline_events_booked_total",
    } <= unknown


def test_a_taken_port_names_setting_and_remedy() -> None:
    """Before anything else has started."""
    with socket.socket() as holder:
        holder.bind((LOOPBACK, 0))
        holder.listen()
        port = holder.getsockname()[1]
        with (
            pytest.raises(ConfigurationError, match=rf"WATTLINE_HTTP_PORT={port} .*: name another"),
            serving(LOOPBACK, port, Vitals(300), Figures()),
        ):
            pass
