"""A training to run with Wattline, without it and with it broken, and what it looks like from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Broken", "Ended", "train"]

# It knows nothing of faults; how it ends is its second argument, what goes before it its third.
_TRAINING = """
import os, random, signal, sys, threading, time
exec(sys.argv[3])
random.seed(7)  # before Wattline starts, whose start must not draw from it either
if sys.argv[1] == "on":
    import wattline
    run = wattline.track(model_name="fixed", emit_interval_s=0.1)
else:
    class Off:
        def step(self, **_): pass
        def stop(self): pass
        def __enter__(self): return self
        def __exit__(self, *_): pass
    run = Off()
weight = 0.0
with run:
    for number in range(60):
        weight += 0.1 * (random.gauss(1.0, 0.5) - weight)
        run.step(epoch=number // 20, step=number, loss=(weight - 1.0) ** 2, samples=1)
        time.sleep(0.01)
    print(f"weight {weight!r} and next {random.random()!r}", flush=True)
    exec(sys.argv[2])
print("the end", flush=True)
"""
_AWAY = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1"}


@dataclass(frozen=True)
class Broken:
    """What is wrong: variables of the environment, modules that shadow real ones, or code that goes before.

    ``told`` stands on standard error when the fault was really met: a fault that nobody meets proves nothing. ``kept``
    says whether the run is in the spool all the same.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    modules: Mapping[str, str] = field(default_factory=dict)
    before: str = ""
    told: str = ""
    kept: bool = True
    in_child: Callable[[], None] | None = None
    """What the child does before it becomes the training."""


@dataclass(frozen=True)
class Ended:
    """How a training ended, as far as others can see it; and what was told on standard error, which is ours too."""

    code: int
    output: str
    told: str = field(compare=False)


def train(tmp_path: Path, tracker: str, ending: str = "", broken: Broken | None = None) -> Ended:
    """Run the training with the tracker ``on`` or ``off``; without any fault its servers are away."""
    broken = broken or Broken()
    modules = tmp_path / "modules"
    modules.mkdir(exist_ok=True)
    for name, source in broken.modules.items():
        (modules / f"{name}.py").write_text(source, encoding="utf-8")
    environment = {
        **os.environ,
        **_AWAY,
        "WATTLINE_SPOOL_DIR": str(tmp_path / "spool"),
        # Servers that refuse are given up sooner; a loaded machine needs its time to find that out.
        "WATTLINE_FLUSH_TIMEOUT_S": "20",
        "PYTHONPATH": os.pathsep.join([str(modules), *filter(None, [os.environ.get("PYTHONPATH")])]),
        **broken.environment,
    }
    ended = subprocess.run(
        [sys.executable, "-c", _TRAINING, tracker, ending, broken.before if tracker == "on" else ""],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=broken.in_child,
    )
    assert "weight" in ended.stdout, ended.stderr
    return Ended(ended.returncode, ended.stdout, ended.stderr)
