"""What the programs that learn texts share: documents in, what each test document costs them out.

A file of documents is JSON: {"train": [...], "validation": [...], "test": [...]}. A program writes `nats`, for each test document what it
costs to its end, the mark of the end included, and `meta`, a JSON text. Whoever called it divides by the documents' bytes, so how they were
cut into tokens does not matter.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Nats = Callable[["Tensor", "Tensor"], "Tensor"]
"""What a model says: inputs and the ids that follow each of them, both (B, N), to nats (B, N)."""
PARTS = ("train", "validation", "test")


def write_documents(path: Path, documents: dict[str, list[str]]) -> None:
    path.write_text(json.dumps(documents, ensure_ascii=False), encoding="utf-8")


def read_documents(path: Path) -> dict[str, list[str]]:
    return {part: json.loads(path.read_text(encoding="utf-8"))[part] for part in PARTS}


def stream(documents: Sequence[Sequence[int]], end: int) -> np.ndarray:
    """Give documents one after the other, each with its end: int64 (n,)."""
    return np.array([end, *(number for document in documents for number in (*document, end))], np.int64)


def document_nats(documents: Sequence[Sequence[int]], nats: Nats, *, context: int, end: int) -> np.ndarray:
    """Give what each document costs, its end included: float64 (documents,).

    Windows of `context` ids move on by half of it; of each but the first only the second half counts, which sees at least half a context.
    """
    import torch

    windows: list[tuple[int, int, int, list[int]]] = []
    for place, document in enumerate(documents):
        ids = [end, *document, end]
        first = 0
        while True:
            fresh = context // 2 if first else 0
            windows.append((place, fresh, min(context, len(ids) - 1 - first), ids[first : first + context + 1]))
            if first + context >= len(ids) - 1:
                break
            first += context - context // 2
    costs = np.zeros(len(documents))
    for begin in range(0, len(windows), 32):
        some = windows[begin : begin + 32]
        rows = torch.tensor([ids + [end] * (context + 1 - len(ids)) for *_, ids in some])
        with torch.inference_mode():
            found = nats(rows[:, :-1], rows[:, 1:]).double().numpy()
        for (place, fresh, length, _), row in zip(some, found, strict=True):
            costs[place] += row[fresh:length].sum()
    return costs


def mean_nats(ids: np.ndarray, nats: Nats, context: int) -> float:
    """Give the mean cost of an id in a stream, read in windows that do not overlap: what a program chooses its best weights by."""
    import torch

    count = max(1, (len(ids) - 1) // context)
    context = min(context, len(ids) - 1)
    rows = torch.from_numpy(np.stack([ids[n * context : (n + 1) * context + 1] for n in range(count)]))
    with torch.inference_mode():
        return float(sum(nats(some[:, :-1], some[:, 1:]).double().sum() for some in rows.split(32))) / (count * context)


def write_nats(path: Path, nats: np.ndarray, meta: dict[str, Any]) -> None:
    """Leave the costs and what is known about them, and print the latter."""
    package = meta.pop("package")
    meta = {**meta, "version": version(package), "torch": version("torch")}
    np.savez(path, nats=nats, meta=json.dumps(meta))
    print(json.dumps(meta))
