"""What a SIGKILL or an absent broker leaves in the spool reaches real Kafka later, by a flush or the next run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.line import topic_messages, wait_for
from wattline.report import collect
from wattline.spool_folders import SpoolRoot
from wattline_common.codec import Decoder
from wattline_common.kafka import TRAINING_EVENTS, ensure_topics
from wattline_common.registry import Registry

if TYPE_CHECKING:
    from wattline_stack import Endpoints

KILLS = 20
AT_ONCE = 5
POWER_W = 360.0
INTERVAL_S = 1.0
WRITE_S = 0.1  # what SIGKILL may cost beside the interval that was not over
AWAY = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1"}

# A device of known power, so the energy at the moment of the kill is known by the clock alone.
TRAINING = f"""
import sys, time, wattline
from wattline.testing import ReplayMeter
meters = [ReplayMeter([{POWER_W}])]
run = wattline.track(model_name="killed", run_id=sys.argv[1], meters=meters, emit_interval_s={INTERVAL_S})
print(time.monotonic() - run.summary().duration_s, flush=True)  # when the run began, by the clock that all share
for number in range(int(sys.argv[2])):
    run.step(epoch=number // 50, step=number, loss=1.0)
    time.sleep(0.02)
run.stop()
"""


@pytest.fixture
def ready(stack: Endpoints) -> dict[str, str]:
    """Give the environment that leads to the session's servers, with topics and schemas."""
    ensure_topics(stack.kafka_bootstrap_servers)
    list(Registry(stack.schema_registry_url).register())
    return {
        "KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
        "SCHEMA_REGISTRY_URL": stack.schema_registry_url,
    }


def _start(run_id: str, steps: int, root: Path, servers: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", TRAINING, run_id, str(steps)],
        env={**os.environ, **servers, "WATTLINE_SPOOL_DIR": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    )


def _kill_after(process: subprocess.Popen[str], begun_s: float, seconds: float) -> float:
    """Kill it so long after its run began; return how long it had measured, at least."""
    time.sleep(max(0.0, begun_s + seconds - time.monotonic()))
    killed_s = time.monotonic()
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    return killed_s - begun_s


def _wattline(root: Path, servers: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wattline", *arguments],
        env={**os.environ, **servers, "WATTLINE_SPOOL_DIR": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _events(endpoints: Endpoints, prefix: str) -> tuple[dict[str, dict[int, dict[str, Any]]], int]:
    """Return run -> seq -> event of the runs of a test, and how many messages came again, which must be the same."""
    decoder = Decoder(Registry(endpoints.schema_registry_url).schema_text)
    found: dict[str, dict[int, dict[str, Any]]] = {}
    again = 0
    for message in topic_messages(endpoints, TRAINING_EVENTS):
        if not (message.key() or b"").startswith(prefix.encode()):
            continue
        datum = decoder.datum(message.value())
        fields = {**datum.fields, "name": datum.record_name}
        of_run = found.setdefault(fields["run_id"], {})
        if fields["seq"] in of_run:
            again += 1
            assert of_run[fields["seq"]] == fields
        of_run[fields["seq"]] = fields
    return found, again


@pytest.mark.timeout(600)
def test_sigkill_at_twenty_random_moments_costs_an_interval_at_most(
    stack: Endpoints, ready: dict[str, str], tmp_path: Path
) -> None:
    """Half of them while Kafka takes the events, half without it: all that was measured is in Kafka in the end."""
    prefix, seed = f"kill-{uuid.uuid4().hex[:6]}", int(os.environ.get("WATTLINE_TEST_SEED", "8"))
    moments = random.Random(seed)
    lived_s: dict[str, float] = {}
    for begin in range(0, KILLS, AT_ONCE):
        names = [f"{prefix}-{number}" for number in range(begin, min(begin + AT_ONCE, KILLS))]
        processes = {
            name: _start(name, 10**6, tmp_path, ready if index % 2 else AWAY) for index, name in enumerate(names)
        }
        begun_s = {}
        for name, process in processes.items():
            assert process.stdout is not None
            begun_s[name] = float(process.stdout.readline())
        kills = sorted((begun_s[name] + moments.uniform(0.5, 8.0), name) for name in names)
        for at_s, name in kills:
            lived_s[name] = _kill_after(processes[name], begun_s[name], at_s - begun_s[name])
    reported = {run.run_id: run for run in collect(SpoolRoot(tmp_path))}
    flushed = _wattline(tmp_path, ready, "flush", "--timeout", "60")
    assert flushed.returncode == 0, flushed  # some the later runs have delivered already
    found, again = _events(stack, prefix)
    for name, seconds in lived_s.items():
        events = found[name]
        assert sorted(events) == list(range(len(events))), f"{name} has gaps"
        energy_kwh = max((event.get("cumulative_energy_kwh") or 0.0) for event in events.values())
        kept_s = energy_kwh * 3.6e6 / POWER_W
        assert seconds - INTERVAL_S - WRITE_S <= kept_s <= seconds + WRITE_S, f"{name} lived {seconds} s"
        assert reported[name].energy_kwh == pytest.approx(energy_kwh, rel=1e-9)
        assert reported[name].status == "UNFINISHED"
    assert again > 0, "no run was delivered before it was killed: the replay was not tried"
    assert SpoolRoot(tmp_path).folders() == []
    assert Counter(run.status for run in collect(SpoolRoot(tmp_path))) == {"UNFINISHED": KILLS}


def test_without_a_broker_nothing_is_lost_and_words_and_exit_codes_say_so(
    stack: Endpoints, ready: dict[str, str], tmp_path: Path
) -> None:
    """The run ends soon, flush fails with 1 while Kafka is away, delivers all when it is back, and has nothing then."""
    run_id = f"away-{uuid.uuid4().hex[:6]}"
    process = _start(run_id, 100, tmp_path, AWAY)
    assert process.wait(60) == 0
    (waiting,) = json.loads(_wattline(tmp_path, AWAY, "spool", "--json").stdout)["sources"]
    assert (waiting["run_id"], waiting["live"], waiting["dropped"], waiting["damaged"]) == (run_id, False, 0, 0)
    before = json.loads(_wattline(tmp_path, AWAY, "report", "--json").stdout)
    refused = _wattline(tmp_path, AWAY, "flush", "--timeout", "1")
    assert refused.returncode == 1
    assert "SCHEMA_REGISTRY_URL" in refused.stderr
    wrong = _wattline(tmp_path, {**ready, "KAFKA_SECURITY_PROTOCOL": "TLS"}, "flush")
    assert wrong.returncode == 2
    assert "KAFKA_SECURITY_PROTOCOL" in wrong.stderr
    flushed = _wattline(tmp_path, ready, "flush")
    assert (flushed.returncode, flushed.stdout) == (0, f"{waiting['events']} events of 1 sources delivered\n")
    found, again = _events(stack, run_id)
    assert sorted(found[run_id]) == list(range(waiting["events"]))
    assert again == 0
    assert found[run_id][waiting["events"] - 1]["events_dropped"] == 0
    assert _wattline(tmp_path, ready, "flush").stdout == "0 events of 0 sources delivered\n"
    (after,) = json.loads(_wattline(tmp_path, AWAY, "report", "--json").stdout)
    assert after == {**before[0], "events_waiting": 0}
    assert (after["status"], after["steps"]) == ("COMPLETED", 100)


def test_the_next_run_on_the_host_delivers_what_a_killed_one_left(
    stack: Endpoints, ready: dict[str, str], tmp_path: Path
) -> None:
    """In the background, without anybody's doing; what was meant for another Kafka stays."""
    prefix = f"next-{uuid.uuid4().hex[:6]}"
    no_registry = {**ready, "SCHEMA_REGISTRY_URL": AWAY["SCHEMA_REGISTRY_URL"]}
    for name, servers in (("dead", no_registry), ("foreign", AWAY)):
        dead = _start(f"{prefix}-{name}", 10**6, tmp_path, servers)
        assert dead.stdout is not None
        _kill_after(dead, float(dead.stdout.readline()), 2.0)
    root = SpoolRoot(tmp_path)
    folder, foreign = sorted(root.folders(), key=lambda each: str(each.owner["run_id"]))
    left = folder.waiting().events
    assert left > 2
    alive = _start(f"{prefix}-alive", 10**6, tmp_path, ready)
    try:
        wait_for(lambda: not folder.path.exists(), lambda: f"{left} events delivered by the next run", 60)
    finally:
        alive.kill()
        alive.wait(20)
    found, _ = _events(stack, prefix)
    assert sorted(found[f"{prefix}-dead"]) == list(range(left))
    assert f"{prefix}-foreign" not in found
    assert foreign.path.exists()
