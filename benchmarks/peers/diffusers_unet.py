"""diffusers' unconditional training recipe, with its UNet sized down for small pictures and minutes on a processor.

Kept from the example: residual blocks two to a level, attention on the last level but one, 1,000 steps of DDPM with a linear schedule
and the noise as the target, AdamW (1e-4, betas 0.95 and 0.999, weight decay 1e-6), 500 steps of warm-up into a cosine,
batches of 16, clipping at 1, EMA with its warm-up. The loop is ours, over the public classes; the cosine runs over the
time given, where the example has a number of steps. Favours in both settings: a net of about two million parameters
instead of over a hundred, and the label as a condition (`num_class_embeds`) where pictures have one.
`tuned` also learns faster: the velocity as the target, which this UNet learns far sooner than the noise, batches of 64 at
1e-3, 30 steps of warm-up, bfloat16.
"""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from frame import Clock, Task, arguments, batches, parameters, seeded, uint8, write_samples

if TYPE_CHECKING:
    import torch
    from diffusers import UNet2DModel

WIDTHS = (32, 64, 96)
SETTINGS: dict[str, Any] = {
    "documented": {"batch": 16, "rate": 1e-4, "warm_up": 500, "prediction": "epsilon", "bf16": False},
    "tuned": {"batch": 64, "rate": 1e-3, "warm_up": 30, "prediction": "v_prediction", "bf16": True},
}


def build(size: int, channels: int, *, labels: int = 0, widths: tuple[int, ...] = WIDTHS) -> UNet2DModel:
    """Make the example's UNet with three levels of the given widths, with attention on the last but one."""
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        layers_per_block=2,
        block_out_channels=widths,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        num_class_embeds=labels or None,
    )


def precision(bf16: bool) -> AbstractContextManager[Any]:
    """Give the context the net runs in."""
    import torch

    return torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext()


def sample(
    net: UNet2DModel, count: int, *, steps: int, settings: dict[str, Any], labels: torch.Tensor | None = None, batch: int = 100
) -> torch.Tensor:
    """Make `count` pictures in [0, 1] with DDIM, or with all of DDPM's steps when `steps` is 1,000."""
    import torch
    from diffusers import DDIMScheduler, DDPMScheduler

    scheduler = (DDPMScheduler if steps == 1000 else DDIMScheduler)(num_train_timesteps=1000, prediction_type=settings["prediction"])
    scheduler.set_timesteps(steps)
    made = []
    with torch.inference_mode(), precision(settings["bf16"]):
        for begin in range(0, count, batch):
            size = min(batch, count - begin)
            chosen = None if labels is None else labels[begin : begin + size]
            x = torch.randn(size, net.config.in_channels, net.config.sample_size, net.config.sample_size)
            for step in scheduler.timesteps:
                x = scheduler.step(net(x, step, class_labels=chosen).sample.float(), step, x).prev_sample
            made.append(x / 2 + 0.5)
    return torch.cat(made)


def train(
    net: UNet2DModel,
    pictures: torch.Tensor,
    *,
    labels: torch.Tensor | None,
    settings: dict[str, Any],
    clock: Clock,
    order: torch.Generator,
) -> UNet2DModel:
    """Follow the example's loop for the clock's seconds and return the averaged net."""
    import torch
    from diffusers import DDPMScheduler
    from diffusers.training_utils import EMAModel

    scheduler = DDPMScheduler(num_train_timesteps=1000, prediction_type=settings["prediction"])
    optimizer = torch.optim.AdamW(net.parameters(), lr=settings["rate"], betas=(0.95, 0.999), weight_decay=1e-6)
    average = EMAModel(net.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75)
    picks = batches(len(pictures), settings["batch"], order)
    while clock.running():
        rise = min(1.0, clock.steps / settings["warm_up"])
        optimizer.param_groups[0]["lr"] = settings["rate"] * rise * 0.5 * (1 + math.cos(math.pi * clock.fraction))
        pick = next(picks)
        clean = pictures[pick] * 2 - 1
        noise, times = torch.randn(len(pick), *pictures.shape[1:]), torch.randint(1000, (len(pick),))
        noisy = scheduler.add_noise(clean, noise, times)
        with precision(settings["bf16"]):
            guess = net(noisy, times, class_labels=None if labels is None else labels[pick]).sample
        target = noise if settings["prediction"] == "epsilon" else scheduler.get_velocity(clean, noise, times)
        torch.nn.functional.mse_loss(guess.float(), target).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.step(net.parameters())
    average.copy_to(net.parameters())
    return net.eval()


def main() -> None:
    """Train, sample and write."""
    chosen = arguments("diffusers' unconditional recipe", steps={"type": int, "default": 50, "help": "DDIM steps; 1000 means DDPM"})
    task, settings = Task.read(chosen.data), SETTINGS[chosen.settings]

    import torch

    order = seeded(chosen)
    pictures = task.pictures()
    labels = torch.from_numpy(task.train_y) if task.labels else None
    net = build(pictures.shape[-1], pictures.shape[1], labels=task.labels)
    clock = Clock(chosen.seconds)
    net = train(net, pictures, labels=labels, settings=settings, clock=clock, order=order)

    wanted = task.wanted(chosen.samples)
    begun = time.perf_counter()
    asked = torch.from_numpy(wanted) if task.labels else None
    x = uint8(sample(net, chosen.samples, steps=chosen.steps, settings=settings, labels=asked))
    meta = {
        "peer": "diffusers", "package": "diffusers", "parameters": parameters(net), "steps": clock.steps,
        "training_seconds": clock.spent, "sampling_seconds": time.perf_counter() - begun,
        "settings": {**settings, "widths": WIDTHS, "sampling_steps": chosen.steps, "labels": task.labels},
    }
    write_samples(chosen.out, x, y=wanted, meta=meta)


if __name__ == "__main__":
    main()
