"""A scikit-learn classifier trained by `partial_fit`, measured while it trains.

    python examples/sklearn_digits.py

Runs without Kafka too. `summary()` tells the script itself what it has cost.
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

import wattline

EPOCHS, BATCH = 50, 64


def main() -> None:
    """Learn the digits, and relate what was learned to what it cost."""
    images, labels = load_digits(return_X_y=True)
    train, held_out, train_labels, held_out_labels = train_test_split(images / 16, labels, random_state=0)
    model = SGDClassifier(loss="log_loss", random_state=0)
    order = np.random.default_rng(0)
    parameters = {"loss": "log_loss", "batch_size": BATCH}
    with wattline.track(model_name="sgd", dataset_name="digits", hyperparameters=parameters) as run:
        for epoch in range(1, EPOCHS + 1):
            shuffled = order.permutation(len(train))
            for step, start in enumerate(range(0, len(train), BATCH), start=1):
                batch = shuffled[start : start + BATCH]
                model.partial_fit(train[batch], train_labels[batch], classes=np.arange(10))
                run.step(epoch=epoch, step=step, samples=len(batch))
            accuracy = model.score(held_out, held_out_labels)
            run.step(epoch=epoch, loss=log_loss(train_labels, model.predict_proba(train)), accuracy=accuracy)
    cost = run.summary()
    print(f"held-out accuracy {accuracy:.3f} for {cost.energy_kwh * 3.6e6:.1f} J ({cost.methods[0].lower()})")  # noqa: T201  # what the script is for


if __name__ == "__main__":
    main()
