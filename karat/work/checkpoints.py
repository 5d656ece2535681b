"""Checkpoints: everything that training needs to go on as if nothing had happened, as safetensors and JSON.

A checkpoint is a folder that appears whole or not at all. It carries the digest of all that it says, so that a damaged one is noticed and
the one before it is used. One process at a time writes to a folder of checkpoints.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.optim import Optimizer

from karat.words.errors import StoreError, TrainingError
from karat.words.specs import canonical


def write_checkpoint(folder: Path, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], *, keep: int) -> Path:
    """Write `folder/step-…` atomically and delete all but the `keep` newest. Raises StoreError when the disk refuses.

    What a step leads to never changes, so a whole checkpoint of the same step is left as it is.
    """
    final = folder / f"step-{step:09d}"
    if _read(final) is not None:
        return final
    payload = save({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()})
    about = {"step": step, **facts}
    temporary = folder / f".{final.name}"
    try:
        for rest in (final, *folder.glob(".step-*")):
            shutil.rmtree(rest, ignore_errors=True)
        temporary.mkdir(parents=True)
        _write_through(temporary / "state.safetensors", payload)
        _write_through(temporary / "state.json", json.dumps({**about, "digest": _digest(about, payload)}).encode())
        temporary.rename(final)
        _sync_folder(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise StoreError(
            f"The checkpoint cannot be written to {folder}: {error.strerror}.",
            repair="Free some space or choose another store; the last checkpoint is intact.",
        ) from None
    kept = [path for path in existing(folder) if path <= final][-keep:]
    for other in set(existing(folder)) - set(kept):
        shutil.rmtree(other, ignore_errors=True)
    return final


def read_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Give the newest whole checkpoint (tensors, facts), or None when there is none. Damaged ones are passed over.

    Raises TrainingError when there are checkpoints but none is whole.
    """
    found = existing(folder)
    for path in reversed(found):
        if (whole := _read(path)) is not None:
            return whole
    if found:
        raise TrainingError(f"All {len(found)} checkpoints in {folder} are damaged.", repair="Delete the run's folder to begin again.")
    return None


def existing(folder: Path) -> list[Path]:
    """Give the checkpoints of a folder, oldest first."""
    return sorted(folder.glob("step-*"))


def optimizer_state(name: str, optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Take an optimizer's state apart into tensors and JSON."""
    state = optimizer.state_dict()
    tensors, rest = {}, {}
    for index, entries in state["state"].items():
        for key, value in entries.items():
            place = f"{name}/{index}/{key}"
            if isinstance(value, Tensor):
                tensors[place] = value
            else:
                rest[place] = value
    return tensors, {"state": rest, "groups": state["param_groups"]}


def restore_optimizer(name: str, optimizer: Optimizer, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Put together what `optimizer_state` took apart."""
    state: dict[int, dict[str, Any]] = {}
    for place, value in [*tensors.items(), *facts["state"].items()]:
        owner, _, rest = place.partition("/")
        if owner == name:
            index, _, key = rest.partition("/")
            state.setdefault(int(index), {})[key] = value.clone() if isinstance(value, Tensor) else value
    groups = [
        {key: tuple(value) if isinstance(value, list) and key == "betas" else value for key, value in group.items()}
        for group in facts["groups"]
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Give what a checkpoint says; None when it is not there or damaged."""
    try:
        facts = json.loads((path / "state.json").read_bytes())
        payload = (path / "state.safetensors").read_bytes()
        return (load(payload), facts) if facts.pop("digest") == _digest(facts, payload) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _digest(facts: Mapping[str, Any], payload: bytes) -> str:
    return hashlib.sha256(canonical(facts) + payload).hexdigest()


def _write_through(path: Path, payload: bytes) -> None:
    with path.open("wb") as file:
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def same_weights(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Say whether two sets of weights are equal to the bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
