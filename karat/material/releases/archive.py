"""The one zip file that a release's parts make: stored, in order, dated 1980, nothing between them, nothing after them.

Because the parts' names, lengths and checksums fix every other byte, a reader lays the file out again and compares: a changed byte anywhere
is seen, and everything that makes zip files dangerous (compression, links, overlaps, hidden data, two directories) has no way in. Any zip
program can unpack it.
"""

import stat
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from karat.material.releases.manifest import check_name
from karat.words.errors import ReleaseError

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64 = struct.Struct("<4sIQI")
_DATE_1980 = 0x0021
_PLAIN_FILE = (stat.S_IFREG | 0o644) << 16
_BIG = 0xFFFFFFFF
_DIRECTORY_LIMIT = 1_000_000


class Entry(NamedTuple):
    """One part as the zip directory knows it."""

    name: str
    size: int
    crc: int


class Layout(NamedTuple):
    """Where everything lies: the header before each part, where the part's own bytes start, and the directory after them all."""

    headers: list[bytes]
    starts: list[int]
    tail_start: int
    tail: bytes


def layout(entries: Sequence[Entry]) -> Layout:
    """Lay out a zip file with these parts."""
    headers, starts, directory, place = [], [], [], 0
    for entry in entries:
        header = _local(entry)
        directory.append(_central(entry, place))
        headers.append(header)
        starts.append(place + len(header))
        place += len(header) + entry.size
    index = b"".join(directory)
    return Layout(headers, starts, place, index + _end(len(entries), len(index), place))


def read_entries(read: Callable[[int, int], bytes], size: int) -> tuple[list[Entry], Layout]:
    """Read a file's directory and check every byte that belongs to no part. `read(start, length)` gives bytes of the file."""
    count, length, start = _find_directory(read, size)
    entries = _parse(read(start, length), count)
    laid = layout(entries)
    same_tail = size == laid.tail_start + len(laid.tail) and read(laid.tail_start, len(laid.tail)) == laid.tail
    places = zip(laid.headers, laid.starts, strict=True)
    if not same_tail or any(read(begin - len(header), len(header)) != header for header, begin in places):
        raise ReleaseError(
            "The release file was changed or packed again: bytes between its parts are not as Karat writes them.",
            repair="Get it again; if it was packed by hand, unpack it and open the folder.",
        )
    return entries, laid


def _local(entry: Entry) -> bytes:
    big = entry.size >= _BIG
    extra = struct.pack("<2H2Q", 1, 16, entry.size, entry.size) if big else b""
    shown = _BIG if big else entry.size
    name = entry.name.encode("ascii")
    head = _LOCAL.pack(b"PK\3\4", 45 if big else 20, 0, 0, 0, _DATE_1980, entry.crc, shown, shown, len(name), len(extra))
    return head + name + extra


def _central(entry: Entry, place: int) -> bytes:
    big_size, big_place = entry.size >= _BIG, place >= _BIG
    wide = [entry.size, entry.size] * big_size + [place] * big_place
    extra = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    version = 45 if wide else 20
    size, offset = _BIG if big_size else entry.size, _BIG if big_place else place
    name = entry.name.encode("ascii")
    made_by = 3 << 8 | version  # Unix, so that the file mode counts
    lengths = (len(name), len(extra), 0, 0, 0)
    head = _CENTRAL.pack(b"PK\1\2", made_by, version, 0, 0, 0, _DATE_1980, entry.crc, size, size, *lengths, _PLAIN_FILE, offset)
    return head + name + extra


def _end(count: int, length: int, start: int) -> bytes:
    if start < _BIG:
        return _END.pack(b"PK\5\6", 0, 0, count, count, length, start, 0)
    wide = _END_64.pack(b"PK\6\6", _END_64.size - 12, 3 << 8 | 45, 45, 0, 0, count, count, length, start)
    locator = _LOCATOR_64.pack(b"PK\6\7", 0, start + length, 1)
    return wide + locator + _END.pack(b"PK\5\6", 0, 0, count, count, length, _BIG, 0)


def _find_directory(read: Callable[[int, int], bytes], size: int) -> tuple[int, int, int]:
    """Give the directory's number of entries, length and place, from the file's last bytes."""
    if size < _END.size:
        raise _no_release()
    mark, _, _, _, count, length, start, comment = _END.unpack(read(size - _END.size, _END.size))
    if mark != b"PK\5\6" or comment:
        raise _no_release()
    if start == _BIG and size >= _END.size + _LOCATOR_64.size + _END_64.size:
        wide = read(size - _END.size - _LOCATOR_64.size - _END_64.size, _END_64.size)
        mark, *_, length, start = _END_64.unpack(wide)
        if mark != b"PK\6\6":
            raise _no_release()
    if length > _DIRECTORY_LIMIT or start + length > size:
        raise _no_release()
    return count, length, start


def _parse(directory: bytes, count: int) -> list[Entry]:
    """Read the directory's entries, naming what is dangerous; the comparison of layouts catches the rest."""
    entries: list[Entry] = []
    place = 0
    for _ in range(count):
        if place + _CENTRAL.size > len(directory) or directory[place : place + 4] != b"PK\1\2":
            raise _no_release()
        _, _, _, _, method, _, _, crc, _, size, name_length, extra_length, comment, _, _, mode, _ = _CENTRAL.unpack_from(directory, place)
        place += _CENTRAL.size
        name = directory[place : place + name_length].decode("ascii", errors="backslashreplace")
        extra = directory[place + name_length : place + name_length + extra_length]
        place += name_length + extra_length + comment
        if method != 0:
            raise ReleaseError(f"The part {name!r} is compressed.", repair="Parts are stored as they are; do not trust this file.")
        if stat.S_ISLNK(mode >> 16):
            raise ReleaseError(f"The part {name!r} is a link.", repair="A release holds plain files only; do not trust this file.")
        if size == _BIG and len(extra) >= 12:
            (size,) = struct.unpack_from("<Q", extra, 4)
        check_name(name)
        if name in (entry.name for entry in entries):
            raise ReleaseError(f"The part {name!r} is there twice.", repair="Do not trust this file.")
        entries.append(Entry(name, size, crc))
    return entries


def _no_release() -> ReleaseError:
    return ReleaseError("The file is no release, or it was cut off or added to.", repair="Get it again from where it came.")
