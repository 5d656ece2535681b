"""Disturbances: what the judge must see through, and what a disturbed copy may have been through."""

import torch
from torch import Tensor
from torch.nn import functional as F

from karat.words.specs import Spec


class Disturbance(Spec):
    """How strongly each value is disturbed: shares of the side, degrees, or units of [-1, 1]; `blur` is a chance."""

    shift: float = 0.0
    zoom: float = 0.0
    turn: float = 0.0
    noise: float = 0.0
    blur: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    tint: float = 0.0
    flips: bool = False


def disturbed(x_BHWC: Tensor, how: Disturbance, generator: torch.Generator) -> Tensor:
    """Give each picture disturbed on its own, in [-1, 1] as before."""
    x_BCHW = x_BHWC.movedim(-1, 1)

    def drawn(*shape: int) -> Tensor:
        return torch.rand(len(x_BHWC), *shape, generator=generator) * 2 - 1

    if how.shift or how.zoom or how.turn or how.flips:
        x_BCHW = _moved(x_BCHW, how, drawn(5))
    if how.blur:
        blurred = (drawn(1, 1, 1) + 1) / 2 < how.blur
        x_BCHW = torch.where(blurred, _blurred(x_BCHW), x_BCHW)
    middle_B1 = x_BCHW.mean((1, 2, 3), keepdim=True)
    x_BCHW = (x_BCHW - middle_B1) * (1 + how.contrast * drawn(1, 1, 1)) + middle_B1
    x_BCHW = x_BCHW + how.brightness * drawn(1, 1, 1) + how.tint * drawn(x_BCHW.shape[1], 1, 1)
    if how.noise:
        strength = how.noise * (drawn(1, 1, 1) + 1) / 2
        x_BCHW = x_BCHW + strength * torch.randn(x_BCHW.shape, generator=generator)
    return x_BCHW.clamp(-1, 1).movedim(1, -1)


def blurred(x_BHWC: Tensor) -> Tensor:
    """Blur with a 3 x 3 binomial filter."""
    return _blurred(x_BHWC.movedim(-1, 1)).movedim(1, -1)


def shifted(x_BHWC: Tensor, down: int, right: int) -> Tensor:
    """Move pictures by whole pixels; the edge is repeated."""
    height, width = x_BHWC.shape[1:3]
    rows = (torch.arange(height) - down).clamp(0, height - 1)
    columns = (torch.arange(width) - right).clamp(0, width - 1)
    return x_BHWC[:, rows][:, :, columns]


def mirrored(x_BHWC: Tensor) -> Tensor:
    return x_BHWC.flip(2)


def _moved(x_BCHW: Tensor, how: Disturbance, drawn_B5: Tensor) -> Tensor:
    angle_B = drawn_B5[:, 0] * how.turn * torch.pi / 180
    scale_B = 1 + drawn_B5[:, 1] * how.zoom
    side_B = torch.where(drawn_B5[:, 4] > 0, 1.0, -1.0) if how.flips else torch.ones(len(drawn_B5))
    cosine_B, sine_B = angle_B.cos() * scale_B, angle_B.sin() * scale_B
    across = torch.stack([cosine_B * side_B, -sine_B, 2 * how.shift * drawn_B5[:, 2]], 1)
    along = torch.stack([sine_B * side_B, cosine_B, 2 * how.shift * drawn_B5[:, 3]], 1)
    grid = F.affine_grid(torch.stack([across, along], 1), list(x_BCHW.shape), align_corners=False)
    return F.grid_sample(x_BCHW, grid, padding_mode="border", align_corners=False)


def _blurred(x_BCHW: Tensor) -> Tensor:
    row = torch.tensor([0.25, 0.5, 0.25])
    filters = (row[:, None] * row).expand(x_BCHW.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(x_BCHW, (1, 1, 1, 1), mode="replicate"), filters, groups=x_BCHW.shape[1])
