"""Live runs keep the pace of the wall clock, replace each other, and end well when told."""

from __future__ import annotations

from collections import defaultdict

import pytest

from tests.unit.trainer.simulate.stand_ins import START, ManualWatch, Stage, play_history
from wattline_common.validate import validate
from wattline_trainer.simulate.population import history, live


def _play(count: int, for_s: float, speed: float = 1.0) -> tuple[Stage, ManualWatch, list[float]]:
    """Keep runs live on a clock moved by hand; return what happened, and how far events were ahead of the clock."""
    stage = Stage()
    watch = ManualWatch(stage.wire, 1000.0)
    ahead: list[float] = []
    send = stage.outbox.send

    def noting(key: str, message: bytes) -> None:
        send(key, message)
        ahead.append(-watch.at_s)

    stage.outbox.send = noting  # type: ignore[method-assign]  # notes the time of each event
    stage.simulation.keep_live(live(0, "now", 5.0), count, speed, watch, for_s, lambda _: None)
    stage.outbox.close()
    for k, (_, fields) in enumerate(stage.wire.data()):
        ahead[k] += (fields["timestamp"] - START).total_seconds()
    return stage, watch, ahead


def test_live_runs_keep_the_pace_and_end_stopped() -> None:
    """A sample every 5 s each, dated now; in the end each has its last sample and STOPPED; the books agree."""
    stage, watch, ahead = _play(10, 60.0)
    assert watch.at_s == pytest.approx(1060, abs=1)
    assert -1.0 <= min(ahead) <= max(ahead) <= 0.01
    books = stage.books()
    assert len(books["runs"]) == 10
    assert {run["status"] for run in books["runs"].values()} == {"STOPPED"}
    seqs: dict[str, list[int]] = defaultdict(list)
    for name, fields in stage.wire.data():
        validate(name, fields)
        seqs[fields["source_id"]].append(fields["seq"])
        if name == "RunFinished":
            assert fields["status"] == "STOPPED"
            assert abs((fields["timestamp"] - START).total_seconds() - watch.at_s) < 0.5
            entry = books["runs"][fields["run_id"]]["sources"][fields["source_id"]]
            assert (fields["source_energy_kwh"], fields["events_emitted"]) == (
                entry["energy_kwh"],
                entry["events_emitted"],
            )
    assert all(found == list(range(len(found))) for found in seqs.values())
    assert min(run["events_by_type"]["HardwareSampled"] for run in books["runs"].values()) >= 11


def test_a_run_that_is_over_is_replaced() -> None:
    """At a hundred times the speed many runs pass, as many as wanted live at any time, and none is dated ahead."""
    stage, _, ahead = _play(4, 90.0, speed=100.0)
    books = stage.books()
    assert len(books["runs"]) > 8
    assert max(ahead) <= 0.01
    over = [run for run in books["runs"].values() if run["status"] in {"COMPLETED", "FAILED"}]
    assert len(over) >= len(books["runs"]) - 4 - 2
    assert stage.fleet.runs == 0


def test_a_stop_in_the_history_ends_what_is_under_way() -> None:
    """Runs that had begun are STOPPED with all their events, later ones never begin, and nothing runs on."""
    stage = Stage(2)

    def stop_halfway(at_s: float) -> None:
        stage.stopping = at_s > 3 * 3600

    stage.simulation.write_history(history(2, 8, START, 6 * 3600.0), stop_halfway)
    stage.outbox.close()
    books = stage.books()
    assert 0 < len(books["runs"]) <= 8
    assert "STOPPED" in {run["status"] for run in books["runs"].values()}
    assert all(run["status"] != "RUNNING" for run in books["runs"].values())
    assert books["totals"]["events"] == len(stage.wire.sent) < len(play_history(2, 8, 6.0).wire.sent)
    finished = {fields["source_id"] for name, fields in stage.wire.data() if name == "RunFinished"}
    assert finished == {fields["source_id"] for _, fields in stage.wire.data()}


def test_ids_of_live_runs_are_new_at_every_start() -> None:
    """The session is in them, so that a second start never continues the runs of the first."""
    first, second = next(live(0, "a", 5.0)), next(live(0, "b", 5.0))
    assert first.run_id != second.run_id
