"""Linear layers that are never trained, with weights of 8 or 4 bits: a quarter or an eighth of the memory, and a little of the accuracy.

Each group of 64 weights has a scale, its largest absolute value. Eight bits are whole numbers times it; four bits the sixteen values of
NormalFloat (Dettmers et al. 2023, arXiv 2305.14314), which lie as normally distributed weights do. They are unfolded in each use, so this
spares memory, not time; it works on any machine. What is rounded is what LoRA's factors learn beside and are merged into.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUP = 64
Bits = Literal[8, 4]


def normal_float() -> Tensor:
    """Give the sixteen values: quantiles of the normal distribution, eight from -1 to 0 and nine from 0 to 1, which share the 0."""
    outermost = 0.5 * (1 / 32 + 1 / 30)
    up = torch.linspace(1 - outermost, 0.5, 9, dtype=torch.float64)[:-1]
    down = torch.linspace(1 - outermost, 0.5, 8, dtype=torch.float64)[:-1]
    values = torch.cat([_quantile(up), torch.zeros(1, dtype=torch.float64), -_quantile(down)]).sort().values
    return (values / values.abs().max()).float()


def _quantile(chances: Tensor) -> Tensor:
    return torch.erfinv(2 * chances - 1)


class Rounded(nn.Module):
    """A linear map (…, in) → (…, out) by rounded weights; the bias stays as it is."""

    codes: Tensor
    scales: Tensor
    levels: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, bits: Bits) -> None:
        super().__init__()
        self.shape, self.bits = weight.shape, bits
        flat = F.pad(weight.detach().flatten().float(), (0, -weight.numel() % GROUP)).view(-1, GROUP)
        scales = flat.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        levels = torch.arange(-127, 128) / 127 if bits == 8 else normal_float()
        places = torch.bucketize(flat / scales, (levels[1:] + levels[:-1]) / 2).to(torch.uint8)
        codes = places if bits == 8 else places[:, ::2] * 16 + places[:, 1::2]
        for name, value in {"codes": codes, "scales": scales, "levels": levels, "bias": None if bias is None else bias.detach()}.items():
            self.register_buffer(name, value, persistent=False)  # the base's weights are in the store already

    @property
    def weight(self) -> Tensor:
        """Give the weights (out, in) as they are used."""
        codes = self.codes if self.bits == 8 else torch.stack([self.codes >> 4, self.codes & 15], -1).flatten(1)
        numbers = self.levels[codes.long()] * self.scales
        return numbers.flatten()[: self.shape.numel()].view(self.shape)

    def forward(self, x: Tensor) -> Tensor:
        product: Tensor = _Unfolded.apply(x, self)
        return product if self.bias is None else product + self.bias


class _Unfolded(torch.autograd.Function):
    """The product with rounded weights, which are unfolded again for the slopes: kept until then, they would fill the memory after all."""

    @staticmethod
    def forward(context: Any, x: Tensor, layer: Rounded) -> Tensor:
        context.layer = layer
        return x @ layer.weight.t().to(x.dtype)

    @staticmethod
    def backward(context: Any, slope: Tensor) -> tuple[Tensor, None]:
        return slope @ context.layer.weight.to(slope.dtype), None
