"""A run measures, reports and ends; and whatever breaks in it, the training does not notice."""

from __future__ import annotations

import logging
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

import wattline
from wattline.meters.base import Meter, Reading
from wattline.publisher import Publisher
from wattline.testing import ManualClock, MemoryPublisher, ReplayMeter
from wattline_common.codec import encode_body
from wattline_common.events import (
    DeviceDescription,
    Event,
    HardwareSampled,
    Method,
    RunFinished,
    RunStarted,
    RunStatus,
    StepCompleted,
)
from wattline_common.validate import validate


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide settings and spool of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("WATTLINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WATTLINE_SPOOL_DIR", str(tmp_path / "spool"))


def _finished(publisher: MemoryPublisher) -> RunFinished:
    last = publisher.events[-1]
    assert isinstance(last, RunFinished)
    return last


def _wait_for(publisher: MemoryPublisher, kind: type[Event], count: int) -> None:
    deadline = time.monotonic() + 20
    while len(publisher.of(kind)) < count:
        assert time.monotonic() < deadline, f"no {count} {kind.__name__}"
        time.sleep(0.005)


def test_a_run_tells_its_start_its_samples_its_steps_and_its_end() -> None:
    """The four events of a run, in one numbering, with the run's metadata on each."""
    publisher = MemoryPublisher()
    with wattline.track(
        model_name="resnet50",
        dataset_name="cifar10",
        framework="torch",
        user_id="ada",
        project="vision",
        environment="cluster",
        region_iso="fra",
        host="node1",
        rank=3,
        run_id="run-1",
        hyperparameters={"lr": 0.1},
        tags={"team": "a"},
        planned_epochs=2,
        planned_steps=20,
        emit_interval_s=0.1,
        meters=[ReplayMeter([100.0])],
        publisher=publisher,
    ) as run:
        run.step(epoch=1, step=10, loss=0.4, accuracy=0.8, samples=32, metrics={"lr": 0.1}, grad_norm=2.0)
        _wait_for(publisher, HardwareSampled, 2)
    first, step = publisher.events[0], publisher.of(StepCompleted)[0]
    assert isinstance(first, RunStarted)
    assert isinstance(step, StepCompleted)
    assert (first.hyperparameters, first.tags) == ({"lr": "0.1"}, {"team": "a"})
    assert (first.planned_epochs, first.planned_steps, first.hardware[0].device_id) == (2, 20, "replay")
    assert first.tracker_version == wattline.__version__
    assert (step.loss, step.accuracy, step.samples, step.metrics) == (0.4, 0.8, 32, {"lr": 0.1, "grad_norm": 2.0})
    assert [event.seq for event in publisher.events] == list(range(len(publisher.events)))
    for event in publisher.events:
        assert (event.run_id, event.source_id) == ("run-1", run.source_id)
        assert (event.user_id, event.model_name, event.dataset_name) == ("ada", "resnet50", "cifar10")
        assert (event.framework, event.environment, event.region_iso) == ("torch", "cluster", "FRA")
        assert (event.project, event.host, event.rank, event.simulated) == ("vision", "node1", 3, False)


def test_the_summary_is_what_the_events_say() -> None:
    """Counts and sums of the summary, of the end and of the samples are the same."""
    publisher = MemoryPublisher()
    with wattline.track(region_iso="FRA", meters=[ReplayMeter([60.0, 80.0])], publisher=publisher) as run:
        for number in range(5):
            run.step(epoch=number, loss=1.0, samples=7)
    summary, end = run.summary(), _finished(publisher)
    samples = [event for event in publisher.events if isinstance(event, HardwareSampled)]
    assert (summary.steps, summary.samples) == (5, 35)
    assert summary.events_emitted == end.events_emitted == len(publisher.events)
    assert summary.events_by_type["StepCompleted"] == len(publisher.of(StepCompleted))
    assert summary.energy_kwh == end.source_energy_kwh == samples[-1].cumulative_energy_kwh
    assert summary.energy_kwh == pytest.approx(math.fsum(sample.energy_kwh for sample in samples), rel=1e-9)
    assert summary.energy_low_kwh < summary.energy_kwh < summary.energy_high_kwh
    assert summary.measured_energy_kwh == summary.energy_kwh
    assert summary.emissions_kg == end.source_emissions_kg > 0
    assert summary.methods == (Method.SAMPLED_POWER.value,)
    assert summary.power_w == samples[-1].power_avg_w > 0
    assert summary.duration_s == end.duration_s
    assert publisher.closed


