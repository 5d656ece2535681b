"""Blobs: bytes kept under their SHA-256 in a local folder.

A blob is written beside its place and renamed into it, so a reader sees all of it or nothing. `put` waits for the disk; a bulk import
puts many blobs with `wait=False` and calls `settle` once before it commits the records that name them. A crash in between can
leave a blob shorter than it was, which is why `put` compares sizes before it believes that a blob is there already.
"""

import ctypes
import errno
import hashlib
import io
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol

from karat.words.errors import DamageError, NotFoundError, StoreError

CHUNK = 1 << 20
BATCH = 500
STALE_SECONDS = 24 * 3600
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Blobs(Protocol):
    """Where blobs are kept, as `LocalBlobs` says of a folder."""

    def put(self, source: bytes | Path | BinaryIO, *, wait: bool = True) -> str: ...

    def settle(self) -> None: ...

    def take(self, files: Iterable[tuple[str, Path]]) -> Iterator[int]: ...

    def has(self, digest: str) -> bool: ...

    def holds(self, digest: str, size: int) -> bool: ...

    def path(self, digest: str) -> Path: ...

    def read(self, digest: str) -> bytes: ...

    def part(self, digest: str, first: int, length: int) -> bytes: ...

    def lines(self, digest: str) -> Iterator[bytes]: ...

    def digests(self) -> Iterator[str]: ...

    def remove(self, digests: Iterable[str]) -> None: ...


