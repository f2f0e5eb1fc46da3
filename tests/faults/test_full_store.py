"""The embedded store becomes full under the stream: that is said where one would look, and more heap is the cure."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from tests.ledgers import fleet_figures, ledger_differences
from tests.line import running_line, wait_for
from tests.probes import Probes
from wattline_common import store
from wattline_dashboard.pipeline import health_problems
from wattline_stack import Stack
from wattline_stack.ports import keep_ports
from wattline_streaming.audit import audit

SMALL_HEAP_MB, ENOUGH_HEAP_MB = 64, 1000
STOPPED = 2


def test_with_more_heap_all_of_it_is_stored_once(tmp_path: Path) -> None:
    """The stream is not ready, says the setting on /readyz and the page, and ends; started again it stores the rest."""
    port = keep_ports(tmp_path, ["http"])["http"]
    with running_line(tmp_path, SMALL_HEAP_MB, WATTLINE_HTTP_PORT=str(port)) as line:
        stream, probes, ledger = line.start_stream(), Probes(port), tmp_path / "fleet.json"
        wait_for(probes.is_ready, stream.tail)
        health = line.database[store.PIPELINE_HEALTH]
        options = ["--runs", "40", "--live", "0", "--ledger", str(ledger)]
        fleet = line.services.start("simulator", ["wattline_trainer", "simulate", *options])
        wait_for(lambda: "WATTLINE_STORE_HEAP_MB" in probes.get("/readyz")[1], stream.tail)
        page: list[str] = []

        def is_told() -> bool:
            page.extend(health_problems(health.find_one({"_id": store.STREAMING}) or {}).values())
            return any("WATTLINE_STORE_HEAP_MB" in words for words in page)

        wait_for(is_told, lambda: f"the cause on the page Pipeline, not {page}")
        assert fleet.wait(120), fleet.tail()
        assert fleet.exit_code == 0, fleet.tail()
        wait_for(lambda: stream.exit_code is not None, stream.tail)
        assert stream.exit_code == STOPPED, stream.tail()
        told = json.loads(ledger.read_text(encoding="utf-8"))
        delivered = told["totals"]["messages_delivered"]
        assert 0 < line.stored() < delivered, "the store was not full"
        Stack(replace(line.stack.settings, store_heap_mb=ENOUGH_HEAP_MB)).restart("store")
        line.services.end(stream, 10)
        again = line.start_stream()
        wait_for(lambda: line.stored() == delivered, lambda: f"{line.stored()} of {delivered}: {again.tail()}")
        dirty = line.database[store.DIRTY_WINDOWS]
        wait_for(lambda: dirty.count_documents({}) == 0, lambda: f"windows to settle: {again.tail()}")
        found = audit(line.database)
        assert found.clean, found.as_text()
        assert ledger_differences(line.database, found, fleet_figures(told)) == []
