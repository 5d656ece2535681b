"""Rows on disk: one packed array for each sample, read by position, so that memory does not grow with the number of samples."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

IN_MEMORY = 16 << 20
"""Files up to this many bytes are read whole at once; from larger ones each row is read when it is asked for."""


class Rows:
    """The rows of a .npy file."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            self.shape, _, self.dtype = np.lib.format.read_array_header_1_0(file)
            self._offset = file.tell()
        self._size = self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64))
        self._whole = np.load(path) if self._size * len(self) <= IN_MEMORY else None
        self._file = path.open("rb") if self._whole is None else None

    def __len__(self) -> int:
        return int(self.shape[0])

    def take(self, indices: Iterable[int]) -> np.ndarray:
        """Give the rows at some positions, in their order: (len(indices), *row)."""
        if self._file is None:
            assert self._whole is not None
            return self._whole[np.fromiter(indices, np.int64)]
        handle = self._file.fileno()
        parts = [os.pread(handle, self._size, self._offset + int(index) * self._size) for index in indices]
        return np.frombuffer(b"".join(parts), self.dtype).reshape(len(parts), *self.shape[1:])

    def windows(self, indices: Iterable[int], shift: int) -> np.ndarray:
        """Give rows as if each began `shift` places later in the file; the last one begins where it still ends with it."""
        width = int(self.shape[1])
        parts = [self._run(first, width) for first in self._firsts(indices, shift)]
        return np.stack(parts) if parts else np.empty((0, width), self.dtype)

    def before(self, indices: Iterable[int], shift: int) -> np.ndarray:
        """Give what stands before each of those rows in the file: (len(indices),); 0 before the first."""
        return np.array([self._run(first - 1, 1)[0] if first else 0 for first in self._firsts(indices, shift)], self.dtype)

    def _firsts(self, indices: Iterable[int], shift: int) -> Iterator[int]:
        width = int(self.shape[1])
        return (min(int(index) * width + shift, (len(self) - 1) * width) for index in indices)

    def _run(self, first: int, length: int) -> np.ndarray:
        """Give some places of the file as if it were one long row."""
        if self._file is None:
            assert self._whole is not None
            return self._whole.reshape(-1)[first : first + length]
        size = self.dtype.itemsize
        return np.frombuffer(os.pread(self._file.fileno(), length * size, self._offset + first * size), self.dtype)


class RowWriter:
    """Writes rows one after the other; the file appears whole, under its name, when the block ends without an error."""

    def __init__(self, path: Path, first: np.ndarray) -> None:
        self._path, self._temporary = path, path.with_name(f".{path.name}.{os.getpid()}")
        self._dtype, self._shape, self._count = first.dtype, first.shape, 0
        self._file = self._temporary.open("wb")
        self._head()

    def _head(self) -> None:
        """Write the header, which has room for any count."""
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": (self._count, *self._shape)}
        self._file.seek(0)
        np.lib.format.write_array_header_1_0(self._file, header)

    def write(self, row: np.ndarray) -> None:
        assert (row.shape, row.dtype) == (self._shape, self._dtype), f"row {row.dtype} {row.shape} among {self._dtype} {self._shape}"
        self._file.write(row.tobytes())
        self._count += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self._head()
            self._file.close()
            if kind is None:
                self._temporary.rename(self._path)
        finally:
            self._temporary.unlink(missing_ok=True)
