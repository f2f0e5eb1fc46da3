"""The table of what runs differ in, and the chart of what they learned for their energy."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any, cast

from tests.dashboard_runs import raw_documents, recorded_run, summary_document
from wattline_common.events import DeviceDescription, DeviceKind, RunStarted, RunStatus
from wattline_common.store import RunSummary
from wattline_dashboard.compare_charts import learning_cost
from wattline_dashboard.comparison import LETTERS, Compared
from wattline_dashboard.curves import RunSeries
from wattline_dashboard.differences import BEST, DIFFERENT, Difference, difference_table, differences
from wattline_dashboard.formats import ENERGY, MISSING, TIMES
from wattline_dashboard.history import RunHistory
from wattline_dashboard.series import from_events

STARTED_AT = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)


def _compared(number: int, *, start: dict[str, Any] | None = None, **options: Any) -> Compared:
    given: dict[str, Any] = {"seconds": 60, "status": RunStatus.COMPLETED} | options
    events = recorded_run(f"run-{number}", STARTED_AT, **given)
    events = [dataclasses.replace(each, **(start or {})) if isinstance(each, RunStarted) else each for each in events]
    history = RunHistory(f"run-{number}")
    history.add(raw_documents(events))
    summary = cast("RunSummary", summary_document(events))
    return Compared(LETTERS[number], "#0072b2", summary, from_events(history.samples, history.steps))


def _rows(*runs: Compared) -> dict[str, Difference]:
    return {row.fact: row for row in differences(runs, datetime.UTC)}


def test_what_differs_is_marked_and_what_does_not_is_not() -> None:
    """Hyperparameters, users and figures that differ have the sign; figures also by how much."""
    rows = _rows(
        _compared(0, start={"hyperparameters": {"lr": "0.1", "batch": "8"}}),
        _compared(1, start={"hyperparameters": {"lr": "0.2", "batch": "8"}}, user_id="grace", seconds=120),
    )
    assert (rows["lr"].cells, rows["lr"].differs) == (["0.1", "0.2"], DIFFERENT)
    assert rows["batch"].differs == ""
    assert rows["User"].differs == DIFFERENT
    assert rows["Model"].differs == ""
    assert rows["Duration"].differs == f"{DIFFERENT} {TIMES}2"
    assert rows["Started"].differs == "", "it differs always, which says nothing"


def test_figures_of_a_row_have_one_unit_and_the_best_is_told() -> None:
    """Energies are the store's, in the unit of the highest; the lowest energy and the highest accuracy are best."""
    small, big = _compared(0, seconds=10), _compared(1, seconds=300, has_gpu=True)
    rows = _rows(small, big)
    scale = ENERGY.scale(big.summary["energy_kwh"])
    assert rows["Energy"].cells == [ENERGY.text(run.summary["energy_kwh"], scale) for run in (small, big)]
    assert {cell.split()[-1] for cell in rows["Energy"].cells} == {"Wh"}
    assert rows["Energy"].best == {0}
    assert rows["Accuracy"].best == {1}
    table = difference_table(list(rows.values()), [small, big]).set_index("Fact")
    assert table.loc["Energy", "A · digits-mlp"] == f"{BEST} {rows['Energy'].cells[0]}"


def test_a_simulated_run_wins_nothing_over_real_ones() -> None:
    """Its energy is nobody's: it is compared, and is never the best beside a real run."""
    rows = _rows(
        _compared(0, seconds=10, simulated=True), _compared(1, seconds=60), _compared(2, seconds=120, has_gpu=True)
    )
    assert rows["Energy"].best == {1}
    assert _rows(_compared(0, seconds=10, simulated=True), _compared(1, seconds=60))["Energy"].best == frozenset()


def test_a_value_that_only_some_have_is_a_difference() -> None:
    """Missing is another thing than alike, and is shown as missing."""
    rows = _rows(_compared(0, start={"planned_epochs": 5}), _compared(1))
    assert (rows["Planned epochs"].cells, rows["Planned epochs"].differs) == (["5", MISSING], DIFFERENT)
    assert "Git commit" not in rows, "a fact that no run has is no row"


def test_devices_are_counted_once_a_host() -> None:
    """Eight equal GPUs are one line, though each process of the host describes them."""
    gpus = [
        DeviceDescription(
            device_id=f"gpu-{number}", kind=DeviceKind.GPU, model_name="H100", memory_total_bytes=80 * 2**30
        )
        for number in range(8)
    ]
    run = _compared(0, start={"hardware": gpus})
    source = next(iter(run.summary["sources"].values()))
    twice = run.summary | {"sources": {"source-1": source, "source-2": source}}
    rows = _rows(dataclasses.replace(run, summary=twice), _compared(1))
    assert rows["GPU"].cells == [f"8 {TIMES} H100, 80 GiB", MISSING]


def test_the_chart_has_a_line_and_a_letter_for_each_run_and_a_front_for_each_class() -> None:
    """Real and simulated runs have fronts of their own; simulated lines are dotted; a user's text is escaped."""
    runs = [_compared(0, model_name="<b>x</b>"), _compared(1, seconds=30), _compared(2, simulated=True)]
    figure = learning_cost(runs, "accuracy", "energy")
    assert figure is not None
    names = [trace.name for trace in figure.data]
    assert names[:2] == ["Pareto front, real", "Pareto front, simulated"]
    assert names[2:] == ["A &lt;b&gt;x&lt;/b&gt;", "B digits-mlp", "C digits-mlp, simulated"]
    assert [trace.line.dash for trace in figure.data[2:]] == ["solid", "solid", "dot"]
    assert [note.text for note in figure.layout.annotations] == ["<b>A</b>", "<b>B</b>", "<b>C</b>"]
    total = runs[0].summary["energy_kwh"]
    assert figure.layout.xaxis.title.text == f"Energy ({ENERGY.scale(total).unit})"
    assert max(figure.data[2].x) == total * ENERGY.scale(total).factor
    assert max(figure.data[2].y) == 100 * max(runs[0].series.accuracy[0].values)


def test_nothing_learned_is_no_chart() -> None:
    """Runs that have reported no accuracy have no axis to stand on."""
    run = dataclasses.replace(_compared(0), series=RunSeries())
    assert learning_cost([run], "accuracy", "energy") is None
