"""On the real machine: what a run is charged is what the kernel's own accounting of the same CPU time comes to."""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

import wattline
from wattline.meters.cpu import CpuModelMeter
from wattline.meters.cpu_charge import cpu_model
from wattline.meters.cpu_models import FAMILIES, CpuIdentity
from wattline.meters.host import ProcHost
from wattline.meters.tree import ProcessTree
from wattline.testing import MemoryPublisher

EPYC_3 = CpuIdentity(vendor="AuthenticAMD", family=25, model=1)
FULL_W, IDLE_W = FAMILIES["epyc-3"].full_w, FAMILIES["epyc-3"].idle_w
BURNT_S = 3.0
# Long enough that 1 % is more than the ticks of 10 ms in which /proc counts a process's and its children's times.
RUN_BURNT_S, IDLE_S = 8.0, 5.0
J_PER_KWH = 3.6e6
# Burns CPU seconds, not wall seconds, so a busy machine makes it slower, not different; then it waits to be let go.
BURN = """
import sys, time
print("ready", flush=True)
sys.stdin.readline()
while time.process_time() < %s: pass
print("burnt", flush=True)
sys.stdin.readline()
"""
LOAD = "print('ready', flush=True)\nwhile True: pass"

pytestmark = pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="needs Linux's /proc")


def _meter(pid: int | None = None) -> CpuModelMeter:
    host = ProcHost(pid=pid)
    model = cpu_model("ccf", EPYC_3, host.logical_cpus)
    return CpuModelMeter(host, ProcessTree(host), model, product="a CPU", cpus_allocated=host.logical_cpus)


def _started(code: str, count: int) -> list[subprocess.Popen[str]]:
    """Start so many processes, and wait until each is there."""
    command = [sys.executable, "-c", code]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    for each in started:
        assert each.stdout
        assert each.stdout.readline() == "ready\n"
    return started


def _say(burner: subprocess.Popen[str]) -> None:
    assert burner.stdin
    burner.stdin.write("\n")
    burner.stdin.flush()


def _used_s() -> float:
    """Return the CPU seconds of this process and its ended children, in microseconds by the kernel."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def _on_cpu_s(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9


def _tracked(busy: int) -> tuple[float, float]:
    """Track so many burners, or nothing for a while; return the CPU seconds by the kernel and the joules charged."""
    deadline_s = time.monotonic() + 120
    with wattline.track(meters=[_meter()], publisher=MemoryPublisher()) as run:
        used_s = _used_s()
        burners = _started(BURN % RUN_BURNT_S, busy)
        for burner in burners:
            _say(burner)
        for burner in burners:
            assert burner.stdout
            assert burner.stdout.readline() == "burnt\n"
            _say(burner)
            burner.communicate(timeout=deadline_s - time.monotonic())
        while not busy and run.summary().duration_s < IDLE_S:
            time.sleep(0.05)
    return _used_s() - used_s, run.summary().energy_kwh * J_PER_KWH


@pytest.mark.parametrize("busy", [0, 1, 2])
def test_a_runs_total_is_an_independent_integration_of_the_kernels_counters(busy: int) -> None:
    """At 0, 1 and 2 busy cores within 1 % (of one core's, where there is none), children included.

    In a process of its own: a server that another test left running is a child of this one too, and would be charged.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as own:
        used_s, charged_j = own.submit(_tracked, busy).result(timeout=150)
    expected_j = FULL_W * used_s
    assert charged_j == pytest.approx(expected_j, abs=0.01 * FULL_W * (used_s if busy else IDLE_S))
    assert used_s >= busy * RUN_BURNT_S
    if not busy:  # the idle power of the host's CPUs is nobody's
        assert charged_j < IDLE_W * IDLE_S


@contextlib.contextmanager
def _neighbours(count: int) -> Iterator[None]:
    running = _started(LOAD, count)
    try:
        yield
    finally:
        for each in running:
            each.kill()
            each.communicate(timeout=60)


def _per_cpu_second(neighbours: int) -> float:
    (burner,) = _started(BURN % BURNT_S, 1)
    meter = _meter(burner.pid)
    meter.start(time.monotonic())
    used_s = _on_cpu_s(burner.pid)
    with _neighbours(neighbours):
        _say(burner)
        assert burner.stdout
        assert burner.stdout.readline() == "burnt\n"
        joules = meter.read(time.monotonic())[0].energy_j
        used_s = _on_cpu_s(burner.pid) - used_s
    _say(burner)
    burner.communicate(timeout=60)
    return joules / used_s


def test_a_neighbour_does_not_change_what_a_cpu_second_costs() -> None:
    """Energy per own CPU second with and without two busy neighbours: within 5 % of each other and of the model."""
    alone, crowded = _per_cpu_second(0), _per_cpu_second(2)
    assert crowded == pytest.approx(alone, rel=0.05)
    assert alone == pytest.approx(FULL_W, rel=0.02)
