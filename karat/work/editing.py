"""Editing texts with a model that fills gaps: blanks are filled, spans written anew, and every character outside of them stays.

How many tokens a blank takes is asked of the model itself: of all lengths that are tried, the one whose whole row costs the fewest nats.
"""

import re
from collections.abc import Sequence
from itertools import zip_longest
from typing import cast

import torch
from pydantic import Field
from torch import Tensor

from karat.learning.families.family import stream_seed
from karat.learning.models import Model
from karat.values.codecs.text import SPECIALS, TextCodec
from karat.values.given import Given
from karat.words.errors import SpecError
from karat.work.generation import Ready, repeated
from karat.work.requests import Request

BLANK = re.compile("_{3,}")
TRIED = 4
"""A blank may take up to twice so many tokens, a span nearly so many fewer or so many more than it had."""
UNWRITTEN = dict.fromkeys(range(len(SPECIALS)), -1e4)
"""What is added to the logits of marks: no gap is filled by the end of the text or by a turn."""
WEIGHED = 16
"""How many times each try is weighed, each time with other gaps."""


class Edit(Request):
    """What is to be edited: a text with blanks of three or more underscores, or with spans of characters to be written anew."""

    text: str
    spans: tuple[tuple[int, int], ...] = ()
    tokens: int | None = Field(None, ge=1, description="tokens in each gap; left open: the model chooses")

    def pieces(self) -> list[str]:
        """Give what stays, in order; between each two lies a gap. Raises SpecError when there is none."""
        if not self.spans:
            pieces = BLANK.split(self.text)
            if len(pieces) == 1:
                raise SpecError("The text has nothing to fill.", repair="Write ___ where something is missing, or name a span.")
            return pieces
        ends = [0, *(end for span in sorted(self.spans) for end in span), len(self.text)]
        if ends != sorted(ends):
            raise SpecError(f"The spans do not lie within the {len(self.text)} characters of the text, apart.", repair="Count from 0.")
        return [self.text[first:last] for first, last in zip(ends[::2], ends[1::2], strict=True)]


def edited(ready: Ready, edit: Edit) -> str:
    """Fill the gaps of a text. The same edit always gives the same text. Raises SpecError for what the model cannot do."""
    codec = ready.made
    if not isinstance(codec, TextCodec):
        raise SpecError(f"This release makes {codec.kind}s, no texts.", repair="Edit with a release of texts of the family masked.")
    pieces = edit.pieces()
    # A space before a gap is left to the first id in it, as the vocabulary was learnt.
    kept = [codec.ids(piece.rstrip(" ") if place + 1 < len(pieces) else piece) for place, piece in enumerate(pieces)]
    room = codec.length - sum(map(len, kept))
    lengths = _lengths(codec, edit, len(kept) - 1, room)
    unwritten = {"bias": UNWRITTEN} if "bias" in ready.model.family.Sampling.model_fields else {}
    given, filled = ready.conditions(edit.given), torch.empty(0)
    for place in range(len(lengths) if edit.tokens is None else 1):
        near = range(max(1, lengths[place] - TRIED + 1), min(lengths[place] + TRIED, room - sum(lengths) + lengths[place]) + 1)
        tries = [[*lengths[:place], n, *lengths[place + 1 :]] for n in near] if edit.tokens is None else [lengths]
        rows, where = _rows(kept, tries, codec.length)
        options = ready.model.sampling(**{**unwritten, **edit.sampling})
        made = ready.model.filled(rows, where, repeated(given, len(tries)), options, [(edit.seed, edit.first)] * len(tries))
        best = int(_nats(ready.model, made, given, edit.seed).argmin()) if len(tries) > 1 else 0
        filled, lengths = made[best], tries[best]
    return _joined(codec, pieces, [len(ids) for ids in kept], lengths, filled)


def _lengths(codec: TextCodec, edit: Edit, count: int, room: int) -> list[int]:
    """Give how many tokens each gap has, to begin with. Raises SpecError when the row has no room for them."""
    if edit.tokens is not None:
        lengths = [edit.tokens] * count
    else:
        lengths = [max(1, len(codec.ids(edit.text[first:last]))) for first, last in sorted(edit.spans)] or [TRIED] * count
        lengths = lengths if sum(lengths) <= room else [1] * count
    if (over := sum(lengths) - room) > 0:
        said = f"With its gaps the text is {over} tokens longer than the {codec.length} that the model knows."
        raise SpecError(said, repair="Shorten the text, or ask for fewer --tokens.")
    return lengths


def _rows(kept: Sequence[list[int]], tries: Sequence[Sequence[int]], length: int) -> tuple[Tensor, Tensor]:
    """Give a row (length,) of ids for each try, and where its gaps are."""
    rows, where = torch.zeros(len(tries), length, dtype=torch.long), torch.zeros(len(tries), length, dtype=torch.bool)
    for row, gaps, lengths in zip(rows, where, tries, strict=True):
        at = 0
        for ids, gap in zip_longest(kept, lengths, fillvalue=0):
            ids = cast("list[int]", ids)
            row[at : at + len(ids)] = torch.tensor(ids, dtype=torch.long)
            gaps[at + len(ids) : at + len(ids) + gap] = True
            at += len(ids) + gap
    return rows, where


def _nats(model: Model, rows: Tensor, given: Given, seed: int) -> Tensor:
    """Give what each row costs, weighed several times."""
    many = rows.repeat_interleave(WEIGHED, 0).to(model.device)
    generator = torch.Generator().manual_seed(stream_seed(seed, -1))
    with torch.inference_mode():
        cost = model.family.held_out(many, repeated(given, len(many)).to(model.device), generator)["loss"]
    return cost.view(-1, WEIGHED).mean(1)


def _joined(codec: TextCodec, pieces: Sequence[str], kept: Sequence[int], lengths: Sequence[int], row: Tensor) -> str:
    """Put the pieces as they were and what was filled in together."""
    text, at = pieces[0], kept[0]
    for piece, size, length in zip(pieces[1:], kept[1:], lengths, strict=True):
        words = codec.text(row[at : at + length].tolist())
        words = words.lstrip(" ") if text.endswith(" ") or not text else words
        text += (words.rstrip(" ") if piece.startswith(" ") else words) + piece
        at += length + size
    return text
