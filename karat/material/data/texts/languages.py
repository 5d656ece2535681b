"""Languages: English, Chinese or another, told by scripts and by common words; and text whose encoding was mistaken once (mojibake).

No model is needed for so coarse a question. A text is Chinese by its Han characters, unless kana stand among them. One in Latin letters
is English by its commonest words, counted against those of its neighbours; where no common word stands at all, plain ASCII letters count
as English, which a short phrase of another language may pass for.
"""

import re
import unicodedata
from typing import Literal

Language = Literal["en", "zh", "other"]

SEEN = 5_000
"""How many characters of a text are looked at for its language."""
HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
CHINESE = re.compile(r"[\u3000-\u3002\u300a-\u3011\u3400-\u4dbf\u4e00-\u9fff\uff01\uff0c\uff1a\uff1b\uff1f]")
KANA = re.compile(r"[\u3040-\u30ff]")
LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")
ACCENTED = re.compile(r"[\u00c0-\u024f]")
WORD = re.compile(r"[a-z\u00df-\u024f']+")
COMMON = {
    "en": "the of and to a in is that it was for on are as with his they be at this have from or had by not but what were we"
    " when your can said there an each which she do how their if will up other about out many then them these so some her"
    " would him into has look two more go no could my than been who its now did get may i you he me us our all just one",
    "fr": "le la les un une des du et est dans que qui pour pas sur avec ce cette il elle nous vous sont au aux de en ne se sa"
    " son ses mais ou",
    "de": "der die das und ist ein eine einen einem einer den dem des nicht mit sich auf für von zu im auch er es sie wir aus"
    " bei nach wird",
    "es": "el los las una uno del y es por con para su al lo como más pero sus este esta son sin se muy",
    "it": "il lo gli della di che non per sono del nel alla ma anche più come questo",
    "pt": "o os as um uma do da dos das em não com por para seu sua mais foi",
    "nl": "de het een van en is dat niet op te zijn met voor er ook aan",
}
"""The commonest words of English, and of the languages in Latin letters that it is told from."""
ENGLISH = frozenset(COMMON["en"].split())
FOREIGN = frozenset(" ".join(COMMON.values()).split()) - ENGLISH
MOST_HAN = 0.3
"""From which share of its letters on Han characters make a text Chinese: each of them says as much as two or three Latin letters."""
MOST_KANA = 0.05

RUN_OF_LATIN = re.compile(r"[\u0080-\u00ff\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]{2,}")
RUN_OF_HAN = re.compile(r"[\u00b7\u2014-\u2026\u3000-\u303f\u3400-\u9fff\ue000-\uf8ff\uff00-\uffef]{3,}")
LOST = "\ufffd"
TWICE_LOST = "锟斤拷"
"""What two lost characters become when their UTF-8 is read as GBK."""


def language_of(text: str) -> Language:
    """Say whether a text is in English, in Chinese, or in another language or none."""
    seen = text[:SEEN]
    han, kana, latin = len(HAN.findall(seen)), len(KANA.findall(seen)), len(LATIN.findall(seen))
    letters = han + kana + latin if seen.isascii() else sum(map(str.isalpha, seen))
    if not letters or kana > MOST_KANA * letters:
        return "other"
    if han >= MOST_HAN * letters:
        return "zh"
    if latin < letters / 2:
        return "other"
    return "en" if _is_english(seen) else "other"


def mojibake(text: str) -> str | None:
    """Say what shows that a text was once read in the wrong encoding; None where nothing does."""
    if text.isascii():
        return None
    if TWICE_LOST in text:
        return f"It holds {TWICE_LOST}, which is what lost characters become when they are read as GBK."
    if lost := text.count(LOST):
        return f"{lost} characters of it are lost (U+FFFD)."
    for found in RUN_OF_LATIN.finditer(text):
        if meant := _utf8_in_latin(found[0]) or _gbk_in_latin(found[0]):
            return f"It says {found[0][:20]!r} for {meant[:20]!r}."
    for found in RUN_OF_HAN.finditer(text):
        if meant := _utf8_in_gbk(found[0]):
            return f"It says {found[0][:20]!r} for {meant[:20]!r}."
    return None


def _is_english(text: str) -> bool:
    words = WORD.findall(text.lower())
    english = sum(word in ENGLISH for word in words)
    foreign = sum(word in FOREIGN for word in words)
    if english == foreign == 0:
        return not ACCENTED.search(text)
    return english > foreign


def _utf8_in_latin(run: str) -> str | None:
    """Undo UTF-8 that was read as Windows-1252 or Latin-1; None where that gives no UTF-8."""
    meant = _undone(b"".join(_byte_of(each) for each in run), "utf-8")
    return meant if meant and any(map(_is_said, meant)) else None


def _byte_of(character: str) -> bytes:
    """Give the byte that Windows-1252 shows so; the five that it does not know are read as in Latin-1."""
    try:
        return character.encode("cp1252")
    except UnicodeEncodeError:
        return character.encode("latin-1", "replace")


def _gbk_in_latin(run: str) -> str | None:
    """Undo GBK that was read as Latin-1: three common characters or more, in the two-byte form of GB 2312."""
    if len(run) < 6 or len(run) % 2:
        return None
    meant = _undone(run.encode("latin-1", "ignore"), "gb2312")
    return meant if meant and len(meant) == len(run) // 2 and all(map(CHINESE.match, meant)) else None


def _utf8_in_gbk(run: str) -> str | None:
    """Undo UTF-8 that was read as GBK. A character may have been lost at either end; Chinese as it should be gives hardly any UTF-8."""
    meant = run[:2000].encode("gb18030").decode("utf-8", "replace")
    said = len(CHINESE.findall(meant))
    return meant.strip(LOST) if said >= 2 and meant.count(LOST) <= 0.2 * len(meant) + 1 and said > len(meant) / 2 else None


def _undone(content: bytes, encoding: str) -> str | None:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return None


def _is_said(character: str) -> bool:
    """Say whether a character is one that people write: a letter, mark, digit, punctuation or symbol beyond ASCII."""
    return character > "\x9f" and character != LOST and unicodedata.category(character)[0] in "LMNPSZ"
