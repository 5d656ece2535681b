"""The loop's own cost in fine-tuning: Karat's loop against a bare loop of transformers and peft, on the same base, batches and settings.

    python benchmarks/finetune_overhead.py

LoRA of rank 16 on all linear layers of a GPT-2 of 1.3 M parameters, 8 rows of 128 tokens. Both take the same steps in turn, several times;
the ratio is of each pair, told as the median and the extremes.
"""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from datasets import machine
from results import record
from torch import Tensor

from karat.learning.models import Model, ModelSpec
from karat.values.given import Given
from karat.values.spaces import Space
from karat.work.plans import TrainingPlan
from karat.work.training import train

VOCAB, LENGTH, BATCH, STEPS, ROUNDS = 4096, 128, 8, 100, 5
CONFIG = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": VOCAB, "n_embd": 128, "n_layer": 4, "n_head": 4}
MARKS = {"n_positions": LENGTH, "bos_token_id": 0, "eos_token_id": 0}
LORA = {"kind": "lora", "rank": 16, "alpha": 32}
SPEC = ModelSpec.from_values(
    {
        "space": Space(axes=("token",), shape=(LENGTH,), vocab=VOCAB + 1),
        "family": {"kind": "pretrained", "config": {**CONFIG, **MARKS}, "start": 0, "end": 0, "adapter": LORA},
    }
)


class Batches:
    """The same random rows every time, of which a half is learnt."""

    def __init__(self) -> None:
        self.x = torch.randint(1, VOCAB, (BATCH, LENGTH), generator=torch.Generator().manual_seed(0))
        self.weight = (torch.arange(LENGTH) >= LENGTH // 2).float().expand(BATCH, -1)

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, step: int, size: int, generator: torch.Generator) -> tuple[Tensor, Given]:
        return self.x, Given(weight=self.weight)

    def held_out(self) -> Iterator[tuple[Tensor, Given]]:
        return iter(())


def bare(data: Batches) -> float:
    """Give the seconds of a loop that does nothing but learn."""
    from peft import LoraConfig, get_peft_model
    from transformers import GPT2Config, GPT2LMHeadModel

    config = {name: value for name, value in CONFIG.items() if name not in ("model_type", "architectures")}
    net = GPT2LMHeadModel(GPT2Config(**config, **MARKS))
    model = get_peft_model(net, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", fan_in_fan_out=True))
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-4)
    labels = data.x.masked_fill(data.weight == 0, -100)
    began = time.perf_counter()
    for _ in range(STEPS):
        loss = model(input_ids=data.x, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - began


def karats(data: Batches) -> float:
    """Give the seconds of Karat's loop, with its events read and its last checkpoint written."""
    with TemporaryDirectory() as folder:
        model = Model(SPEC)
        began = time.perf_counter()
        for _ in train(model, data, TrainingPlan(steps=STEPS, rate=2e-4, batch=BATCH, checks=0, judged=1), Path(folder)):
            pass
        return time.perf_counter() - began


def main() -> None:
    """Compare and record."""
    data = Batches()
    bare(data)
    karats(data)
    pairs = [(karats(data), bare(data)) if number % 2 else (bare(data), karats(data))[::-1] for number in range(ROUNDS)]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = sorted(a / b for a, b in pairs)
    row = {"seconds": ours, "bare_seconds": theirs, "ratio": statistics.median(ratios), "low": ratios[0], "high": ratios[-1]}
    record(Path(__file__).parent / "results" / "loop.json", {"what": "fine-tuning", **row, **machine()}, key=("what",))
    print(f"Karat {ours:.2f} s, bare {theirs:.2f} s for {STEPS} steps: ratio {row['ratio']:.3f} ({ratios[0]:.3f} … {ratios[-1]:.3f})")


if __name__ == "__main__":
    main()
