"""How fast diffusers makes pictures with DDIM-50, for a net of a given number of parameters.

The net is the one of `diffusers_unet.py` with its three widths scaled until its parameters come closest to the number
asked for. Nothing is trained (`--seconds` is ignored): the pictures are noise, and only their number per second counts.
One small batch warms the machinery up before the clock runs. `tuned` runs in bfloat16.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from diffusers_unet import SETTINGS, build, sample
from frame import Task, arguments, parameters, seeded, uint8, write_samples

if TYPE_CHECKING:
    from diffusers import UNet2DModel


def sized(size: int, channels: int, *, labels: int, wanted: int) -> tuple[UNet2DModel, tuple[int, ...]]:
    """Make the net whose number of parameters is closest to `wanted`; widths are multiples of 32, as its norms need."""
    import torch

    counts = {}
    with torch.device("meta"):  # counts without making the weights
        for first in range(32, 161, 32):
            for second in range(first, 2 * first + 1, 32):
                for third in range(second, 2 * second + 1, 32):
                    widths = (first, second, third)
                    counts[widths] = parameters(build(size, channels, labels=labels, widths=widths))
    widths = min(counts, key=lambda each: abs(counts[each] - wanted))
    return build(size, channels, labels=labels, widths=widths), widths


def main() -> None:
    """Make pictures and count them."""
    chosen = arguments(
        "diffusers' DDIM-50, pictures per second",
        parameters={"type": int, "required": True, "help": "parameters of the net to compare with"},
        steps={"type": int, "default": 50},
    )
    task, settings = Task.read(chosen.data), SETTINGS[chosen.settings]

    import torch

    seeded(chosen)
    size, channels = task.train_x.shape[1], task.train_x.shape[3]
    net, widths = sized(size, channels, labels=task.labels, wanted=chosen.parameters)
    net.eval()
    labels = torch.from_numpy(task.wanted(chosen.samples)) if task.labels else None
    sample(net, min(8, chosen.samples), steps=2, settings=settings, labels=labels)
    begun = time.perf_counter()
    x = uint8(sample(net, chosen.samples, steps=chosen.steps, settings=settings, labels=labels))
    meta = {
        "peer": "diffusers-ddim", "package": "diffusers", "parameters": parameters(net), "steps": 0, "training_seconds": 0.0,
        "sampling_seconds": time.perf_counter() - begun,
        "settings": {"widths": widths, "sampling_steps": chosen.steps, "bf16": settings["bf16"], "wanted": chosen.parameters},
    }
    write_samples(chosen.out, x, y=None, meta=meta)


if __name__ == "__main__":
    main()
