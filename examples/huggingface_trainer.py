"""A Hugging Face Trainer, measured by one callback; a tiny model with random weights, so nothing is downloaded.

    pip install 'wattline[huggingface]'
    python examples/huggingface_trainer.py

Runs without Kafka and without a GPU, too.
"""

from __future__ import annotations

import tempfile

try:
    import torch  # pants: no-infer-dep
    import transformers  # pants: no-infer-dep
except ImportError as missing:
    raise SystemExit(f"this example needs transformers ({missing}): pip install 'wattline[huggingface]'") from None

from wattline.integrations.huggingface import WattlineCallback

WORDS, LENGTH, TEXTS = 50, 16, 512


class Texts(torch.utils.data.Dataset):  # type: ignore[misc]  # torch is not in the development venv
    """Random texts; to be learned is whether the first word is one of the first half of the vocabulary."""

    def __init__(self) -> None:
        self._words = torch.randint(WORDS, (TEXTS, LENGTH), generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return TEXTS

    def __getitem__(self, index: int) -> dict[str, object]:
        words = self._words[index]
        return {"input_ids": words, "labels": int(words[0] < WORDS // 2)}


def main() -> None:
    """Train it for three epochs."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = transformers.BertConfig(vocab_size=WORDS, max_position_embeddings=LENGTH, **sizes)
    model = transformers.BertForSequenceClassification(config)
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            folder, num_train_epochs=3, per_device_train_batch_size=32, logging_steps=8, report_to=[]
        )
        measured = WattlineCallback(dataset_name="first-word")  # all of it
        transformers.Trainer(model, arguments, train_dataset=Texts(), callbacks=[measured]).train()
    if measured.run is not None:
        cost = measured.run.summary()
        print(f"{cost.samples} texts for {cost.energy_kwh * 3.6e6:.1f} J")  # noqa: T201  # what the script is for


if __name__ == "__main__":
    main()
