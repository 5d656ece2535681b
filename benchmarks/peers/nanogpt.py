"""The shape and settings that nanoGPT gives for learning characters on a CPU, written anew (github.com/karpathy/nanoGPT, MIT).

GPT-2's shape (Radford et al. 2019): learned positions, layer norms without biases before each part, GELU, tied ends; 4 layers of 128 with
4 heads over 64 characters, 12 rows a step, no dropout. AdamW with betas (0.9, 0.99) and decay 0.1 on matrices; the rate rises to 1e-3 over
100 steps and falls to a tenth along a cosine, which here follows the time in place of 2,000 steps. Checked on held-out text ten times, the
best weights kept. A character is a token; one that training never showed is spelt in bytes. Scored with its own context of 64. `tuned`
takes three times the rate, which serves it better within minutes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

import numpy as np
import torch
from frame import Clock, arguments, parameters, seeded
from texts import document_nats, mean_nats, read_documents, stream, write_nats
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH, DEPTH, HEADS, CONTEXT, BATCH = 128, 4, 4, 64, 12
WARMUP, LOOKS = 100, 10
RATES = {"documented": 1e-3, "tuned": 3e-3}
END = 256


class Characters:
    """Ids 0 to 255 are bytes, 256 is the end, the rest are the characters of the training texts."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.known = {character: 257 + place for place, character in enumerate(sorted(set("".join(texts))))}
        self.size = 257 + len(self.known)

    def ids(self, text: str) -> list[int]:
        return [number for character in text for number in ([self.known[character]] if character in self.known else character.encode())]


class Block(nn.Module):
    """Attention, then two layers with GELU between them."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH, bias=False), nn.LayerNorm(WIDTH, bias=False)
        self.three, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.widen, self.narrow = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.three(self.norm_1(x)).chunk(3, -1))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return x + self.narrow(F.gelu(self.widen(self.norm_2(x))))


class Net(nn.Module):
    """Ids (B, N) to logits (B, N, V)."""

    def __init__(self, vocab: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocab, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(DEPTH)))
        self.norm = nn.LayerNorm(WIDTH, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                last = name.endswith(("out.weight", "narrow.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * DEPTH) if last else 0.02)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.places.weight[: ids.shape[1]]
        return self.norm(self.blocks(x)) @ self.tokens.weight.T

    def nats(self, ids: Tensor, following: Tensor) -> Tensor:
        return F.cross_entropy(self(ids).transpose(1, 2), following, reduction="none")


def main() -> None:
    """Train, keep what held-out text likes best, score the test documents."""
    chosen = arguments("nanoGPT's CPU configuration")
    order = seeded(chosen)
    documents = read_documents(chosen.data)
    characters = Characters(documents["train"])
    train, validation = (stream([characters.ids(text) for text in documents[part]], END) for part in ("train", "validation"))
    net = Net(characters.size)
    high = RATES[chosen.settings]
    groups = [
        {"params": [p for p in net.parameters() if p.ndim == 2], "weight_decay": 0.1},
        {"params": [p for p in net.parameters() if p.ndim != 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=high, betas=(0.9, 0.99))
    best, kept, looked = float("inf"), net.state_dict(), 0

    clock = Clock(chosen.seconds)
    while clock.running():
        share = 0.1 + 0.45 * (1 + math.cos(math.pi * clock.fraction))
        for group in optimizer.param_groups:
            group["lr"] = high * share * min(1.0, clock.steps / WARMUP)
        starts = torch.randint(len(train) - CONTEXT, (BATCH,), generator=order).numpy()
        rows = torch.from_numpy(train[starts[:, None] + np.arange(CONTEXT + 1)])
        net.nats(rows[:, :-1], rows[:, 1:]).mean().backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if int(clock.fraction * LOOKS) > looked:
            looked = int(clock.fraction * LOOKS)
            if (cost := mean_nats(validation, net.nats, CONTEXT)) < best:
                best, kept = cost, {name: value.clone() for name, value in net.state_dict().items()}

    net.load_state_dict(kept)
    begun = time.perf_counter()
    nats = document_nats([characters.ids(text) for text in documents["test"]], net.nats, context=CONTEXT, end=END)
    meta = {
        "peer": "nanogpt",
        "package": "torch",
        "parameters": parameters(net),
        "vocab": characters.size,
        "context": CONTEXT,
        "steps": clock.steps,
        "training_seconds": clock.spent,
        "scoring_seconds": time.perf_counter() - begun,
        "settings": {"rate": high, "batch": BATCH},
    }
    write_nats(chosen.out, nats, meta)


if __name__ == "__main__":
    main()
