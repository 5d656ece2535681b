"""Finding the encoding of a text: UTF-8, UTF-16, GB 18030, Big5, and Windows-1252 for old English files.

A byte order mark says it, and so do bytes that are whole UTF-8. Where neither does, each candidate is read and judged by how many of its
characters beyond ASCII are everyday ones: on Tang poems the right reading scores 0.65, the wrong one 0.06.
"""

import codecs
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO

from karat.words.errors import DataError

CHUNK = 1 << 20
WINDOW = 1 << 18
"""Bytes from which an encoding is judged."""
MAX_LINE = 1 << 24
"""Characters of the longest line that is read as one."""
MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
CODECS = {"big5": "cp950"}
"""Where Python's codec has another name than what we call the encoding: Big5 as Windows writes it."""
BROKEN = "\ufffd"
Numbered = Iterator[tuple[int, str | None]]
BREAKS = 0.2
"""The share of characters beyond ASCII that may be broken in what is still called a text."""
STRAY = 0.01
"""The share of control characters that may stray into a text; old collections have backspaces in them."""
EVERYDAY = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多经么去法学如都"
    "同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工使情明性知全三又关点正业外将两高间由"
    "问很最重并物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位次度门任常先海通教儿原东声提立及比员解水名真"
    "论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目太量再感建务做接必场件计管期市直德资命山金指克许统区保至队形社便空"
    "决治展马科司五基眼书非则听白却界达光放强即像难且权思王象完设式色路记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观清今切院让识"
    "候带导争运笔风花云春秋夜雨江归客君独千里愁故送落草寒青远深红玉酒飞城"
    "這個們來為國說時會對過發後裡種經麼學現當沒動還進樣開從實軍無與長機關點業將兩間問並應戰頭體見產話給東聲員論處義幾認條係氣題爾別變總電數報結"
    "務場計資許統區隊決馬書則聽達強難權設記類據邊張該規萬覺術領確傳師觀讓識帶導爭運筆風雲歸獨遠紅飛愛歲鄉"
    "，。、；：？！「」『』（）《》〈〉“”‘’…—·　０１２３４５６７８９"
)
WESTERN = frozenset("‘’“”–—…•·«»¡¿°±½¼¾²³×£¥€§©®™´ªºàâäáãåæçèéêëìíîïñòóôöõøœùúûüýÿßÀÂÄÁÃÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÖÕØŒÙÚÛÜÝ\xa0")
CONTROL_BYTES = bytes(byte for byte in range(32) if byte not in b"\t\n\v\f\r\x1a\x1b")
CONTROLS = re.compile(f"[{re.escape(CONTROL_BYTES.decode())}]")


@dataclass(frozen=True)
class Encoding:
    """How a text's bytes are to be read. `damaged` where some of them are no characters; they are read as U+FFFD."""

    name: str = "utf-8"
    damaged: bool = False

    @property
    def codec(self) -> str:
        return CODECS.get(self.name, self.name)


def found_encoding(reopen: Callable[[], AbstractContextManager[BinaryIO]], name: str) -> Encoding:
    """Find the encoding of a file, all of which is read. Raises DataError that names the file when it is no text."""
    with reopen() as reading:
        start = reading.read(CHUNK)
        encoding = next((encoding for mark, encoding in MARKS if start.startswith(mark)), None)
        if encoding is None:
            window = _first_break(start, reading)
            if window is None:
                return Encoding()
            encoding = _judged(window)
            if encoding is None:
                raise _no_text(name, window)
    beyond, broken, controls, size = 0, 0, 0, 0
    with reopen() as reading:
        for text in _read(reading, encoding):
            beyond += len(text) - len(text.encode("ascii", "ignore"))
            broken += text.count(BROKEN)
            controls += len(CONTROLS.findall(text))
            size += len(text)
            if "\0" in text:
                raise _no_text(name, b"\0")
    if broken > BREAKS * beyond or controls > STRAY * size:
        raise _no_text(name, b"\0" if controls else b"")
    return Encoding(encoding, damaged=broken > 0)


def characters(reading: BinaryIO, encoding: Encoding) -> Iterator[str]:
    """Stream a text in chunks, without the mark at its beginning and with every end of line as one \\n."""
    ends = io.IncrementalNewlineDecoder(None, translate=True)
    first = True
    for text in _read(reading, encoding.codec):
        chunk = ends.decode(text)
        yield chunk.removeprefix("\ufeff") if first else chunk
        first = False
    yield ends.decode("", final=True)


