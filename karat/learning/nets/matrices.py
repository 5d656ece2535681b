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
TINY = 1e-30
"""The least scale of a row: one of zeros stays zeros."""


class Matrix(Protocol):
    """A matrix (K, N) that rows are multiplied with from the left."""

    def times(self, x_MK: Tensor) -> Tensor:
        """Give the products (M, N) in float32."""
        ...

    def onto(self, x_MN: Tensor, h_MK: Tensor) -> Tensor:
        """Give x plus the products of h."""
        ...


class Full:
    """A matrix in float32."""

    def __init__(self, weight_KN: Tensor) -> None:
        self.weight_KN = weight_KN.contiguous()

    def times(self, x_MK: Tensor) -> Tensor:
        return x_MK @ self.weight_KN

    def onto(self, x_MN: Tensor, h_MK: Tensor) -> Tensor:
        return torch.addmm(x_MN, h_MK, self.weight_KN)


class Half:
    """A matrix in bfloat16; rows are rounded to it as they come, sums are kept in float32."""

    def __init__(self, weight_KN: Tensor) -> None:
        self.weight_NK = weight_KN.t().to(torch.bfloat16).contiguous()

    def times(self, x_MK: Tensor) -> Tensor:
        return F.linear(x_MK.to(torch.bfloat16), self.weight_NK).float()

    def onto(self, x_MN: Tensor, h_MK: Tensor) -> Tensor:
        return F.linear(h_MK.to(torch.bfloat16), self.weight_NK) + x_MN


class Quarter:
    """A matrix in whole numbers of 8 bits, for CPUs."""

    def __init__(self, weight_KN: Tensor) -> None:
        weight_NK = weight_KN.t().contiguous()
        self.scale_N = (weight_NK.abs().amax(1) / LARGEST).clamp_min_(TINY)
        rounded_NK = (weight_NK / self.scale_N[:, None]).round_().to(torch.int8)
        self.zero_N = torch.zeros(len(rounded_NK), dtype=torch.int64)
        self.packed = torch.ops.onednn.qlinear_prepack(rounded_NK, None)

    def times(self, x_MK: Tensor) -> Tensor:
        rounded_MK, scale_M1 = _rounded(x_MK)
        return self._products(rounded_MK).mul_(scale_M1)

    def onto(self, x_MN: Tensor, h_MK: Tensor) -> Tensor:
        rounded_MK, scale_M1 = _rounded(h_MK)
        return torch.addcmul(x_MN, self._products(rounded_MK), scale_M1)

    def _products(self, rounded_MK: Tensor) -> Tensor:
        """Give the products of whole numbers, in the matrix's scales."""
        packed, scale, zero = self.packed, self.scale_N, self.zero_N
        made: Tensor = torch.ops.onednn.qlinear_pointwise(
            rounded_MK, 1.0, 0, packed, scale, zero, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return made


def _rounded(x_MK: Tensor) -> tuple[Tensor, Tensor]:
    """Give rows as whole numbers, and the scale (M, 1) of each."""
    scale_M1 = x_MK.abs().amax(-1, keepdim=True).div_(LARGEST).clamp_min_(TINY)
    return (x_MK / scale_M1).round_().to(torch.int8), scale_M1


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
    whole = device.type == "cpu" and torch.backends.mkldnn.is_available()
    return ("float32", "bfloat16", "int8") if whole else ("float32", "bfloat16")
