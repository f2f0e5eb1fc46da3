"""A training without any framework: gradient descent on a line, instrumented by the two marked lines.

    python examples/plain_loop.py

Runs without Kafka too: what it cost is printed at the end either way.
"""

from __future__ import annotations

import random

import wattline

EPOCHS, POINTS = 20, 20_000


def main() -> None:
    """Learn y = 3x + 2 from noisy points."""
    chance = random.Random(0)  # noqa: S311  # noise for a line, no secret
    points = [(x, 3 * x + 2 + chance.gauss(0, 0.1)) for x in (chance.uniform(-1, 1) for _ in range(POINTS))]
    slope = offset = 0.0
    with wattline.track(model_name="line", dataset_name="noisy-line", planned_epochs=EPOCHS) as run:  # one
        for epoch in range(1, EPOCHS + 1):
            loss = 0.0
            for x, y in points:
                error = slope * x + offset - y
                slope -= 0.001 * error * x
                offset -= 0.001 * error
                loss += error * error / POINTS
            run.step(epoch=epoch, loss=loss, samples=POINTS)  # two
    print(f"y = {slope:.2f} x + {offset:.2f}")  # noqa: T201  # what the script is for


if __name__ == "__main__":
    main()