def lines(reading: BinaryIO, encoding: Encoding) -> Numbered:
    """Stream the lines of a text with their numbers."""
    return lines_in(characters(reading, encoding))


def lines_in(chunks: Iterable[str]) -> Numbered:
    """Stream lines with their numbers, each with its end; one of more than 16 million characters is None, and is not held in memory."""
    number, held, lost = 1, "", False
    for chunk in chunks:
        *whole, rest = chunk.split("\n")
        for line in whole:
            yield number, None if lost else f"{held}{line}\n"
            number, held, lost = number + 1, "", False
        held += rest
        if len(held) > MAX_LINE:
            held, lost = "", True
    if held or lost:
        yield number, None if lost else held


def decoded(content: bytes, name: str) -> str:
    """Give the text of some bytes. Raises DataError that names the file when they are none."""

    def reopen() -> BinaryIO:
        return io.BytesIO(content)

    return "".join(characters(reopen(), found_encoding(reopen, name)))


def _read(reading: BinaryIO, codec: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(CODECS.get(codec, codec))("replace")
    while chunk := reading.read(CHUNK):
        yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)


def _first_break(start: bytes, reading: BinaryIO) -> bytes | None:
    """Read on while it is UTF-8 with hardly a control character: give None at the end, or what to judge by, from where that ends."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    window, chunk, last = b"", start, False
    while not last:
        last = not chunk
        before = decoder.getstate()[0]
        if b"\0" in chunk or len(chunk) - len(chunk.translate(None, CONTROL_BYTES)) > STRAY * len(chunk):
            return window + chunk[:WINDOW]
        try:
            decoder.decode(chunk, final=last)
        except UnicodeDecodeError as error:
            return window + _beyond_ascii((before + chunk)[max(0, error.start - WINDOW // 4) :])
        if not window and not chunk.isascii():
            window = _beyond_ascii(before + chunk)
        chunk = reading.read(CHUNK)
    return None


def _beyond_ascii(content: bytes) -> bytes:
    """Give some lines from the one on in which the first bytes beyond ASCII stand."""
    first = next((place for place, byte in enumerate(content) if byte > 127), 0)
    return content[content.rfind(b"\n", 0, first) + 1 :][:WINDOW]


def _judged(window: bytes) -> str | None:
    """Give the encoding whose reading of some bytes is the most plausible; the earlier one where two are equally so, None where none is."""
    text = window.decode("utf-8", "replace")
    beyond = sum(character > "\x7f" for character in text)
    if text.count(BROKEN) <= BREAKS * beyond and "\0" not in text:
        return "utf-8"
    scores = {name: _plausible(window, name) for name in ("gb18030", "big5")}
    scores |= {name: _wide(window, name) for name in ("utf-16-le", "utf-16-be")}
    scores["windows-1252"] = _share(window.decode("windows-1252", "replace"), WESTERN) / 4 if beyond <= 0.2 * len(window) else 0.0
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] > 0.1 else None


def _wide(window: bytes, encoding: str) -> float:
    """Give the share of everyday characters and printable ASCII in what would be UTF-16; text of one byte a character makes rare signs."""
    text = window[: len(window) // 2 * 2].decode(encoding, "replace")
    good = sum(character in EVERYDAY or " " <= character <= "~" or character in "\t\r\n" for character in text)
    bad = sum(character == BROKEN or character < "\t" for character in text)
    return (good - bad) / len(text) - 0.15 if len(text) >= 8 else 0.0


def _plausible(window: bytes, encoding: str) -> float:
    """Give the share of everyday characters, counting those of the standard's first level, which schools teach, for a fifth."""
    text = window.decode(CODECS.get(encoding, encoding), "replace")
    old, first, last = ("gb2312", 0xA1, 0xD7) if encoding == "gb18030" else ("big5", 0xA1, 0xC6)
    score = 0.0
    counts = Counter(character for character in text if character > "\x7f")
    for character, count in counts.items():
        lead = character.encode(old, "ignore")[:1]
        score += count if character in EVERYDAY else 0.2 * count if lead and first <= lead[0] <= last else 0.0
        score -= count if character == BROKEN else 0.0
    return score / max(1, counts.total())


def _share(text: str, known: frozenset[str]) -> float:
    beyond = [character for character in text if character > "\x7f"]
    return sum(character in known for character in beyond) / max(1, len(beyond))


def _no_text(name: str, content: bytes) -> DataError:
    why = "holds bytes that no text has, as files of programs do" if b"\0" in content else "is no text in UTF-8, UTF-16, GB 18030 or Big5"
    return DataError(f"{name} {why}.", repair="Save it as a text in UTF-8, or leave it out.")
