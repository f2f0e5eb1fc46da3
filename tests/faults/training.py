"""`python -m tests.faults.training RUN_ID STEPS`: a training of known watts; says when it runs, and its end."""

from __future__ import annotations

import sys
import time

import wattline
from wattline.testing import ReplayMeter

POWER_W = 360.0

if __name__ == "__main__":
    run_id, steps = sys.argv[1], int(sys.argv[2])
    with wattline.track(
        model_name="struck", run_id=run_id, meters=[ReplayMeter([POWER_W])], emit_interval_s=0.2
    ) as run:
        print("running", flush=True)  # noqa: T201 - whoever strikes waits for it
        for step in range(steps):
            run.step(epoch=step // 50, step=step, loss=1 / (step + 1))
            time.sleep(0.02)
    print("ended", flush=True)  # noqa: T201
