"""Tensors in a safetensors file, each read only when it is asked for, from any place in any file.

The format is 8 bytes of header length, a JSON header, and the numbers in a row. The library reads whole files from disk; here the file
may lie inside another one, and the header is checked before a single number is read.
"""

import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from safetensors.torch import save
from torch import Tensor

from karat.words.errors import DataError

_HEADER_LIMIT = 64_000_000
_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {kind: name for name, kind in _TYPES.items()}


class Shape(NamedTuple):
    """What a tensor looks like from outside."""

    type: str
    """The name that safetensors gives the type of its numbers, for example F32."""
    sides: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.type} {list(self.sides)}"


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    """Give the shapes of some tensors, to compare with those in a file."""
    return {name: Shape(_NAMES[tensor.dtype], tuple(tensor.shape)) for name, tensor in tensors.items()}


def tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Give the safetensors file of some tensors: the same tensors always give the same bytes. Shared memory is written apart."""
    # Metadata would end the sameness: the library writes it in an order that changes with each call.
    return save({name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()})


class TensorFile(Mapping[str, Tensor]):
    """The tensors of one file as a mapping whose values are read on access.

    `read(start, length)` gives bytes of the file. Raises DataError for a header that does not fit the file.
    """

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read = read
        self._start, header = _header(read, size)
        self.shapes: dict[str, Shape] = {}
        self._places: dict[str, tuple[int, int]] = {}
        end = 0
        for name, entry in sorted(header.items(), key=lambda item: _offsets(item[1])):
            kind, sides, (begin, stop) = entry["dtype"], entry["shape"], _offsets(entry)
            if kind not in _TYPES or not all(isinstance(side, int) and side >= 0 for side in sides):
                raise _broken(f"{name} has a type or shape that is not known")
            if begin != end or stop - begin != math.prod(sides) * _TYPES[kind].itemsize:
                raise _broken(f"{name} does not lie where its shape says")
            self.shapes[name] = Shape(kind, tuple(sides))
            self._places[name] = (begin, stop)
            end = stop
        if self._start + end != size:
            raise _broken("its length is not what its header says")

    def __getitem__(self, name: str) -> Tensor:
        begin, stop = self._places[name]
        kind, sides = self.shapes[name]
        if begin == stop:
            return torch.empty(sides, dtype=_TYPES[kind])
        numbers = bytearray(self._read(self._start + begin, stop - begin))
        return torch.frombuffer(numbers, dtype=_TYPES[kind]).reshape(sides)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.shapes))

    def __len__(self) -> int:
        return len(self.shapes)


def _header(read: Callable[[int, int], bytes], size: int) -> tuple[int, dict[str, Any]]:
    """Give where the numbers start, and the header's entries."""
    if size < 8:
        raise _broken("it is shorter than its header")
    (length,) = struct.unpack("<Q", read(0, 8))
    if length > min(size - 8, _HEADER_LIMIT):
        raise _broken("its header is longer than the file")
    try:
        header = json.loads(read(8, length))
    except (ValueError, RecursionError):
        raise _broken("its header is not JSON") from None
    if not isinstance(header, dict):
        raise _broken("its header holds no tensors")
    header.pop("__metadata__", None)
    for entry in header.values():
        if not isinstance(entry, dict) or not isinstance(entry.get("shape"), list) or not isinstance(entry.get("dtype"), str):
            raise _broken("its header has an entry that is no tensor")
        _offsets(entry)
    return 8 + length, header


def _offsets(entry: dict[str, Any]) -> tuple[int, int]:
    match entry.get("data_offsets"):
        case [int(begin), int(stop)]:
            return begin, stop
    raise _broken("its header has an entry without a place")


def _broken(reason: str) -> DataError:
    return DataError(f"The tensors cannot be read: {reason}.", repair="Get the file again from where it came.")
