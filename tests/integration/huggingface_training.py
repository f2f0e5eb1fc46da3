"""A training by a real Hugging Face `Trainer`, with `WattlineCallback` or without, that can be told how to go wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.library_venvs import Ended, run_script

__all__ = ["EPOCHS", "FAULT_AT", "SAMPLES", "STEPS", "train"]

FAULT_AT = 15
SAMPLES, BATCH, EPOCHS = 100, 8, 2
STEPS = EPOCHS * -(-SAMPLES // BATCH)

# What it is told is its first argument: how WattlineCallback is made (None: not at all), and how the training goes.
TRAINING = f"""
import hashlib, json, pathlib, random, sys, time
options, folder = json.loads(sys.argv[1]), pathlib.Path(sys.argv[2])
if options["callback"] is not None:
    import wattline
    assert not {{"transformers", "torch"}} & set(sys.modules), "importing wattline loads them"
import numpy, torch
from transformers import BertConfig, BertForSequenceClassification
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed

class Sums(torch.utils.data.Dataset):
    def __len__(self):
        return {SAMPLES}
    def __getitem__(self, index):
        words = torch.randint(50, (8,), generator=torch.Generator().manual_seed(index))
        return {{"input_ids": words, "labels": words.sum() % 2}}

class Fault(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        time.sleep(0.02)
        if state.global_step == options["fault_at"]:
            exec(options["fault"])

def train():
    set_seed(7)
    sizes = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    model = BertForSequenceClassification(BertConfig(vocab_size=50, max_position_embeddings=8, **sizes))
    arguments = TrainingArguments(
        str(folder), per_device_train_batch_size={BATCH}, seed=7, report_to=[], save_strategy="no", use_cpu=True,
        disable_tqdm=True, logging_steps=5, eval_strategy="epoch", **options["arguments"],
    )
    trainer = Trainer(
        model, arguments, train_dataset=Sums(), eval_dataset=Sums(), callbacks=[*callbacks, Fault()],
        compute_metrics=lambda found: {{"accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())}},
    )
    trained_on, step = [], trainer.training_step
    def counted(model, inputs, *rest):
        trained_on.append(len(inputs["labels"]))
        return step(model, inputs, *rest)
    trainer.training_step = counted
    try:
        trainer.train()
    finally:
        weights = b"".join(each.detach().numpy().tobytes() for each in model.state_dict().values())
        (folder / f"log{{trainer.args.process_index}}.json").write_text(json.dumps(trainer.state.log_history))
        print("trained on", sum(trained_on), "in", trainer.state.global_step, flush=True)
        print(hashlib.sha256(weights).hexdigest(), flush=True)
        print(random.random(), numpy.random.random(), torch.rand(1).item(), flush=True)

exec(options["before"])
callbacks = []
if options["callback"] is not None:
    from wattline.integrations.huggingface import WattlineCallback
    callbacks.append(WattlineCallback(**options["callback"]))
exec(options["how"])
print("the end")
"""


def train(
    python: Path,
    folder: Path,
    callback: dict[str, Any] | None,
    *launcher: str,
    how: str = "train()",
    fault: str = "",
    before: str = "",
    environment: dict[str, str] | None = None,
    **arguments: Any,
) -> Ended:
    """Run the training; the times in its logs are taken out of what it wrote."""
    folder.mkdir(exist_ok=True)
    script = folder / "training.py"
    script.write_text(TRAINING, encoding="utf-8")
    options = {
        "callback": callback,
        "how": how,
        "before": before,
        "fault": fault,
        "fault_at": FAULT_AT if fault else -1,
        "arguments": {"num_train_epochs": EPOCHS, **arguments},
    }
    told = (str(script), json.dumps(options), str(folder))
    ended = run_script(python, *launcher, *told, spool=folder / "spool", **(environment or {}))
    return Ended(ended.code, re.sub(r"'\w+_(runtime|per_second)': [-+.e0-9]+", "", ended.out), ended.err)
