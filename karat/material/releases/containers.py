"""The two forms of a release: a folder with its parts as files, and one file `….karat`. Both are written whole or not at all."""

import hashlib
import os
import shutil
import stat
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from karat.material.releases.archive import Entry, layout, read_entries
from karat.material.releases.manifest import check_name
from karat.words.errors import ReleaseError

EXTENSION = ".karat"
_CHUNK = 1 << 20
_MOST_PARTS = 64


Source = bytes | Path | Callable[[], Iterator[bytes]]
"""Where a part's bytes come from; a function gives them anew, piece by piece, each time it is called."""


class Container(Protocol):
    """The parts of a release, wherever they lie."""

    sizes: Mapping[str, int]

    def read(self, name: str, start: int, length: int) -> bytes:
        """Give bytes of a part. Raises ReleaseError when the file was touched since the container was opened."""
        ...

    def chunks(self, name: str) -> Iterator[bytes]:
        """Read a part through, piece by piece."""
        ...

    def digest(self, name: str) -> str:
        """Read a part through and give its SHA-256. Raises ReleaseError when the container itself knows better."""
        ...


class Measured(NamedTuple):
    """What there is to know of some bytes."""

    sha256: str
    size: int
    crc: int


class FolderContainer:
    """A folder of plain files and nothing else."""

    def __init__(self, folder: Path) -> None:
        self._files: dict[str, WatchedFile] = {}
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.is_symlink():
                raise ReleaseError(f"{entry.name!r} in the release is a link.", repair="Do not trust this release.")
            if not entry.is_file():
                raise ReleaseError(f"{entry.name!r} in the release is no file.", repair="Remove it, or get the release again.")
            check_name(entry.name)
            self._files[entry.name] = WatchedFile(Path(entry.path))
        self.sizes: Mapping[str, int] = {name: file.size for name, file in self._files.items()}

    def read(self, name: str, start: int, length: int) -> bytes:
        return self._files[name].read(start, length)

    def chunks(self, name: str) -> Iterator[bytes]:
        return self._files[name].chunks(0, self.sizes[name])

    def digest(self, name: str) -> str:
        return measure(lambda: self.chunks(name)).sha256


class FileContainer:
    """One file that holds all parts."""

    def __init__(self, path: Path) -> None:
        self._file = WatchedFile(path)
        self._entries, laid = read_entries(self._file.read, self._file.size)
        self._starts = {entry.name: start for entry, start in zip(self._entries, laid.starts, strict=True)}
        self.sizes: Mapping[str, int] = {entry.name: entry.size for entry in self._entries}

    def read(self, name: str, start: int, length: int) -> bytes:
        return self._file.read(self._starts[name] + start, min(length, self.sizes[name] - start))

    def chunks(self, name: str) -> Iterator[bytes]:
        return self._file.chunks(self._starts[name], self.sizes[name])

    def digest(self, name: str) -> str:
        measured = measure(lambda: self.chunks(name))
        if measured.crc != next(entry.crc for entry in self._entries if entry.name == name):
            raise ReleaseError(
                f"The checksum of {name!r} in the release file is wrong.", repair="Get the release again from where it came."
            )
        return measured.sha256


class WatchedFile:
    """A file that must stay as it was when it was first looked at."""

    def __init__(self, path: Path) -> None:
        self._path = path
        state = path.stat()
        self.size = state.st_size
        self._state = _what_changes(state)

    def read(self, start: int, length: int) -> bytes:
        with self._opened() as file:
            file.seek(start)
            return file.read(length)

    def chunks(self, start: int, length: int) -> Iterator[bytes]:
        """Read a stretch piece by piece."""
        with self._opened() as file:
            file.seek(start)
            while length > 0 and (chunk := file.read(min(length, _CHUNK))):
                length -= len(chunk)
                yield chunk

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        try:
            file = self._path.open("rb")
        except OSError as error:
            raise ReleaseError(f"{self._path} cannot be read: {error.strerror}.", repair="Open the release again.") from None
        with file:
            if _what_changes(os.fstat(file.fileno())) != self._state:
                raise ReleaseError(f"{self._path} was changed while it was in use.", repair="Open the release again.")
            yield file


def open_container(path: Path) -> Container:
    """Open a release in either form, without looking at what its parts hold."""
    try:
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
            raise ReleaseError(f"{path} is neither a folder nor a file.", repair="Give the path of a release.")
        container: Container = FolderContainer(path) if path.is_dir() else FileContainer(path)
    except OSError as error:
        raise ReleaseError(f"The release {path} cannot be read: {error.strerror}.", repair="Check the path and its permissions.") from None
    if len(container.sizes) > _MOST_PARTS:
        raise ReleaseError(f"The release {path} has more than {_MOST_PARTS} parts.", repair="Do not trust it.")
    return container


def write_container(path: Path, parts: Mapping[str, Source]) -> Path:
    """Write the parts, in their order, to a temporary neighbour of `path` and give its place; a suffix `.karat` makes one file."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == EXTENSION:
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            temporary = Path(name)
            with os.fdopen(handle, "wb") as file:
                _write_archive(file, parts)
                _flush(file)
            temporary.chmod(0o644)
        else:
            temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
            for part, source in parts.items():
                with (temporary / part).open("wb") as file:
                    _copy(source, file)
                    _flush(file)
            temporary.chmod(0o755)
            _flush_folder(temporary)
        return temporary
    except BaseException as error:
        discard(temporary)
        if isinstance(error, OSError):
            raise _unwritable(path, error) from None
        raise


def move_into_place(temporary: Path, path: Path) -> None:
    """Give a written container its name, which must be free."""
    try:
        if path.exists() or path.is_symlink():
            raise ReleaseError(f"{path} exists already.", repair="A release never changes: choose another name, or delete it first.")
        temporary.rename(path)
        _flush_folder(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from None


def discard(temporary: Path | None) -> None:
    """Delete what was only half written."""
    if temporary is not None and temporary.is_dir():
        shutil.rmtree(temporary, ignore_errors=True)
    elif temporary is not None:
        with suppress(OSError):
            temporary.unlink()


def measure(source: Source) -> Measured:
    """Read some bytes through and say what they are."""
    digest, size, crc = hashlib.sha256(), 0, 0
    try:
        for chunk in _chunks(source):
            digest.update(chunk)
            size += len(chunk)
            crc = zlib.crc32(chunk, crc)
    except OSError as error:
        raise ReleaseError(f"A part cannot be read: {error}.", repair="Check the path and its permissions.") from None
    return Measured(digest.hexdigest(), size, crc)


def _write_archive(file: BinaryIO, parts: Mapping[str, Source]) -> None:
    entries = []
    for name, source in parts.items():
        measured = measure(source)
        entries.append(Entry(name, measured.size, measured.crc))
    laid = layout(entries)
    for header, source in zip(laid.headers, parts.values(), strict=True):
        file.write(header)
        _copy(source, file)
    file.write(laid.tail)


def _chunks(source: Source) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
    elif isinstance(source, Path):
        with source.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
    else:
        yield from source()


def _copy(source: Source, file: BinaryIO) -> None:
    for chunk in _chunks(source):
        file.write(chunk)


def _what_changes(state: os.stat_result) -> tuple[int, int, int, int]:
    assert stat.S_ISREG(state.st_mode), "only plain files are opened"
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unwritable(path: Path, error: OSError) -> ReleaseError:
    return ReleaseError(f"The release cannot be written to {path}: {error.strerror}.", repair="Free some space or choose another place.")
