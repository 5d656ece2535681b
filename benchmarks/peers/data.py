"""The file a peer learns from: one .npz that needs nothing but numpy to be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_data(
    path: Path,
    *,
    train_x: np.ndarray,
    train_y: np.ndarray | None = None,
    train_text: list[str] | None = None,
    want_y: np.ndarray | None = None,
    want_text: list[str] | None = None,
) -> None:
    """Write the training pictures (N, H, W, C) uint8, their labels and captions, and the conditions that samples are wanted for.

    Absent labels are written as -1, absent captions as an empty array.
    """
    if train_x.ndim != 4 or train_x.dtype != np.uint8:
        raise ValueError(f"pictures must be uint8 (N, H, W, C), but are {train_x.dtype} {train_x.shape}")
    wanted = max(len(want_y) if want_y is not None else 0, len(want_text or ()))
    np.savez(
        path,
        train_x=train_x,
        train_y=_labels(train_y, len(train_x)),
        train_text=np.array(train_text or [], dtype=np.str_),
        want_y=_labels(want_y, wanted),
        want_text=np.array(want_text or [], dtype=np.str_),
    )


def _labels(labels: np.ndarray | None, count: int) -> np.ndarray:
    labels = np.full(count, -1) if labels is None else np.asarray(labels)
    if labels.shape != (count,):
        raise ValueError(f"expected {count} labels, got an array of shape {labels.shape}")
    return labels.astype(np.int64)
