"""A training loop in PyTorch, instrumented by the two marked lines.

    pip install torch
    python examples/pytorch_loop.py

Runs without Kafka and without a GPU, too.
"""

from __future__ import annotations

import wattline

try:
    import torch  # pants: no-infer-dep
except ImportError:
    raise SystemExit("this example trains with PyTorch, which is not here: pip install torch") from None

EPOCHS, BATCHES, BATCH = 5, 100, 64


def main() -> None:
    """Learn whether a point lies within a circle."""
    torch.manual_seed(0)
    points = torch.rand(BATCHES * BATCH, 2) * 2 - 1
    inside = (points.norm(dim=1) < 0.8).float()
    model = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    loss_of = torch.nn.BCEWithLogitsLoss()
    with wattline.track(model_name="circle-mlp", dataset_name="circle", planned_epochs=EPOCHS) as run:  # one
        for epoch in range(1, EPOCHS + 1):
            shuffled = torch.randperm(len(points)).split(BATCH)
            for step, batch in enumerate(shuffled, start=1):
                scores = model(points[batch]).squeeze(1)
                loss = loss_of(scores, inside[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                accuracy = ((scores > 0) == inside[batch].bool()).float().mean()
                run.step(epoch=epoch, step=step, loss=loss.item(), accuracy=accuracy.item(), samples=len(batch))  # two
    print(f"accuracy of the last batch {accuracy:.2f}")  # noqa: T201  # what the script is for


if __name__ == "__main__":
    main()
