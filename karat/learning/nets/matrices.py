"""Matrices of a finished net, kept so that rows are multiplied with them fast: as they are, in bfloat16, or in whole numbers of 8 bits.

In int8 each column of a matrix has a scale of its own, and so has each row that comes in, found when it comes (Dettmers et al. 2022, arXiv
2208.07339, without their outliers). Products of whole numbers are exact, so a row's numbers do not depend on the rows beside it.
"""

from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from karat.words.errors import SpecError

Precision = Literal["float32", "bfloat16", "int8"]
"""How the numbers of a model are kept."""
LARGEST = 127
"""The largest whole number of 8 bits whose negative is one too."""
NARROW = 63
"""The largest of a row's where two products of 8 bits are added in 16: with 127 for both they would not fit."""
TINY = 1e-30
"""The least scale of a row: one of zeros stays zeros."""


class Matrix(Protocol):
    """A matrix (K, N) that rows are multiplied with from the left."""

    least: int
    """The fewest rows for which one gets the same bits as among many."""

    def times(self, x_MK: Tensor) -> Tensor:
        """Give the products (M, N) in float32."""
        ...

    def onto(self, x_MN: Tensor, h_MK: Tensor) -> Tensor:
        """Give x plus the products of h."""
        ...


class Full:
    """A matrix in float32."""

    least = 2

    def __init__(self, weight_KN: Tensor) -> None:
        self.weight_KN = weight_KN.contiguous()

    def times(self, x_MK: Tensor) -> Tensor:
        return x_MK @ self.weight_KN

    def onto(self, x_MN: Tensor, h_MK: Tensor) -> Tensor:
        return torch.addmm(x_MN, h_MK, self.weight_KN)


class Half:
    """A matrix in bfloat16; rows are rounded to it as they come, sums are kept in float32."""

    least = 2

    def __init__(self, weight_KN: Tensor) -> None:
        weight_NK = weight_KN.t().to(torch.bfloat16).contiguous()
        self.is_packed = has_onednn(weight_NK.device) and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight_NK, None) if self.is_packed else weight_NK

    def times(self, x_MK: Tensor) -> Tensor:
        return self._products(x_MK).float()

    def onto(self, x_MN: Tensor, h_MK: Tensor) -> Tensor:
        return self._products(h_MK) + x_MN

    def _products(self, x_MK: Tensor) -> Tensor:
        x_MK = x_MK.to(torch.bfloat16)
        if not self.is_packed:
            return F.linear(x_MK, self.weight)
        made: Tensor = torch.ops.mkldnn._linear_pointwise(x_MK, self.weight, None, "none", [], "")
        return made


class Quarter:
    """A matrix in whole numbers of 8 bits, for CPUs."""

    least = 1

    def __init__(self, weight_KN: Tensor) -> None:
        weight_NK = weight_KN.t().contiguous()
        scale_N = (weight_NK.abs().amax(1) / LARGEST).clamp_min_(TINY)
        rounded_NK = (weight_NK / scale_N[:, None]).round_().to(torch.int8)
        # A row comes as parts of its largest number, and without a sign.
        self.parts = LARGEST if adds_in_full() else NARROW
        self.scale_N, self.zero_N = scale_N / self.parts, torch.zeros(len(rounded_NK), dtype=torch.int64)
        self.packed = torch.ops.onednn.qlinear_prepack(rounded_NK, None)
        self.middle = torch.tensor(self.parts + 1.5)

    def times(self, x_MK: Tensor) -> Tensor:
        products_MN, largest_M1 = self._products(x_MK)
        return products_MN.mul_(largest_M1)

    def onto(self, x_MN: Tensor, h_MK: Tensor) -> Tensor:
        return torch.addcmul(x_MN, *self._products(h_MK))

    def _products(self, x_MK: Tensor) -> tuple[Tensor, Tensor]:
        """Give the products of rows whose largest number is 1, and what it was (M, 1)."""
        largest_M1 = x_MK.abs().amax(-1, keepdim=True).clamp_min_(TINY)
        # What is cut to a whole number half above it is rounded.
        rounded_MK = torch.addcdiv(self.middle, x_MK, largest_M1, value=self.parts).to(torch.uint8)
        packed, scale, zero = self.packed, self.scale_N, self.zero_N
        made: Tensor = torch.ops.onednn.qlinear_pointwise(
            rounded_MK, 1.0, self.parts + 1, packed, scale, zero, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return made, largest_M1


def matrix_of(weight_KN: Tensor, precision: Precision) -> Matrix:
    """Give a matrix in a precision. Raises SpecError where the machine cannot multiply in it."""
    if precision == "float32":
        return Full(weight_KN)
    if precision == "bfloat16":
        return Half(weight_KN)
    if precision not in precisions_on(weight_KN.device):
        raise SpecError(
            "Whole numbers are multiplied on CPUs, by oneDNN, which this machine has not.", repair="Write with precision=float32."
        )
    return Quarter(weight_KN)


def precisions_on(device: torch.device) -> tuple[Precision, ...]:
    """Give the precisions that a device can multiply in."""
    return ("float32", "bfloat16", "int8") if has_onednn(device) else ("float32", "bfloat16")


def has_onednn(device: torch.device) -> bool:
    """Say whether oneDNN multiplies here."""
    return device.type == "cpu" and torch.backends.mkldnn.is_available()


def adds_in_full() -> bool:
    """Say whether the processor adds products of 8 bits in 32: without the instructions for it (VNNI) pairs are added in 16, and cut."""
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("avx512_vnni", "avx_vnni"))
