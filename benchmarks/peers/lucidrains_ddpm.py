"""denoising-diffusion-pytorch with what its guide gives, scaled to the size of the picture.

`Unet`, `GaussianDiffusion` (v as the target, sigmoid schedule, 1,000 steps, DDIM for samples) and the EMA are the package's;
the loop follows its `Trainer`, which reads picture files and counts steps, where here tensors come in and seconds count.
From the guide: Adam at 8e-5 with betas (0.9, 0.99), two batches of 32 to a step, clipping at 1, EMA 0.995 every ten
steps, mixed precision. Scaled: width 32 and three levels instead of 64 and four. Left out: mirroring, which turns digits
into other signs. `tuned` learns faster: one batch of 64 at 1e-3, decayed to nothing over the time, EMA at every step.
`stand_in/` takes torchvision's place; see there.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from frame import Clock, Task, arguments, batches, parameters, seeded, uint8, write_samples

SETTINGS: dict[str, Any] = {
    "documented": {"batch": 32, "accumulate": 2, "rate": 8e-5, "decay": False, "average_every": 10, "average_after": 100},
    "tuned": {"batch": 64, "accumulate": 1, "rate": 1e-3, "decay": True, "average_every": 1, "average_after": 0},
}
NET: dict[str, Any] = {"dim": 32, "dim_mults": (1, 2, 4), "flash_attn": True}


def main() -> None:
    """Train, sample and write."""
    chosen = arguments("denoising-diffusion-pytorch", steps={"type": int, "default": 50, "help": "DDIM steps; the guide has 250"})
    task, settings = Task.read(chosen.data), SETTINGS[chosen.settings]
    sys.path.insert(0, str(Path(__file__).parent / "stand_in"))

    import torch
    from denoising_diffusion_pytorch import GaussianDiffusion, Unet
    from ema_pytorch import EMA

    order = seeded(chosen)
    pictures = task.pictures()
    net = Unet(channels=pictures.shape[1], **NET)
    diffusion = GaussianDiffusion(net, image_size=pictures.shape[-1], timesteps=1000, sampling_timesteps=chosen.steps)
    optimizer = torch.optim.Adam(diffusion.parameters(), lr=settings["rate"], betas=(0.9, 0.99))
    average = EMA(diffusion, beta=0.995, update_every=settings["average_every"], update_after_step=settings["average_after"])

    clock, picks = Clock(chosen.seconds), batches(len(pictures), settings["batch"], order)
    while clock.running():
        if settings["decay"]:
            optimizer.param_groups[0]["lr"] = settings["rate"] * (1 - clock.fraction)
        for _ in range(settings["accumulate"]):
            with torch.autocast("cpu", torch.bfloat16):
                loss = diffusion(pictures[next(picks)]) / settings["accumulate"]
            loss.backward()
        torch.nn.utils.clip_grad_norm_(diffusion.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update()

    begun = time.perf_counter()
    average.ema_model.eval()
    sizes = [min(100, chosen.samples - begin) for begin in range(0, chosen.samples, 100)]
    with torch.autocast("cpu", torch.bfloat16):
        x = uint8(torch.cat([average.ema_model.sample(batch_size=size) for size in sizes]))
    meta = {
        "peer": "denoising-diffusion-pytorch", "package": "denoising-diffusion-pytorch", "parameters": parameters(net),
        "steps": clock.steps, "training_seconds": clock.spent, "sampling_seconds": time.perf_counter() - begun,
        "settings": {**settings, **NET, "sampling_steps": chosen.steps},
    }
    write_samples(chosen.out, x, y=None, meta=meta)


if __name__ == "__main__":
    main()
