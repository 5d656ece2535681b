"""Documents: .txt, .md and .docx files, each one text, as pieces of at most a megabyte.

Of a .docx file (ECMA-376) the text of its paragraphs is read, without headers, footnotes, comments and what was deleted. Its XML is
streamed, its size is bounded before it is unfolded, and a document type, in which entities could be declared, is refused.
"""

import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import BinaryIO
from xml.parsers import expat

from karat.material.data.texts.encodings import Numbered
from karat.words.errors import DataError

DOCUMENTS = frozenset((".txt", ".md", ".markdown", ".docx"))
PIECE = 1 << 20
"""Bytes of UTF-8 that a sample holds at most."""
CHUNK = 1 << 18
WORDS = "word/document.xml"
MAX_UNFOLDED = 1 << 28
MAX_RATIO = 200
ENDS = ("\n\n", "\n", "。", ". ", " ")
"""Where a piece may end, the best first."""


def is_document(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in DOCUMENTS


def pieces(chunks: Iterable[str]) -> Iterator[str]:
    """Cut a text where it is longer than a piece: after a paragraph, else a line, a sentence, a word, else a character. Nothing is lost."""
    held: list[str] = []
    size = 0
    for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size > PIECE:
            text = "".join(held)
            while len(text) > PIECE:
                end = _end(text)
                yield text[:end]
                text = text[end:]
            held, size = [text], len(text)
    text = "".join(held)
    while text:
        end = _end(text)
        yield text[:end]
        text = text[end:]


def lines_of(numbered: Numbered) -> Numbered:
    """Give the lines that say something, without their ends."""
    for number, line in numbered:
        if line is None or line.strip():
            yield number, line and line.removesuffix("\n")


def paragraphs_of(numbered: Numbered) -> Numbered:
    """Join the lines between empty ones, with the number of the first; a paragraph of more than a megabyte ends at a line."""
    held: list[str] = []
    first, size = 1, 0
    for number, line in numbered:
        if held and (line is None or not line.strip() or size > PIECE):
            yield first, "".join(held).removesuffix("\n")
            held, size = [], 0
        if line is None:
            yield number, None
        elif line.strip():
            first = first if held else number
            held.append(line)
            size += len(line)
    if held:
        yield first, "".join(held).removesuffix("\n")


def _end(text: str) -> int:
    """Give where the first piece of a text ends."""
    room = len(text[:PIECE].encode()[:PIECE].decode("utf-8", "ignore"))
    if room == len(text):
        return room
    for mark in ENDS:
        place = text.rfind(mark, room // 2, room)
        if place >= 0:
            return place + len(mark)
    marks = next((back for back in range(64) if not unicodedata.combining(text[room - back])), 0)
    return room - marks


def docx_text(reading: BinaryIO, name: str) -> Iterator[str]:
    """Stream the text of a .docx file. Raises DataError that names a file which is none, or would unfold without end."""
    try:
        with zipfile.ZipFile(reading) as packed:
            about = packed.getinfo(WORDS)
            if about.file_size > MAX_UNFOLDED or about.file_size > max(1 << 24, MAX_RATIO * about.compress_size):
                raise DataError(f"{name} would unfold to {about.file_size >> 20} megabytes, as bombs do.", repair="Do not trust this file.")
            parser = _Paragraphs(name)
            with packed.open(about) as content:
                while chunk := content.read(CHUNK):
                    yield parser.read(chunk)
            yield parser.read(b"")
    except (zipfile.BadZipFile, zlib.error, expat.ExpatError, KeyError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        reason = "it holds no text" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{name} cannot be read as .docx: {reason}.", repair="Open and save it in a word processor, or leave it out."
        ) from None


class _Paragraphs:
    """Reads WordprocessingML: the characters of runs, tabs, breaks, and an end of line after each paragraph."""

    SIGNS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "\u2011"}

    def __init__(self, name: str) -> None:
        self._name = name
        self._read: list[str] = []
        self._in_run = False
        self._skipped = 0
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._said
        self._parser.StartDoctypeDeclHandler = self._refuse

    def read(self, chunk: bytes) -> str:
        """Give the text of the next bytes; no bytes are the end."""
        self._parser.Parse(chunk, not chunk)
        text = "".join(self._read)
        self._read.clear()
        return text

    def _start(self, element: str, attributes: dict[str, str]) -> None:
        space, _, word = element.rpartition(" ")
        if word == "Fallback" or self._skipped:  # the same text again, for programs that cannot draw the first form
            self._skipped += 1
        elif "wordprocessingml" in space:
            self._in_run = word == "t"
            self._read.append(self.SIGNS.get(word, ""))

    def _end(self, element: str) -> None:
        self._in_run = False
        if self._skipped:
            self._skipped -= 1
        elif element.endswith(" p") and "wordprocessingml" in element:
            self._read.append("\n")

    def _said(self, text: str) -> None:
        if self._in_run and not self._skipped:
            self._read.append(text)

    def _refuse(self, *declared: object) -> None:
        raise DataError(f"{self._name} declares a document type, which no word processor writes.", repair="Do not trust this file.")
