"""An upgrade reads what an earlier release has left: its store, topics, registry, checkpoint and a tracker's spool."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import wattline_dashboard
from tests.collections_equal import collections_difference
from tests.ledgers import fleet_figures, ledger_differences
from tests.line import DEADLINE_S, Line, running_line, topic_messages, wait_for
from tests.releases.books import Books
from tests.releases.kept import Release, releases
from wattline_common import kafka, store
from wattline_dashboard.formats import EMISSIONS, ENERGY
from wattline_stack import Stack, StackSettings
from wattline_stack.backup import restore
from wattline_stack.progress import SilentProgress
from wattline_streaming.audit import audit
from wattline_streaming.backlog import committed_offsets

pytestmark = pytest.mark.timeout(1200)

_APP = Path(wattline_dashboard.__file__).parent / "streamlit_app.py"
_PAGES = ("overview", "runs", "run", "compare", "people", "pipeline", "method")
_NEW_FLEET = ["--runs", "2", "--days", "0.05", "--seed", "31"]


@dataclass
class Upgrade:
    """A release's data when today's code first saw them, after new events, and after all was read again."""

    release: Release
    generations: tuple[str, str]
    old_messages: int
    old_batches: list[int]
    old_unread: int
    left: Books
    flushed: list[str]
    now: Books
    new_batches: list[int]
    new_runs: list[str]
    page_errors: dict[str, list[str]]
    shown: dict[str, tuple[str, str]]
    replayed: Books = field(init=False)


@pytest.fixture(scope="module", params=releases(), ids=lambda release: str(release.version))
def upgrade(
    request: pytest.FixtureRequest, stack_settings: StackSettings, tmp_path_factory: pytest.TempPathFactory
) -> Upgrade:
    """Restore what a release has left, run today's line on it with new events, and read the old topic once more."""
    release: Release = request.param
    folder = tmp_path_factory.mktemp("upgrade")
    data_dir = folder / "data"
    restore(release.archive, data_dir, SilentProgress())
    (data_dir / "ports.json").unlink()  # free on the machine of then; nothing else may depend on them
    messages = _old_messages(data_dir)
    with running_line(data_dir) as line:
        upgraded = _upgraded(line, release, folder, len(messages))
        line.database.client.drop_database(line.database.name)
        shutil.rmtree(data_dir / "checkpoint")
        _send(line, messages)  # their retention may have ended since
        _run_stream(line, sum(upgraded.now.audit.events_by_type.values()))
        upgraded.replayed = Books.of(line.database)
    return upgraded


def _old_messages(data_dir: Path) -> list[tuple[bytes | None, bytes | None]]:
    """Read the old topic before today's line mends its retention: in the archive nothing is ever too old."""
    stack = Stack(StackSettings.from_environment({**os.environ, "WATTLINE_DATA_DIR": str(data_dir)}))
    try:
        return [(m.key(), m.value()) for m in topic_messages(stack.start(), kafka.TRAINING_EVENTS)]
    finally:
        stack.stop()


def _upgraded(line: Line, release: Release, folder: Path, old_messages: int) -> Upgrade:
    checkpoint, ends = _checkpoint(line), _ends(line)
    done = committed_offsets(checkpoint)
    left, old_batches = Books.of(line.database), _batches(checkpoint)
    errors, shown = _pages(line.endpoints.mongodb_uri, list(release.runs()))
    flushed = [_flush(line, shutil.copytree(release.spool, folder / f"spool-{again}")) for again in (False, True)]
    fleet = folder / "fleet.json"
    ended = line.services.run(["wattline_trainer", "simulate", *_NEW_FLEET, "--ledger", str(fleet)])
    assert ended.returncode == 0, ended.stderr
    expected = fleet_figures(json.loads(fleet.read_text(encoding="utf-8")))
    kept = sum(run.events - run.lost_events for run in release.runs().values())
    _run_stream(line, kept + sum(run.events for run in expected.values()))
    now = Books.of(line.database)
    return Upgrade(
        release=release,
        generations=(checkpoint.name, _checkpoint(line).name),
        old_messages=old_messages,
        old_batches=old_batches,
        old_unread=sum(end - done.get(place, 0) for place, end in ends.items()),
        left=left,
        flushed=flushed,
        now=now,
        new_batches=[batch for batch in _batches(_checkpoint(line)) if batch > old_batches[-1]],
        new_runs=ledger_differences(line.database, now.audit, expected),
        page_errors=errors,
        shown=shown,
    )


def _ends(line: Line) -> dict[int, int]:
    offsets = kafka.offsets(line.endpoints.kafka_bootstrap_servers, kafka.TRAINING_EVENTS)
    return {place: end for place, (_, end) in offsets.items()}


def _checkpoint(line: Line) -> Path:
    """Return the checkpoint of the newest generation; one that is not there before a stream has made it."""
    folder = line.data_dir / "checkpoint"
    return max(folder.glob("generation-*"), default=folder / "none")


def _batches(checkpoint: Path) -> list[int]:
    return sorted(int(path.name) for path in checkpoint.glob("commits/*") if path.name.isdecimal())


