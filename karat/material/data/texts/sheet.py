"""A sheet of tokens: texts as a model will see them, with a bar between one token and the next."""

from collections.abc import Iterable, Iterator

from karat.values.codecs.text import SPECIALS, TextCodec
from karat.values.passages import Passage

LEGEND = "A bar stands between tokens. (3) says that the character before it takes three of them; <end> ends a text, <user> begins a turn."
MOST = 8
"""Tokens that are shown as one when they make no character together."""


def token_sheet(codec: TextCodec, passages: Iterable[tuple[str, Passage]], *, title: str) -> str:
    """Write passages with their names, each as far as a row of the codec reaches."""
    return "\n\n".join([f"{title}\n{LEGEND}", *(_shown(codec, name, passage) for name, passage in passages)]) + "\n"


def _shown(codec: TextCodec, name: str, passage: Passage) -> str:
    ids, learnt = codec.written(passage)
    counted = f"{len(ids):,} tokens, {int(learnt.sum()):,} of them to be learnt" if passage.turns else f"{len(ids):,} tokens"
    cut = f" (the first {codec.length:,} are shown)" if len(ids) > codec.length else ""
    return f"{name}: {counted}{cut}\n{'|'.join(_tokens(codec, ids[: codec.length].tolist()))}"


def _tokens(codec: TextCodec, ids: list[int]) -> Iterator[str]:
    """Give the text of each token; tokens that are parts of one character come together."""
    waiting: list[int] = []
    for id in ids:
        if id < len(SPECIALS):
            if waiting:
                yield f"{codec.text(waiting)}({len(waiting)})"
            yield SPECIALS[id]
            waiting = []
            continue
        waiting.append(id)
        text = codec.text(waiting)
        if not text.endswith("\ufffd") or len(waiting) == MOST:
            yield text if len(waiting) == 1 else f"{text}({len(waiting)})"
            waiting = []
    if waiting:
        yield f"{codec.text(waiting)}({len(waiting)})"