class LocalBlobs:
    """A folder of blobs, fanned out over 256 folders by the first two digits of their digests."""

    def __init__(self, folder: Path, *, again: str = "import or make it again") -> None:
        self.folder, self._again = folder, again
        self._incoming = folder / "incoming"
        self._verified: set[str] = set()
        try:
            self._incoming.mkdir(parents=True, exist_ok=True)
            self._sweep()
        except OSError as error:
            raise store_error(error, folder) from None

    def put(self, source: bytes | Path | BinaryIO, *, wait: bool = True, first: Callable[[str], None] = lambda digest: None) -> str:
        """Keep bytes, a file or a stream, and give their digest; with `wait=False` they are durable only after `settle`.

        `first` is told the digest of a blob before it takes its place, and may raise to leave it out.
        """
        try:
            with _opened(source) as reading:
                return self._keep(reading, wait, first)
        except OSError as error:
            raise store_error(error, Path(error.filename or self.folder)) from None

    def settle(self) -> None:
        """Wait until everything that was put is on the disk."""
        libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(libc, "syncfs"):
            os.sync()
            return
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            if libc.syncfs(folder) != 0:
                code = ctypes.get_errno()
                raise store_error(OSError(code, os.strerror(code)), self.folder)
        finally:
            os.close(folder)

    def take(self, files: Iterable[tuple[str, Path]]) -> Iterator[int]:
        """Keep the files of another place of blobs, by their digests; say now and then how many are kept."""
        done, waiting = 0, iter(files)
        while some := list(islice(waiting, BATCH)):
            for digest, file in some:
                if not self.holds(digest, file.stat().st_size):
                    self.put(file, wait=False)
            self.settle()
            done += len(some)
            yield done

    def has(self, digest: str) -> bool:
        return self.path(digest).is_file()

    def holds(self, digest: str, size: int) -> bool:
        """Say whether a blob is there in its full size, which a crash may have cut short."""
        try:
            return os.stat(self._place(digest)).st_size == size
        except FileNotFoundError:
            return False

    def path(self, digest: str) -> Path:
        """Give the place of a blob, whether it is there or not."""
        return Path(self._place(digest))

    def read(self, digest: str) -> bytes:
        """Give a whole blob. Raises NotFoundError, or DamageError when the bytes are not what the digest says."""
        with self._open(digest) as reading:
            content = reading.read()
        if hashlib.sha256(content).hexdigest() != digest:
            raise self._damage(digest)
        return content

    def part(self, digest: str, first: int, length: int) -> bytes:
        """Give some bytes of a blob, which is verified when it is first read from."""
        if digest not in self._verified:
            for _ in self.lines(digest):
                break
            self._verified.add(digest)
        with self._open(digest) as reading:
            reading.seek(first)
            return reading.read(length)

    def lines(self, digest: str) -> Iterator[bytes]:
        """Stream the lines of a blob, after its bytes have been verified."""
        with self._open(digest) as reading:
            seen = hashlib.sha256()
            while chunk := reading.read(CHUNK):
                seen.update(chunk)
            if seen.hexdigest() != digest:
                raise self._damage(digest)
            reading.seek(0)
            yield from reading

    def digests(self) -> Iterator[str]:
        """Give the digest of every blob, in order."""
        for folder in sorted(self.folder.glob("[0-9a-f][0-9a-f]")):
            yield from (folder.name + name for name in sorted(os.listdir(folder)))

    def remove(self, digests: Iterable[str]) -> None:
        """Remove some blobs, which nothing may need any more."""
        for digest in digests:
            try:
                self.path(digest).unlink(missing_ok=True)
            except OSError as error:
                raise store_error(error, self.path(digest)) from None
            self._verified.discard(digest)

    def _open(self, digest: str) -> BinaryIO:
        try:
            return self.path(digest).open("rb")
        except FileNotFoundError:
            raise NotFoundError(f"The store holds no blob {digest[:12]}.", repair="Import or make it again.") from None
        except OSError as error:
            raise store_error(error, self.path(digest)) from None

    def _damage(self, digest: str) -> DamageError:
        return DamageError(
            f"The blob {digest[:12]} is damaged: its bytes are not what its digest says.",
            repair=f"Restore {self.path(digest)} from a backup, or delete it and {self._again}.",
        )

    def _keep(self, reading: BinaryIO, wait: bool, first: Callable[[str], None]) -> str:
        """Keep a stream; one that ends within its first chunk is known before anything is written, and often is there already."""
        start = reading.read(CHUNK)
        rest = reading.read(CHUNK)
        digest = hashlib.sha256(start)
        if not rest and self.holds(digest.hexdigest(), len(start)):
            return digest.hexdigest()
        unfinished = f"{self._incoming}/{uuid.uuid4().hex}"
        try:
            with open(unfinished, "xb", buffering=0) as writing:
                size = _write(writing, start)
                while rest:
                    digest.update(rest)
                    size += _write(writing, rest)
                    rest = reading.read(CHUNK)
                if wait:
                    os.fsync(writing.fileno())
            if not self.holds(digest.hexdigest(), size):
                first(digest.hexdigest())
                self._move(unfinished, digest.hexdigest(), wait)
                return digest.hexdigest()
        except BaseException:
            Path(unfinished).unlink(missing_ok=True)
            raise
        os.unlink(unfinished)
        return digest.hexdigest()

    def _move(self, unfinished: str, digest: str, wait: bool) -> None:
        place = self._place(digest)
        try:
            os.replace(unfinished, place)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(place), exist_ok=True)
            os.replace(unfinished, place)
        if wait:
            _fsync_folder(os.path.dirname(place))

    def _place(self, digest: str) -> str:
        return f"{self.folder}/{digest[:2]}/{digest[2:]}"

    def _sweep(self) -> None:
        """Remove what killed processes left half-written, but nothing that may still be growing."""
        for left in self._incoming.iterdir():
            try:
                if time.time() - left.stat().st_mtime > STALE_SECONDS:
                    left.unlink(missing_ok=True)
            except FileNotFoundError:
                continue


def store_error(error: OSError, place: Path) -> StoreError:
    """Say in a sentence why a file of the store cannot be read or written, and how to repair it."""
    if error.errno in NO_ROOM:
        return StoreError(f"The disk is full: {place} cannot be written.", repair="Free some space, or give a store on another disk.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StoreError(f"{place} may not be accessed: {error.strerror}.", repair="Change its permissions, or give a store elsewhere.")
    return StoreError(f"{place} cannot be used: {error.strerror or error}.", repair="Check the path and the disk.")


def _opened(source: bytes | Path | BinaryIO) -> AbstractContextManager[BinaryIO]:
    """Open what was given; a stream that was lent stays open afterwards."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    return source.open("rb") if isinstance(source, Path) else nullcontext(source)


def _write(writing: io.RawIOBase, content: bytes) -> int:
    """Write all of some bytes; a full disk may take a part of them before it says so."""
    left = memoryview(content)
    while left:
        left = left[writing.write(left) :]
    return len(content)


def _fsync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