def _flush(line: Line, root: Path) -> str:
    flushed = subprocess.run(
        [sys.executable, "-m", "wattline", "flush", "--other-hosts"],  # the host of then is not this one
        env={**os.environ, **line.endpoints.environment(), "WATTLINE_SPOOL_DIR": str(root)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert flushed.returncode == 0, flushed.stderr
    return flushed.stdout


def _send(line: Line, messages: list[tuple[bytes | None, bytes | None]]) -> None:
    producer = kafka.producer(line.endpoints.kafka_bootstrap_servers)
    for key, value in messages:
        producer.produce(kafka.TRAINING_EVENTS, key=key, value=value)
    assert producer.flush(30) == 0


def _run_stream(line: Line, events: int) -> None:
    """Run the stream until so many events are stored and all is read and settled; end it by SIGTERM."""
    stream = line.start_stream()

    def settled() -> bool:
        if line.stored() < events or committed_offsets(_checkpoint(line)) != _ends(line):
            return False
        # Of windows that are not there yet no audit complains: each run's own books must be settled too.
        return audit(line.database).open_windows == 0 and all(
            "settled" in run for run in line.database[store.TRAINING_RUN_SUMMARY].find({}, {"settled": 1})
        )

    wait_for(settled, lambda: f"{events} events, settled: {audit(line.database).as_text()} {stream.tail()}", DEADLINE_S)
    stream.signal(signal.SIGTERM)
    assert stream.wait(60), "SIGTERM did not stop the stream"
    assert stream.exit_code == 0, stream.tail()
    line.services.end(stream, 10)


def _pages(mongodb_uri: str, run_ids: list[str]) -> tuple[dict[str, list[str]], dict[str, tuple[str, str]]]:
    """Return what went wrong on each page, and energy and emissions as the page Run shows them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MONGODB_URI", mongodb_uri)
        st.cache_data.clear()
        st.cache_resource.clear()
        wrong, shown = {}, {}
        for name in _PAGES:
            page = _page(name, run_ids[0])
            told = () if name == "pipeline" else page.error  # there it says that the stream has stopped, which is so
            wrong[name] = [each.value for each in (*page.exception, *told)]
        for run_id in run_ids:
            figures = {metric.label: metric.value for metric in _page("run", run_id).metric}
            shown[run_id] = figures.get("Energy", ""), f"{figures.get('Emissions, CO₂e')} CO₂e"
        st.cache_data.clear()
        st.cache_resource.clear()
    return wrong, shown


def _page(name: str, run_id: str) -> AppTest:
    page = AppTest.from_file(str(_APP), default_timeout=60)
    page.query_params["run"] = run_id
    return page.run().switch_page(f"app_pages/{name}.py").run()


def test_what_was_left_is_read_as_it_was(upgrade: Upgrade) -> None:
    """Before anything new came: the audit is clean, ended runs are their producers' ledgers, the topic is all there."""
    assert upgrade.left.audit.clean, upgrade.left.audit.as_text()
    ended = {run_id: run for run_id, run in upgrade.release.runs().items() if not _is_interrupted(upgrade, run_id)}
    assert len(ended) >= 2
    assert [each for run_id, run in ended.items() for each in upgrade.left.differences(run_id, run)] == []
    assert upgrade.left.rejected == upgrade.release.rejected()
    assert upgrade.old_messages >= sum(upgrade.left.audit.events_by_type.values()) + sum(upgrade.left.rejected.values())


def test_a_spool_of_then_is_delivered_and_counted_once(upgrade: Upgrade) -> None:
    """It goes on top of what its run had in the old store, though two flushes send it."""
    (run_id,) = [run_id for run_id in upgrade.release.runs() if _is_interrupted(upgrade, run_id)]
    run = upgrade.release.runs()[run_id]
    before = len(upgrade.left.events(run_id))
    first, second = upgrade.flushed
    assert 0 < before < run.events
    assert first == second
    assert int(first.split()[0]) >= run.events - before
    assert first.endswith(" events of 1 sources delivered\n")
    assert upgrade.now.differences(run_id, run) == []


def test_every_run_is_its_producers_ledger(upgrade: Upgrade) -> None:
    """Events, status, energy and emissions, in summary, raw events and windows; those of new runs beside them, too."""
    runs = upgrade.release.runs()
    assert [each for run_id, run in runs.items() for each in upgrade.now.differences(run_id, run)] == []
    assert any(run.lost_events for run in runs.values()), "no run has a gap to state"
    assert upgrade.new_runs == []
    assert upgrade.now.audit.clean, upgrade.now.audit.as_text()
    assert upgrade.now.rejected == upgrade.release.rejected()


def test_the_stream_goes_on_from_the_old_checkpoint(upgrade: Upgrade) -> None:
    """Its batches are numbered on, from where the old stream had read everything."""
    assert upgrade.old_unread == 0
    then, now = upgrade.generations
    if then != now:
        pytest.skip(
            f"{now} is another generation than {then} of {upgrade.release.version}: the topic is read again, once"
        )
    assert upgrade.new_batches, "nothing was read on"
    assert upgrade.new_batches[0] == upgrade.old_batches[-1] + 1


def test_the_pages_show_what_was_left(upgrade: Upgrade) -> None:
    """None of them stumbles over a document of then, and the page of each run has its figures."""
    assert upgrade.page_errors == {name: [] for name in _PAGES}
    ended = {run_id: run for run_id, run in upgrade.release.runs().items() if not _is_interrupted(upgrade, run_id)}
    figures = {run_id: (ENERGY.text(run.energy_kwh), EMISSIONS.text(run.emissions_kg)) for run_id, run in ended.items()}
    assert {run_id: upgrade.shown[run_id] for run_id in ended} == figures


def test_the_messages_of_then_read_again_end_in_the_same_collections(upgrade: Upgrade) -> None:
    """With an empty store and no checkpoint: today's stream decodes, books and folds them as the old one did."""
    assert collections_difference(upgrade.replayed.contents, upgrade.now.contents) is None
    assert upgrade.replayed.rejected.keys() == upgrade.release.rejected().keys()
    assert upgrade.replayed.audit.clean, upgrade.replayed.audit.as_text()


def _is_interrupted(upgrade: Upgrade, run_id: str) -> bool:
    return bool(upgrade.left.contents[store.TRAINING_RUN_SUMMARY][run_id]["status"] == "RUNNING")
