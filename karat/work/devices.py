"""What a run trains on, and what suits it there."""

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

LANES = 2
"""Pieces of a batch side by side: more would suit more cores, but a spec is not to depend on how many a machine has."""


def device_named(name: str) -> torch.device:
    """Give a device by its name; `auto` is the GPU where there is one."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@cache
def has_fast_bf16(device: str) -> bool:
    """Say whether a kind of device multiplies in bf16 faster than in float32."""
    return device == "cuda" or bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def suited(net: dict[str, Any], device: torch.device, *, half: bool) -> dict[str, Any]:
    """Give the plan's settings that suit a net on a device: lanes for convnets on the CPU, and `half` precision where it is fast there."""
    if device.type != "cpu" or net.get("kind") != "convnet":
        return {}
    return {"lanes": LANES, "bf16": half and has_fast_bf16(device.type)}


def give_memory_back() -> None:
    """Give the system what the C library keeps of freed memory, which is much where threads worked."""
    if (trim := _trim()) is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    """Find the function of the GNU C library; others have none."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
