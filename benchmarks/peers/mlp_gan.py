"""The textbook GAN: two perceptrons that see a picture as one long vector (Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661).

Generator 100-256-512-pixels with ReLU and a tanh at the end, discriminator pixels-512-256-1 with leaky ReLU, the
non-saturating loss by binary cross entropy, Adam at 2e-4 with betas (0.5, 0.999), batches of 64: what tutorials give for
28x28 digits. It knows no labels. `tuned` has nothing to change here and is the same.
"""

from __future__ import annotations

import time
from typing import Any

from frame import Clock, Task, arguments, batches, parameters, seeded, uint8, write_samples

NOISE = 100
SETTINGS: dict[str, Any] = {"batch": 64, "rate": 2e-4, "betas": [0.5, 0.999], "noise": NOISE, "widths": [256, 512]}


def main() -> None:
    """Train, sample and write."""
    chosen = arguments("The textbook MLP GAN")
    task = Task.read(chosen.data)

    import torch
    from torch import nn

    order = seeded(chosen)
    pictures = task.pictures()
    shape, real = pictures.shape[1:], pictures.flatten(1) * 2 - 1
    generator = nn.Sequential(
        nn.Linear(NOISE, 256), nn.ReLU(), nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, real.shape[1]), nn.Tanh()
    )
    discriminator = nn.Sequential(
        nn.Linear(real.shape[1], 512), nn.LeakyReLU(0.2), nn.Linear(512, 256), nn.LeakyReLU(0.2), nn.Linear(256, 1)
    )
    turns = [torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999)) for net in (generator, discriminator)]
    loss = nn.BCEWithLogitsLoss()

    clock, picks = Clock(chosen.seconds), batches(len(real), SETTINGS["batch"], order)
    while clock.running():
        truth = real[next(picks)]
        ones, zeros = torch.ones(len(truth), 1), torch.zeros(len(truth), 1)
        made = generator(torch.randn(len(truth), NOISE))
        turns[1].zero_grad()
        (loss(discriminator(truth), ones) + loss(discriminator(made.detach()), zeros)).backward()
        turns[1].step()
        turns[0].zero_grad()
        loss(discriminator(made), ones).backward()
        turns[0].step()

    begun = time.perf_counter()
    with torch.inference_mode():
        x = uint8(generator(torch.randn(chosen.samples, NOISE)).view(-1, *shape) / 2 + 0.5)
    meta = {
        "peer": "mlp-gan", "package": "torch", "parameters": parameters(generator, discriminator), "steps": clock.steps,
        "training_seconds": clock.spent, "sampling_seconds": time.perf_counter() - begun, "settings": SETTINGS,
    }
    write_samples(chosen.out, x, y=None, meta=meta)


if __name__ == "__main__":
    main()
