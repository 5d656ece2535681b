"""The places that data is read from: a folder, a zip file or a single file. Files are streamed and opened one at a time.

Nothing is ever written under a name that a zip file gives. A zip file whose names point outside of it, or which would unfold to much more
than it is, is refused.
"""

import os
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Protocol, cast

from karat.store.files import SeenFile
from karat.words.errors import DataError

PICTURES = frozenset((".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"))
METADATA = frozenset(("metadata.jsonl", "metadata.csv"))
LICENCES = frozenset(("license", "licence", "copying"))
MAX_FILE = 2 << 30
MAX_RATIO = 200
MAX_UNFOLDED = 1 << 30
MAX_TEXT = 1 << 20


class Place(Protocol):
    """Where files are read from. `raw` is the place's own name for a file, `name` is the one that people read."""

    title: str
    location: str

    def scan(self) -> Iterator[SeenFile]: ...

    def open(self, raw: bytes) -> BinaryIO: ...

    def caption_of(self, raw: bytes) -> bytes | None: ...


def open_place(path: Path) -> Place:
    """Open a folder, a zip file or a file for reading."""
    if path.is_dir():
        return Folder(path)
    if path.is_file():
        suffix = path.suffix.lower()
        packed = suffix == ".zip" or (suffix != ".docx" and zipfile.is_zipfile(path))
        return Zip(path) if packed else OneFile(path)
    if path.exists():
        raise DataError(f"{path} is neither a file nor a folder.", repair="Give a file, a folder or a .zip of one.")
    raise DataError(f"There is no file or folder {path}.", repair="Check the path.")


class Folder:
    """A folder and all below it; hidden files and links to folders are passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.title = readable(os.fsencode(self.path.name)) or "data"
        self.location = f"folder:{self.path}"

    def scan(self) -> Iterator[SeenFile]:
        waiting = [b""]
        while waiting:
            below = waiting.pop()
            try:
                with os.scandir(os.path.join(os.fsencode(self.path), below)) as entries:
                    for entry in entries:
                        raw = os.path.join(below, entry.name)
                        if entry.name.startswith(b"."):
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(raw)
                        elif (file := _seen(raw, entry)) is not None:
                            yield file
            except OSError as error:
                raise DataError(
                    f"{self.path / readable(below)} cannot be read: {error.strerror}.", repair="Change its permissions."
                ) from None

    def open(self, raw: bytes) -> BinaryIO:
        return open(os.path.join(os.fsencode(self.path), raw), "rb")

    def caption_of(self, raw: bytes) -> bytes | None:
        try:
            with self.open(os.path.splitext(raw)[0] + b".txt") as reading:
                return reading.read(MAX_TEXT)
        except FileNotFoundError:
            return None


class OneFile:
    """A file by itself; one beside it with the same stem is its caption."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._folder = Folder(self._path.parent)
        self._raw = os.fsencode(path.name)
        self.title = readable(os.fsencode(path.stem))
        self.location = f"file:{self._folder.path / path.name}"

    def scan(self) -> Iterator[SeenFile]:
        file = _seen(self._raw, self._path)
        yield from [file] if file else []

    def open(self, raw: bytes) -> BinaryIO:
        return self._folder.open(raw)

    def caption_of(self, raw: bytes) -> bytes | None:
        return self._folder.caption_of(raw)


class Zip:
    """The files of a zip file, read without unpacking it."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.title = readable(os.fsencode(self.path.stem))
        self.location = f"zip:{self.path}"
        try:
            self._zip = zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read as a zip file: {error}.", repair="Download or make it again.") from None
        self._entries = [entry for entry in self._zip.infolist() if not entry.is_dir()]
        self._check()
        self._captions = {entry.filename: entry for entry in self._entries if entry.filename.lower().endswith(".txt")}

    def scan(self) -> Iterator[SeenFile]:
        for number, entry in enumerate(self._entries):
            name = _zip_name(entry)
            if any(part.startswith((".", "__MACOSX")) for part in name.split("/")):
                continue
            yield SeenFile(f"{number}".encode(), unicodedata.normalize("NFC", name), entry.file_size, f"crc:{entry.CRC:08x}")

    def open(self, raw: bytes) -> BinaryIO:
        return cast(BinaryIO, _ZipReading(self._zip.open(self._entries[int(raw)])))

    def caption_of(self, raw: bytes) -> bytes | None:
        stem = os.path.splitext(self._entries[int(raw)].filename)[0]
        entry = self._captions.get(stem + ".txt")
        if entry is None:
            return None
        with self._zip.open(entry) as reading:
            return reading.read(MAX_TEXT)

    def _check(self) -> None:
        unfolded = sum(entry.file_size for entry in self._entries)
        packed = sum(entry.compress_size for entry in self._entries)
        if unfolded > MAX_UNFOLDED and unfolded > MAX_RATIO * max(packed, 1):
            raise DataError(
                f"{self.path} would unfold to {unfolded >> 20} megabytes from {packed >> 20}, as zip bombs do.",
                repair="Unpack it yourself if you trust it, and import the folder.",
            )
        for entry in self._entries:
            name = _zip_name(entry)
            if name.startswith("/") or ".." in name.split("/") or name[1:2] == ":" or "\0" in name:
                raise DataError(f"{self.path} holds a file called {name!r}, which points outside of it.", repair="Do not trust this file.")
            if entry.flag_bits & 1:
                raise DataError(f"{self.path} is encrypted.", repair="Unpack it with its password, and import the folder.")
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise DataError(f"{self.path} holds a link, {name!r}.", repair="Pack the file itself in place of the link.")


class _ZipReading:
    """An entry of a zip file whose damage shows as an OSError, as a file's does."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def __enter__(self) -> "_ZipReading":
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        try:
            return self._stream.read(size)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise OSError(None, f"it is damaged inside the zip file ({error})") from None


def readable(raw: bytes) -> str:
    """Give a file name as text in NFC: UTF-8 where it is that, else GB 18030, else with its strange bytes spelt out."""
    for encoding in ("utf-8", "gb18030"):
        try:
            return unicodedata.normalize("NFC", raw.decode(encoding))
        except UnicodeDecodeError:
            continue
    return raw.decode("ascii", "backslashreplace")


def is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in PICTURES


def is_metadata(name: str) -> bool:
    return PurePosixPath(name).name.lower() in METADATA


def is_licence(name: str) -> bool:
    return "/" not in name and PurePosixPath(name).stem.lower() in LICENCES


def is_readme(name: str) -> bool:
    return "/" not in name and PurePosixPath(name).stem.lower() == "readme"


def _seen(raw: bytes, file: "os.DirEntry[bytes] | Path") -> SeenFile | None:
    """Note a plain file, or a link to one; sockets and devices are no files, a link to nothing is one that cannot be read."""
    try:
        status = file.stat()
    except OSError:
        return SeenFile(raw, readable(raw), 0, "broken")
    if not stat.S_ISREG(status.st_mode):
        return None
    return SeenFile(raw, readable(raw), status.st_size, f"mtime:{status.st_mtime_ns}")


def _zip_name(entry: zipfile.ZipInfo) -> str:
    """Give an entry's name; where the zip file does not say UTF-8, undo the code page that `zipfile` assumed."""
    name = entry.filename if entry.flag_bits & 0x800 else readable(entry.filename.encode("cp437", "replace"))
    return name.replace("\\", "/")
