"""Spelling: the bytes that each id stands for, and text as it comes out of them, never a half character.

Byte-level vocabularies write a byte as a printable character (Radford et al. 2019, the table of GPT-2); others name bytes as in <0x0A> and
a space as ▁.
"""

import codecs
import json
import re
from collections.abc import Sequence
from typing import Any

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def spelling_of(tokenizer: Any) -> list[bytes]:
    """Give the bytes of each id of a `tokenizers.Tokenizer`; marks have none."""
    said = json.loads(tokenizer.to_str())
    marks = {token["id"] for token in said["added_tokens"] if token["special"]}
    by_byte = '"ByteLevel"' in json.dumps(said["decoder"])
    spelled = [b""] * tokenizer.get_vocab_size()
    for token, id in tokenizer.get_vocab().items():
        if id not in marks and id < len(spelled):
            spelled[id] = _of_bytes(token) if by_byte else _of_characters(token)
    return spelled


class Speller:
    """Text out of ids, one after the other: what is not yet a whole character waits, what never becomes one is U+FFFD."""

    def __init__(self, spelling: Sequence[bytes]) -> None:
        self._spelling = spelling
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def say(self, id: int) -> str:
        """Give the text that an id completes."""
        return self._decoder.decode(self._spelling[id])

    def rest(self) -> str:
        """Give what is left where the text ends."""
        return self._decoder.decode(b"", final=True)


def _of_bytes(token: str) -> bytes:
    return bytes(_PRINTED[character] for character in token) if all(character in _PRINTED for character in token) else token.encode()


def _of_characters(token: str) -> bytes:
    byte = _BYTE.fullmatch(token)
    return bytes([int(byte[1], 16)]) if byte else token.replace("▁", " ").encode()


def _printed() -> dict[str, int]:
    """Give the byte of each character that stands for one: those that print stand for themselves, the others follow from 256 on."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in own]
    return {chr(byte): byte for byte in own} | {chr(256 + place): byte for place, byte in enumerate(others)}


_PRINTED = _printed()
