"""Where a picture file keeps its XMP packet: read, put in and replaced without touching a pixel's bytes.

PNG keeps it in an iTXt chunk, JPEG in an APP1 segment, WebP in an `XMP ` chunk (XMP specification part 3; WebP container specification).
Only the container is walked here; nothing is decoded.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Protocol

from karat.words.errors import DataError
from karat.words.registry import Registry

_PNG_MARK = b"\x89PNG\r\n\x1a\n"
_PNG_XMP = b"XML:com.adobe.xmp"
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_JPEG_LIMIT = 65_533
_TEXT_LIMIT = 16_000_000


class Carrier(Protocol):
    """A file format that can carry an XMP packet."""

    def fits(self, file: bytes) -> bool:
        """Tell whether the bytes start like this format."""
        ...

    def packet(self, file: bytes) -> bytes | None:
        """Give the file's XMP packet. Raises DataError for a damaged container."""
        ...

    def with_packet(self, file: bytes, packet: bytes) -> bytes:
        """Give the file with this packet and no other."""
        ...


carriers: Registry[Carrier] = Registry("carrier")


def carrier_of(file: bytes) -> Carrier | None:
    """Give the carrier for a file, None when its format has none."""
    return next((carrier for carrier in carriers.values() if carrier.fits(file)), None)


class PngCarrier:
    """Chunks of length, kind, body and checksum."""

    def fits(self, file: bytes) -> bool:
        return file.startswith(_PNG_MARK)

    def packet(self, file: bytes) -> bytes | None:
        for kind, body in _png_chunks(file):
            if _is_png_xmp(kind, body):
                return _png_text(body)
        return None

    def with_packet(self, file: bytes, packet: bytes) -> bytes:
        made = [_PNG_MARK]
        for kind, body in _png_chunks(file):
            if not _is_png_xmp(kind, body):
                made.append(_png_chunk(kind, body))
            if kind == b"IHDR":
                made.append(_png_chunk(b"iTXt", _PNG_XMP + b"\0\0\0\0\0" + packet))
        return b"".join(made)