def _raised_through(run: wattline.Run, error: BaseException | None) -> BaseException | None:
    """Raise an error within a run and return what comes out."""
    try:
        with run:
            if error is not None:
                raise error  # noqa: TRY301  # it is what passes through the block that matters
    except BaseException as raised:  # noqa: BLE001  # KeyboardInterrupt and SystemExit too
        return raised
    return None


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, RunStatus.COMPLETED),
        (SystemExit(0), RunStatus.COMPLETED),
        (SystemExit(None), RunStatus.COMPLETED),
        (ValueError("the user's own"), RunStatus.FAILED),
        (SystemExit(1), RunStatus.FAILED),
        (SystemExit("no data"), RunStatus.FAILED),
        (SystemExit(128 + signal.SIGTERM), RunStatus.STOPPED),
        (KeyboardInterrupt(), RunStatus.STOPPED),
    ],
)
def test_the_status_tells_how_it_ended_and_the_users_error_passes(
    error: BaseException | None, status: RunStatus
) -> None:
    """The very same exception leaves the block, and the last event says what it meant."""
    publisher = MemoryPublisher()
    run = wattline.track(meters=[], publisher=publisher)
    assert _raised_through(run, error) is error
    assert _finished(publisher).status is status


class _BrokenMeter:
    """Fails at everything."""

    def start(self, _: float) -> list[DeviceDescription]:
        raise RuntimeError("no driver")

    def read(self, _: float) -> list[Reading]:
        raise RuntimeError("no driver")

    def close(self) -> None:
        raise RuntimeError("no driver")


class _BrokenPublisher:
    """Fails at everything."""

    @property
    def dropped(self) -> int:
        raise RuntimeError("no publisher")

    def start(self) -> None:
        raise RuntimeError("no publisher")

    def publish(self, _: Event) -> None:
        raise RuntimeError("no publisher")

    def close(self, _: float) -> None:
        raise RuntimeError("no publisher")


class _LaterBrokenPublisher(_BrokenPublisher):
    """Takes the first event, so that the run begins, and fails at everything else."""

    def __init__(self) -> None:
        self._taken = 0

    def start(self) -> None:
        pass

    def publish(self, _: Event) -> None:
        self._taken += 1
        if self._taken > 1:
            raise RuntimeError("no publisher any more")


