"""Pythae's autoencoders with a sampler fitted to their latents.

The nets are Pythae's own: its residual nets for 32x32 colour pictures, its perceptron for any other size. The loop is
ours, over the public models: Pythae's trainer counts epochs, and here it is seconds that count; the last part of them
belongs to the fitting of the sampler. `documented` is a plain VAE with the mixture of ten Gaussians. `tuned` is what came
out best in short tries (README.md): the regularised autoencoder (RAE) with a mixture of Gaussians, and a rate that decays to nothing.
"""

from __future__ import annotations

import argparse
import logging
import time
from typing import TYPE_CHECKING, Any

from frame import Clock, Task, arguments, batches, parameters, seeded, uint8, write_samples

if TYPE_CHECKING:
    from pythae.models import BaseAE

SETTINGS: dict[str, Any] = {
    "documented": {"model": "VAE", "latent": (16, 16), "batch": 64, "rate": 1e-3, "decay": False, "components": 10},
    "tuned": {"model": "RAE_L2", "latent": (12, 64), "batch": 64, "rate": 1e-3, "decay": True, "components": 20, "embedding_weight": 0.01},
}
FOR_SAMPLER = 0.1  # of the seconds; what it leaves is not used, and a short budget is overrun (the seconds written are the true ones)
COLOUR = (3, 32, 32)


def settings_for(chosen: argparse.Namespace, shape: tuple[int, ...]) -> dict[str, Any]:
    """Take the chosen settings with the length of the latent that fits the picture: (small, 32x32 in colour)."""
    settings = SETTINGS[chosen.settings]
    return {**settings, "latent": settings["latent"][shape == COLOUR], "net": "residual" if shape == COLOUR else "perceptron"}


def build(settings: dict[str, Any], shape: tuple[int, ...]) -> BaseAE:
    """Make the autoencoder for pictures of `shape` (C, H, W)."""
    from pythae.models import RAE_L2, VAE, RAE_L2_Config, VAEConfig
    from pythae.models.nn.benchmarks.cifar import Decoder_ResNet_AE_CIFAR, Encoder_ResNet_AE_CIFAR, Encoder_ResNet_VAE_CIFAR

    if settings["model"] == "VAE":
        model, encoder, spec = VAE, Encoder_ResNet_VAE_CIFAR, VAEConfig(input_dim=shape, latent_dim=settings["latent"])
    else:
        model, encoder = RAE_L2, Encoder_ResNet_AE_CIFAR
        spec = RAE_L2_Config(input_dim=shape, latent_dim=settings["latent"], embedding_weight=settings["embedding_weight"])
    if settings["net"] == "perceptron":
        return model(spec)
    return model(spec, encoder=encoder(spec), decoder=Decoder_ResNet_AE_CIFAR(spec))


def main() -> None:
    """Train, fit the sampler, sample and write."""
    chosen = arguments("Pythae's autoencoders with a mixture of Gaussians")
    task = Task.read(chosen.data)

    import torch
    from pythae.data.datasets import DatasetOutput
    from pythae.samplers import GaussianMixtureSampler, GaussianMixtureSamplerConfig

    logging.disable(logging.INFO)
    order = seeded(chosen)
    pictures = task.pictures()
    shape = tuple(pictures.shape[1:])
    settings = settings_for(chosen, shape)
    model = build(settings, shape).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=settings["rate"])

    clock, picks = Clock(chosen.seconds * (1 - FOR_SAMPLER)), batches(len(pictures), settings["batch"], order)
    while clock.running():
        if settings["decay"]:
            optimizer.param_groups[0]["lr"] = settings["rate"] * (1 - clock.fraction)
        loss = model(DatasetOutput(data=pictures[next(picks)])).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    begun = time.perf_counter()
    sampler = GaussianMixtureSampler(model.eval(), GaussianMixtureSamplerConfig(n_components=settings["components"]))
    sampler.fit(pictures)
    training = clock.spent + time.perf_counter() - begun

    begun = time.perf_counter()
    with torch.inference_mode():
        x = uint8(sampler.sample(num_samples=chosen.samples, batch_size=100))[torch.randperm(chosen.samples)]  # they come sorted
    meta = {
        "peer": "pythae", "package": "pythae", "parameters": parameters(model), "steps": clock.steps,
        "training_seconds": training, "sampling_seconds": time.perf_counter() - begun, "settings": settings,
    }
    write_samples(chosen.out, x, y=None, meta=meta)


if __name__ == "__main__":
    main()
