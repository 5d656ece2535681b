"""Hugging Face's Trainer with a GPT-2 of nanoGPT's CPU size, as its users write it (github.com/huggingface/transformers, Apache-2.0).

A byte-level BPE of `--vocab` ids is learnt from the training texts, which stand one after the other, each ended, and are cut into rows of
256: the causal language modelling example with a smaller GPT2Config. `documented` keeps what TrainingArguments says by itself: AdamW at
5e-5 that falls in a straight line, 8 rows a step, float32, GPT-2's dropout of 0.1, the last weights. `tuned` takes a rate of 1e-3 with a
warm-up of 100 steps and a cosine, bfloat16, and the weights that held-out text liked best among ten looks. The schedules follow the time
in place of the steps. Both are scored with their context of 256.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from frame import Clock, arguments, parameters, seeded
from texts import document_nats, mean_nats, read_documents, stream, write_nats
from tokenizers import ByteLevelBPETokenizer
from torch import Tensor
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

CONTEXT, LOOKS, WARMUP = 256, 10, 100
END = "<|endoftext|>"
RATES = {"documented": 5e-5, "tuned": 1e-3}


class Budget(TrainerCallback):
    """Ends the training when the time is spent; of ten looks at held-out text it keeps the best weights, if it is to `look`."""

    def __init__(self, clock: Clock, model: GPT2LMHeadModel, validation: np.ndarray, *, look: bool) -> None:
        self.clock, self.model, self.validation = clock, model, validation
        self.left = list(range(1, LOOKS + 1)) if look else []
        self.best, self.kept = float("inf"), None

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        control.should_training_stop = not self.clock.running()
        if self.left and self.clock.fraction * LOOKS >= self.left[0]:
            self.left.pop(0)
            self.model.eval()
            if (cost := mean_nats(self.validation, nats_of(self.model), CONTEXT)) < self.best:
                self.best, self.kept = cost, {name: value.clone() for name, value in self.model.state_dict().items()}
            self.model.train()


def nats_of(model: GPT2LMHeadModel) -> Any:
    def nats(ids: Tensor, following: Tensor) -> Tensor:
        return F.cross_entropy(model(ids).logits.float().transpose(1, 2), following, reduction="none")

    return nats


def rows_of(ids: np.ndarray) -> Sequence[dict[str, Tensor]]:
    """Cut a stream into rows; the odd rest is left, as the example leaves it."""
    rows = torch.from_numpy(ids[: len(ids) - len(ids) % CONTEXT]).view(-1, CONTEXT)
    return [{"input_ids": row, "labels": row} for row in rows]


def main() -> None:
    """Train as a user of Trainer does, score the test documents."""
    chosen = arguments("Hugging Face's Trainer with GPT-2", vocab={"type": int, "default": 1024})
    seeded(chosen)
    tuned = chosen.settings == "tuned"
    documents = read_documents(chosen.data)
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(documents["train"], vocab_size=chosen.vocab, special_tokens=[END], show_progress=False)
    end = tokenizer.token_to_id(END)
    ids = {part: [tokenizer.encode(text).ids for text in texts] for part, texts in documents.items()}
    shape = {"n_embd": 128, "n_layer": 4, "n_head": 4, "n_positions": CONTEXT, "vocab_size": tokenizer.get_vocab_size()}
    model = GPT2LMHeadModel(GPT2Config(**shape, bos_token_id=end, eos_token_id=end))

    clock = Clock(chosen.seconds)
    budget = Budget(clock, model, stream(ids["validation"], end), look=tuned)
    with TemporaryDirectory() as folder:
        options = TrainingArguments(
            output_dir=folder,
            learning_rate=RATES[chosen.settings],
            max_steps=10_000_000,
            use_cpu=True,
            bf16=tuned,
            seed=chosen.seed,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)

        def share(step: int) -> float:
            if tuned:
                return min(1.0, (step + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * clock.fraction))
            return 1 - clock.fraction

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
        rows = rows_of(stream(ids["train"], end))
        Trainer(model=model, args=options, train_dataset=rows, callbacks=[budget], optimizers=(optimizer, schedule)).train()

    if budget.kept is not None:
        model.load_state_dict(budget.kept)
    model.eval()
    begun = time.perf_counter()
    nats = document_nats(ids["test"], nats_of(model), context=CONTEXT, end=end)
    meta = {
        "peer": "trainer-gpt2",
        "package": "transformers",
        "parameters": parameters(model),
        "vocab": shape["vocab_size"],
        "context": CONTEXT,
        "steps": clock.steps,
        "training_seconds": clock.spent,
        "scoring_seconds": time.perf_counter() - begun,
        "settings": {"rate": options.learning_rate, "batch": options.per_device_train_batch_size, "bf16": tuned},
    }
    write_nats(chosen.out, nats, meta)


if __name__ == "__main__":
    main()