def _png_chunks(file: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(_PNG_MARK)
    while place + 12 <= len(file):
        (length,) = struct.unpack_from(">I", file, place)
        kind, body = file[place + 4 : place + 8], file[place + 8 : place + 8 + length]
        place += length + 12
        if place > len(file) or _png_chunk(kind, body) != file[place - length - 12 : place]:
            break
        yield kind, body
        if kind == b"IEND":
            return
    raise _damaged("PNG")


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _is_png_xmp(kind: bytes, body: bytes) -> bool:
    return kind == b"iTXt" and body.startswith(_PNG_XMP + b"\0")


def _png_text(body: bytes) -> bytes:
    """Give the text of an iTXt chunk: keyword, compressed or not, method, language, translated keyword, text."""
    compressed = body[len(_PNG_XMP) + 1 : len(_PNG_XMP) + 2] == b"\1"
    parts = body[len(_PNG_XMP) + 3 :].split(b"\0", 2)
    if len(parts) != 3:
        raise _damaged("PNG")
    if not compressed:
        return parts[2]
    try:
        return zlib.decompressobj().decompress(parts[2], _TEXT_LIMIT)
    except zlib.error:
        raise _damaged("PNG") from None


class JpegCarrier:
    """Segments of a marker, a length and a body, until the pixels begin."""

    def fits(self, file: bytes) -> bool:
        return file.startswith(b"\xff\xd8\xff")

    def packet(self, file: bytes) -> bytes | None:
        for start, end in _jpeg_segments(file):
            if _is_jpeg_xmp(file, start):
                return file[start + 4 + len(_JPEG_XMP) : end]
        return None

    def with_packet(self, file: bytes, packet: bytes) -> bytes:
        body = _JPEG_XMP + packet
        if len(body) > _JPEG_LIMIT:
            raise DataError(
                f"What the file should carry is {len(packet)} bytes; a JPEG holds 65,000.", repair="Write a PNG or a WebP instead."
            )
        ours = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
        made, placed, rest = [file[:2]], False, 2
        for start, end in _jpeg_segments(file):
            # Readers expect JFIF (APP0) and EXIF (the first APP1) at the very beginning.
            if not placed and not (file[start + 1] == 0xE0 or file[start + 4 : start + 8] == b"Exif"):
                made.append(ours)
                placed = True
            if not _is_jpeg_xmp(file, start):
                made.append(file[start:end])
            rest = end
        return b"".join([*made, *([] if placed else [ours]), file[rest:]])


def _jpeg_segments(file: bytes) -> Iterator[tuple[int, int]]:
    """Give where each segment before the pixels starts and ends."""
    place = 2
    while place + 4 <= len(file) and file[place] == 0xFF:
        if file[place + 1] == 0xDA:
            return
        if file[place + 1] == 0xFF:  # padding before a marker
            place += 1
            continue
        (length,) = struct.unpack_from(">H", file, place + 2)
        end = place + 2 + length
        if length < 2 or end > len(file):
            break
        yield place, end
        place = end
    raise _damaged("JPEG")


def _is_jpeg_xmp(file: bytes, start: int) -> bool:
    return file[start + 1] == 0xE1 and file.startswith(_JPEG_XMP, start + 4)


class WebpCarrier:
    """RIFF chunks; a picture that carries more than pixels begins with a VP8X chunk that says so."""

    def fits(self, file: bytes) -> bool:
        return file.startswith(b"RIFF") and file[8:12] == b"WEBP"

    def packet(self, file: bytes) -> bytes | None:
        return next((body for kind, body in _riff_chunks(file) if kind == b"XMP "), None)

    def with_packet(self, file: bytes, packet: bytes) -> bytes:
        chunks = [(kind, body) for kind, body in _riff_chunks(file) if kind != b"XMP "]
        if not chunks:
            raise _damaged("WebP")
        if chunks[0][0] != b"VP8X":
            chunks.insert(0, (b"VP8X", _extended_head(*chunks[0])))
        head = bytearray(chunks[0][1])
        head[0] |= 0x04
        chunks[0] = (b"VP8X", bytes(head))
        body = b"".join(_riff_chunk(kind, content) for kind, content in [*chunks, (b"XMP ", packet)])
        return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _riff_chunks(file: bytes) -> Iterator[tuple[bytes, bytes]]:
    if len(file) < 12 or struct.unpack_from("<I", file, 4)[0] + 8 > len(file):
        raise _damaged("WebP")
    place, end = 12, struct.unpack_from("<I", file, 4)[0] + 8
    while place + 8 <= end:
        (length,) = struct.unpack_from("<I", file, place + 4)
        if place + 8 + length > end:
            raise _damaged("WebP")
        yield file[place : place + 4], file[place + 8 : place + 8 + length]
        place += 8 + length + length % 2


def _riff_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _extended_head(kind: bytes, body: bytes) -> bytes:
    """Give the VP8X chunk for a simple picture: a byte of flags, three empty ones, width - 1 and height - 1 in 24 bits each."""
    if kind == b"VP8L" and len(body) >= 5 and body[0] == 0x2F:
        (bits,) = struct.unpack_from("<I", body, 1)
        width, height, alpha = bits & 0x3FFF, bits >> 14 & 0x3FFF, bits >> 28 & 1
    elif kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a" and len(body) >= 10:
        wide, high = struct.unpack_from("<HH", body, 6)
        width, height, alpha = (wide & 0x3FFF) - 1, (high & 0x3FFF) - 1, 0
    else:
        raise _damaged("WebP")
    if min(width, height) < 0:
        raise _damaged("WebP")
    return bytes([0x10 * alpha, 0, 0, 0]) + width.to_bytes(3, "little") + height.to_bytes(3, "little")


def _damaged(kind: str) -> DataError:
    return DataError(f"The {kind} file is damaged or truncated.", repair="Make it again, or get it again from where it came.")


carriers.add("png")(PngCarrier())
carriers.add("jpeg")(JpegCarrier())
carriers.add("webp")(WebpCarrier())
