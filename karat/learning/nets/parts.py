"""The parts that nets are made of: norms, rotary positions, attention, gated layers, modulation, time.

Everything is channels last and knows nothing of modality or rank.
"""

import math
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Norm(nn.Module):
    """Root-mean-square norm (Zhang & Sennrich 2019, arXiv 1910.07467), in full precision whatever comes in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), self.weight.shape, self.weight)


class Attention(nn.Module):
    """Multi-head attention with QK-norm (Henry et al. 2020, arXiv 2010.04245) and rotary positions when `turn` is given.

    `source_NLD` None means self-attention. Keys and values of earlier positions come and go through `cache`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        assert width % heads == 0, f"width {width} must be a multiple of heads {heads}"
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = zeroed(nn.Linear(width, width, bias=False))
        self.query_norm = Norm(width // heads)
        self.key_norm = Norm(width // heads)

    def forward(
        self,
        x_BND: Tensor,
        source_BLD: Tensor | None = None,
        *,
        turn: Tensor | None = None,
        mask: Tensor | None = None,
        causal: bool = False,
        cache: "Cache | None" = None,
    ) -> Tensor:
        source = x_BND if source_BLD is None else source_BLD
        q, k, v = (self._split(part(s)) for part, s in ((self.query, x_BND), (self.key, source), (self.value, source)))
        q, k = self.query_norm(q), self.key_norm(k)
        if turn is not None:
            q, k = rotate(q, turn), rotate(k, turn)
        if cache is not None:
            k, v = cache.extended(k, v)
        return self.out(mixed(q, k, v, mask=mask, causal=causal).transpose(1, 2).flatten(2))

    def _split(self, x_BND: Tensor) -> Tensor:
        return x_BND.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def mixed(q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None, causal: bool = False) -> Tensor:
    """Mix values by how queries meet keys: (B, K, N, D), (B, K, L, D) twice → (B, K, N, D).

    On the CPU always in full precision: there the slope of fused attention in half precision takes seven to twenty times as long.
    """
    if v.device.type != "cpu":
        return F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, attn_mask=mask, is_causal=causal)
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=mask, is_causal=causal)


class Cache:
    """The keys and values of the positions that one attention layer has already seen, grown without copying each time."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.length = capacity, 0
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def extended(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        if self.keys is None or self.values is None:
            shape = (*k.shape[:2], self.capacity, k.shape[-1])
            self.keys, self.values = k.new_empty(shape), v.new_empty(shape)
        end = self.length + k.shape[2]
        self.keys[:, :, self.length : end] = k
        self.values[:, :, self.length : end] = v
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


class GatedLayer(nn.Module):
    """SwiGLU (Shazeer 2020, arXiv 2002.05202), with the hidden width that keeps the parameters of a 4-times plain layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = max(8, round(width * 8 / 3 / 8) * 8)
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = zeroed(nn.Linear(hidden, width, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class TimeEmbedding(nn.Module):
    """A time in [0, 1] as sines and cosines of many frequencies, then two layers."""

    def __init__(self, width: int, frequencies: int = 64) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.layers = nn.Sequential(nn.Linear(2 * frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t_B: Tensor) -> Tensor:
        rates = torch.exp(torch.linspace(0, math.log(1000.0), self.frequencies, device=t_B.device))
        angles = t_B[:, None] * rates
        return self.layers(torch.cat([angles.sin(), angles.cos()], -1))


class Dropout(nn.Module):
    """Leaves numbers out by chance in training, and makes up for them (Srivastava et al. 2014), drawing from `dice`.

    One random byte decides on each number, so chances are multiples of 1/256: eight come from each draw.
    """

    def __init__(self, chance: float) -> None:
        super().__init__()
        self.out_of_256 = round(256 * chance)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.out_of_256:
            return x
        generator = dice.get()
        device = x.device if generator is None else generator.device
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=device)
        fate = words.random_(-(2**63), None, generator=generator).view(torch.uint8)[: x.numel()].to(x.device).view(x.shape)
        return x * (fate >= self.out_of_256).to(x.dtype).mul_(256 / (256 - self.out_of_256))


dice: ContextVar[torch.Generator | None] = ContextVar("dice", default=None)
"""What `Dropout` draws from; torch's own, which all threads share, unless it is set."""


def rotary(coordinates_NA: Tensor, head_width: int) -> Tensor:
    """Give the rotary angles (N, head_width / 2) of positions (Su et al. 2021, arXiv 2104.09864); the A coordinates share the pairs."""
    pairs = head_width // 2
    axes = coordinates_NA.shape[-1]
    each = torch.arange(pairs) % axes
    order = torch.div(torch.arange(pairs), axes, rounding_mode="floor")
    rates = 10_000.0 ** (-order.float() * axes / pairs)
    return coordinates_NA[:, each].float() * rates.to(coordinates_NA.device)


def rotate(x_BKND: Tensor, angles_NP: Tensor) -> Tensor:
    """Turn each pair (i, i + half) of a head's channels by its angle: the layout of Llama."""
    cos, sin = angles_NP.cos().to(x_BKND.dtype), angles_NP.sin().to(x_BKND.dtype)
    first, second = x_BKND[..., : cos.shape[-1]], x_BKND[..., cos.shape[-1] : 2 * cos.shape[-1]]
    turned = torch.cat([first * cos - second * sin, second * cos + first * sin], -1)
    return torch.cat([turned, x_BKND[..., 2 * cos.shape[-1] :]], -1)


def coordinates(shape: tuple[int, ...]) -> Tensor:
    """Give the coordinates (N, A) of a grid's positions in raster order; a space without axes has one position."""
    if not shape:
        return torch.zeros(1, 1)
    return torch.stack(torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij"), -1).reshape(-1, len(shape)).float()


def zeroed(layer: nn.Linear) -> nn.Linear:
    """Start a layer at nothing, so that a residual branch begins as the identity."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def heads_of(width: int) -> int:
    """Give the number of heads: 64 channels each from 256 on, 32 below, always dividing the width."""
    wanted = max(1, width // (64 if width >= 256 else 32))
    return next(heads for heads in range(wanted, 0, -1) if width % (2 * heads) == 0)