def _training(report: Callable[..., None]) -> tuple[float, list[float]]:
    """Train something that depends on the random state, and report every step."""
    random.seed(7)
    weight, losses = 0.0, []
    for number in range(200):
        weight += 0.1 * (random.gauss(1.0, 0.5) - weight)  # a training, no secret
        losses.append((weight - 1.0) ** 2)
        report(epoch=number // 10, step=number, loss=losses[-1], samples=1)
    return weight, losses


def _nothing(**_: Any) -> None:
    """Report to nobody."""


@pytest.mark.parametrize(
    ("meters", "publisher", "environment"),
    [
        ([ReplayMeter([5.0])], MemoryPublisher(), {}),
        ([_BrokenMeter()], MemoryPublisher(), {}),
        ([ReplayMeter([RuntimeError("now and then"), 5.0])], _BrokenPublisher(), {}),
        ([], _BrokenPublisher(), {}),
        ([ReplayMeter([5.0])], _LaterBrokenPublisher(), {}),
        (None, MemoryPublisher(), {"WATTLINE_EMIT_INTERVAL_S": "often", "WATTLINE_PUE": "0.1"}),
        (None, MemoryPublisher(), {"WATTLINE_DISABLED": "perhaps", "WATTLINE_QUEUE_EVENTS": "-1"}),
        (None, MemoryPublisher(), {"WATTLINE_REGION": "Atlantis", "WATTLINE_RUN_ID": "a|b.c$"}),
        (None, None, {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1"}),
        (None, None, {"KAFKA_BOOTSTRAP_SERVERS": "::::", "SCHEMA_REGISTRY_URL": "no url"}),
        (None, None, {"WATTLINE_DISABLED": "1"}),
    ],
)
def test_nothing_of_ours_reaches_the_training(
    meters: list[Meter] | None,
    publisher: Publisher | None,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Broken meters, publishers, settings or servers: the same results, nothing raised, nothing on standard output."""
    expected, random_state = _training(_nothing), random.getstate()
    for name, value in {"WATTLINE_FLUSH_TIMEOUT_S": "1", **environment}.items():
        monkeypatch.setenv(name, value)
    with wattline.track(meters=meters, publisher=publisher) as run:
        assert _training(run.step) == expected
    run.stop()
    run.step(loss=1.0)
    assert random.getstate() == random_state
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("value", ["many", object(), math.nan, -math.inf, 10**400, [1, 2]])
def test_numbers_that_are_none_are_recorded_as_missing(value: Any) -> None:
    """A step with a value nobody can use still counts as a step."""
    publisher = MemoryPublisher()
    with wattline.track(meters=[], publisher=publisher) as run:
        run.step(epoch=value, step=value, loss=value, accuracy=value, samples=value, metrics={"m": value})
    (step,) = publisher.of(StepCompleted)
    assert isinstance(step, StepCompleted)
    assert (step.epoch, step.loss, step.accuracy, step.samples, step.metrics) == (None, None, None, None, {})
    assert step.steps_covered == 1


def test_counts_that_do_not_fit_their_fields_are_recorded_as_missing() -> None:
    """A negative or enormous count would make the whole event unacceptable to whoever stores it."""
    publisher = MemoryPublisher()
    with wattline.track(meters=[], publisher=publisher, rank=-1, planned_epochs=2**31, planned_steps=2**31) as run:
        run.step(epoch=2**31, step=-1, samples=2**63)
    started, step = publisher.events[0], publisher.of(StepCompleted)[0]
    assert isinstance(started, RunStarted)
    assert isinstance(step, StepCompleted)
    assert (started.rank, started.planned_epochs, started.planned_steps) == (None, None, 2**31)
    assert (step.epoch, step.step, step.samples) == (None, None, None)
    for event in publisher.events:
        assert encode_body(event)
        validate(type(event).__name__, event.to_avro())


def test_what_is_too_much_is_cut_to_what_events_may_hold() -> None:
    """Long texts and hundreds of tags or metrics cost their excess, not the event."""
    many = {f"{n:03}" * 100: "v" * 5000 for n in range(300)}
    publisher = MemoryPublisher()
    run = wattline.track(model_name="m" * 999, project="p" * 999, tags=many, hyperparameters=many, publisher=publisher)
    with run:
        run.step(metrics=dict.fromkeys(many, 1.0), learning_rate=-1.0, gradient_norm=2.0, tokens=7)
    (step,) = publisher.of(StepCompleted)
    assert isinstance(step, StepCompleted)
    assert (step.learning_rate, step.gradient_norm, step.tokens, len(step.metrics)) == (None, 2.0, 7, 100)
    for event in publisher.events:
        validate(type(event).__name__, event.to_avro())


class _Textless:
    """Has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_arguments_that_cannot_be_used_are_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    """No map where one is wanted, a value without a text: the run is made and measured without them."""
    publisher, wrong = MemoryPublisher(), cast("Any", object())
    with wattline.track(hyperparameters=wrong, tags={"a": _Textless()}, meters=[], publisher=publisher):
        pass
    started = publisher.events[0]
    assert isinstance(started, RunStarted)
    assert (started.hyperparameters, started.tags) == ({}, {"a": "_Textless"})
    assert "hyperparameters is no mapping" in caplog.text


def test_a_run_that_cannot_be_made_is_one_that_does_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is wrong with us; a call that does not fit the signature is the caller's own error."""
    monkeypatch.setattr("wattline.wiring.framework_in_use", lambda: 1 // 0)
    with wattline.track(model_name="m") as run:
        run.step(loss=1.0)
    assert (run.summary().events_emitted, run.summary().problems) == (0, 1)
    assert "nothing is measured" in caplog.text
    with pytest.raises(TypeError, match="modelname"):
        wattline.track(modelname="m")  # type: ignore[call-arg]  # what is tested


def test_an_accuracy_in_percent_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """93.1 is no share of 1, and guessing would be wrong for 0.9 percent."""
    publisher = MemoryPublisher()
    with caplog.at_level(logging.WARNING), wattline.track(meters=[], publisher=publisher) as run:
        run.step(accuracy=93.1)
    assert "no share of 1" in caplog.text
    assert _finished(publisher).final_accuracy is None


def test_a_bad_run_id_is_mended_with_a_warning_and_stays_distinct(caplog: pytest.LogCaptureFixture) -> None:
    """No '.', '$' or '|' reaches an event; two different ids never become one; the same one always the same."""
    runs = [wattline.track(run_id=given, meters=[], publisher=MemoryPublisher()) for given in ("a.b", "a|b", "a.b")]
    for run in runs:
        run.stop()
    assert not set("".join(run.run_id for run in runs)) & set(".$|")
    assert runs[0].run_id == runs[2].run_id != runs[1].run_id
    assert "run_id" in caplog.text


def test_a_failing_meter_is_flagged_and_the_others_are_read() -> None:
    """A device whose meter fails shows up with no energy and a flag, beside those that work."""
    publisher, clock = MemoryPublisher(), ManualClock()
    broken = ReplayMeter([RuntimeError("gone")], device_id="gpu0")
    run = wattline.track(meters=[broken, ReplayMeter([36.0])], publisher=publisher, clock=clock)
    clock.advance(0.5)
    run.stop()
    (sample,) = publisher.of(HardwareSampled)
    assert isinstance(sample, HardwareSampled)
    assert [(d.device_id, d.method, d.flags) for d in sample.devices] == [
        ("gpu0", Method.UNKNOWN, ["meter_failed"]),
        ("replay", Method.SAMPLED_POWER, []),
    ]
    assert sample.energy_kwh == pytest.approx(18 / 3.6e6)
    assert run.summary().problems == 1


def test_a_disabled_run_does_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """WATTLINE_DISABLED=1: no thread, no event, no line."""
    monkeypatch.setenv("WATTLINE_DISABLED", "1")
    publisher = MemoryPublisher()
    with wattline.track(publisher=publisher) as run:
        run.step(loss=1.0)
    assert publisher.events == []
    assert run.summary().events_emitted == 0
    assert capsys.readouterr().err == ""


def test_the_end_is_one_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Energy, band, method, grams and their source."""
    clock = ManualClock()
    run = wattline.track(
        run_id="r1", region_iso="FRA", meters=[ReplayMeter([3.6e6])], publisher=MemoryPublisher(), clock=clock
    )
    clock.advance(0.5)
    run.stop()
    run.stop()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("wattline: r1: 0.5 kWh (0.45 to 0.55; SAMPLED_POWER), 28 g CO2e (FRA: ")


def _python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


_LEFT_OPEN = """
import wattline
from wattline.testing import MemoryPublisher
class Telling(MemoryPublisher):
    def close(self, timeout_s):
        print(self.events[-1].status)
run = wattline.track(meters=[], publisher=Telling())
"""


@pytest.mark.parametrize(
    ("ending", "status", "code"), [("", "COMPLETED", 0), ("raise ValueError", "FAILED", 1), ("exit(3)", "COMPLETED", 3)]
)
def test_a_run_left_open_is_stopped_when_the_script_ends(ending: str, status: str, code: int) -> None:
    """Without a ``with``, the end of the script ends the run, and the exit code is the script's own."""
    ended = _python(_LEFT_OPEN + ending)
    assert (ended.stdout.strip(), ended.returncode) == (status, code)


_FORKED = """
import os, sys, wattline
from wattline.testing import MemoryPublisher, ReplayMeter
publisher = MemoryPublisher()
with wattline.track(meters=[ReplayMeter([1.0])], publisher=publisher) as run:
    child = os.fork()
    if child == 0:
        run.step(loss=1.0)
        run.summary()
        sys.exit(5)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print([type(event).__name__ for event in publisher.events])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork; other systems start children afresh")
def test_a_forked_child_neither_reports_nor_ends_the_run() -> None:
    """Loader processes inherit the run; the parent alone speaks for the tree, and the child ends as it wants."""
    ended = _python(_FORKED)
    assert ended.stdout.splitlines() == ["5", "['RunStarted', 'HardwareSampled', 'RunFinished']"], ended.stderr
    assert ended.stderr.count("kWh") == 1


def test_events_that_have_nowhere_to_go_are_kept(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A servers' setting that cannot work is told; the run is measured, and says where its events are."""
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "TLS")
    run = wattline.track(meters=[], run_id="nowhere")
    with run:
        run.step(loss=1.0)
    assert "KAFKA_SECURITY_PROTOCOL='TLS' is unknown" in caplog.text
    assert "`wattline flush` sends them" in caplog.text
    assert run.summary().events_dropped == 0
