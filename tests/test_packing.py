"""Text as rows: every id of every passage stands in some row, with its weight, and no row sees across passages that it must not."""

import unicodedata
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given as hypothesis_given
from hypothesis import settings
from hypothesis import strategies as st

from karat.learning.nets.transformer import CausalTransformer, TransformerSpec, apart_mask
from karat.material.data import rows as rows_file
from karat.material.data.batches import EncodedSplit
from karat.material.data.packing import fitted, streamed
from karat.material.data.rows import RowWriter
from karat.values.codecs.text import ROLE_IDS, TextCodec
from karat.values.given import Given
from karat.values.passages import Passage, Turn
from karat.values.spaces import Space
from karat.words.errors import DataError

pieces_of = st.lists(st.lists(st.tuples(st.integers(1, 99), st.booleans()), max_size=20), min_size=1, max_size=30)


def as_pieces(passages: list[list[tuple[int, bool]]]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.array([*(i for i, _ in p), 0], np.int32), np.array([*(learnt for _, learnt in p), True])) for p in passages]


@settings(deadline=None)
@hypothesis_given(pieces_of, st.integers(1, 16))
def test_a_stream_holds_everything_in_order(passages: list[list[tuple[int, bool]]], length: int) -> None:
    pieces = as_pieces(passages)
    rows = list(streamed(iter(pieces), length))
    ids, weights = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    whole, learnt = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    assert np.array_equal(ids[: len(whole)], whole)
    assert np.array_equal(weights[: len(whole)], learnt)
    assert not weights[len(whole) :].any()


@settings(deadline=None)
@hypothesis_given(pieces_of, st.integers(1, 16))
def test_whole_passages_keep_together_and_lose_only_what_no_row_can_hold(passages: list[list[tuple[int, bool]]], length: int) -> None:
    pieces = as_pieces(passages)
    rows = list(fitted(iter(pieces), length))
    found = []
    for ids, weights in rows:
        assert ids.shape == weights.shape == (length,)
        ends = [-1, *np.flatnonzero(ids == 0).tolist()]
        found += [tuple(ids[one + 1 : other + 1]) for one, other in pairwise(ends)]
    wanted = sorted(tuple(ids[-length:]) for ids, _ in pieces)
    empty = (0,)
    assert sorted(each for each in found if each != empty) == [each for each in wanted if each != empty]
    assert sum(int(weights.sum()) for _, weights in rows) == sum(int(learnt[-length:].sum()) for _, learnt in pieces)


def test_only_a_row_that_begins_a_passage_teaches_how_passages_begin(tmp_path: Path) -> None:
    codec = TextCodec(CODECS["bytes"].options.changed(length=4))
    rows = np.array([[9, 8, 7, 0], [6, 5, 4, 3], [2, 0, 1, 1]], np.int32)
    for name, content in (("made", rows), ("weight", np.ones_like(rows, np.uint8))):
        with RowWriter(tmp_path / f"{name}.npy", content[0]) as writer:
            for row in content:
                writer.write(row)
    split = EncodedSplit(tmp_path, codec, {})
    for limit in (64 << 20, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rows_file, "IN_MEMORY", limit)
            split = EncodedSplit(tmp_path, codec, {})
        assert split.values([0, 1, 2], 1).tolist() == [[8, 7, 0, 6], [5, 4, 3, 2], [2, 0, 1, 1]]
        for shift, begins in ((0, [1, 1, 0]), (1, [0, 0, 0])):
            weight = split.conditions([0, 1, 2], shift).weight
            assert weight is not None
            assert weight[:, 0].tolist() == begins
            assert weight[:, 1:].all()


def test_what_stands_before_an_end_is_not_seen_from_behind_it() -> None:
    torch.manual_seed(0)
    net = CausalTransformer(Space(axes=("token",), shape=(12,), vocab=9), {}, TransformerSpec(width=32, depth=2), apart=True).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    row = torch.tensor([[3, 4, 5, 0, 6, 7, 8, 0, 1, 2, 0, 0]])
    alone = torch.tensor([[6, 7, 8, 0] + [0] * 8])
    nothing = Given()
    assert torch.allclose(net(row, nothing)[0, 4:8], net(alone, nothing)[0, :4], atol=1e-5)
    assert apart_mask(row)[0, 0].any(-1).all(), "every position sees itself at least"


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.mark.parametrize("units", ["bpe", "bytes", "characters"])
@settings(deadline=None)
@hypothesis_given(text=texts)
def test_any_text_comes_back(units: str, text: str) -> None:
    codec = CODECS[units]
    ids, learnt = codec.written(text)
    assert codec.text(ids.tolist()[:-1]) == unicodedata.normalize("NFC", text)
    assert learnt.all()
    assert 0 not in ids[:-1], "no text ends a passage"


def test_only_what_the_assistant_says_is_learnt() -> None:
    codec = CODECS["bytes"]
    turns = (Turn(role="user", text="ab"), Turn(role="assistant", text="c"), Turn(role="user", text="d"), Turn(role="assistant", text="e"))
    ids, learnt = codec.written(Passage(turns=turns))
    (a, b, c, d, e) = (codec.ids(letter)[0] for letter in "abcde")
    user, assistant = ROLE_IDS["user"], ROLE_IDS["assistant"]
    assert ids.tolist() == [user, a, b, assistant, c, user, d, assistant, e, 0]
    assert learnt.tolist() == [False] * 4 + [True, True] + [False] * 2 + [True, True]
    assert codec.prompt(Passage(turns=turns).opening()) == [user, a, b, assistant, c, user, d, assistant]


def test_half_characters_are_refused() -> None:
    with pytest.raises(DataError, match="half characters"):
        CODECS["bytes"].written("\ud800")


def test_units_and_vocabulary_follow_from_the_data() -> None:
    chinese = TextCodec.fit({"packing": "stream"}, ["人生得意须尽欢，莫使金樽空对月。" * 3, "床前明月光，疑是地上霜。"])
    assert chinese.options.units == "characters"
    assert chinese.decode(torch.from_numpy(chinese.encode("床前明月光，鱟"))) == "床前明月光，鱟", "an unknown character is spelt in bytes"
    english = TextCodec.fit({"packing": "stream"}, ["The quick brown fox. " * 20] * 20)
    assert english.options.units == "bpe"
    assert english.space.vocab <= 512


CODECS = {
    units: TextCodec.fit({"units": units, "packing": "stream"}, ["Hello, world! 你好，世界。 <end> "] * 4)
    for units in ("bpe", "bytes", "characters")
}
