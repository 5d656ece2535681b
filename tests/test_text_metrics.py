"""Metrics of texts give known values by hand and by sacreBLEU, and move when a text is spoilt in the way that they are there to see."""

import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from karat.material.metrics import twosample  # noqa: F401 - it registers itself
from karat.material.metrics.scores import Resampling, Side, metrics
from karat.material.metrics.texts import frontier, overlap, variety  # noqa: F401 - they register themselves
from karat.material.metrics.texts.copying import RUN, find_copies
from karat.material.metrics.texts.features import TextFeatures
from karat.material.metrics.texts.likelihood import Cost, learnt_bytes, total_chance, windows_of
from karat.material.metrics.texts.ngrams import NgramModel, bytes_of
from karat.material.metrics.texts.overlap import common_length, rouge_f, signatures
from karat.material.metrics.texts.units import places, units, words
from karat.values.codecs.text import TextCodec
from karat.values.passages import Passage, Turn
from karat.values.spaces import Space

BARE = Resampling(0)
TIMES = Resampling(100)


def topics() -> list[str]:
    """Give pieces of sixty words of the English technical prose that CPython brings along."""
    from pydoc_data.topics import topics as pages

    found = " ".join(pages.values()).split()
    return [" ".join(found[first : first + 60]) for first in range(0, len(found) - 60, 60)]


PROSE = topics()
random.Random(0).shuffle(PROSE)
TRAIN, JUDGE, REAL, OTHER = PROSE[:650], PROSE[650:850], PROSE[850:950], PROSE[950:1050]


def said(texts: list[str], references: list[str] | None = None) -> Side:
    return Side(torch.zeros(len(texts), 1), torch.zeros(len(texts), 1), texts=texts, references=references or [])


def value(name: str, made: Side, real: Side | None = None) -> float:
    return metrics[name].measure(made, real or made, BARE).value


def shuffled(text: str) -> str:
    found = text.split()
    random.Random(1).shuffle(found)
    return " ".join(found)


def test_units_are_words_marks_and_wide_characters():
    assert units("It's 我喜欢, naïve_x 한국 ひら。") == ["It", "'", "s", "我", "喜", "欢", ",", "naïve_x", "한", "국", "ひ", "ら", "。"]
    assert words("The Cat, 猫!") == ["the", "cat", "猫"]


@given(st.text())
def test_places_are_those_of_the_units(text):
    assert [text[a:b] for a, b in places(text)] == units(text)


@pytest.mark.parametrize(
    ("made", "references"),
    [
        (["The cat sat on the mat today.", "a dog"], ["The cat sat on a mat.", "a dog runs far away"]),
        (["我喜欢红色的苹果", "今天天气很好"], ["我喜欢绿色的苹果", "今天天气不好"]),
    ],
)
def test_bleu_and_chrf_are_those_of_sacrebleu(made, references):
    import sacrebleu

    side = said(made, references)
    wide = "我" in made[0]
    assert value("bleu", side) == pytest.approx(sacrebleu.corpus_bleu(made, [references], tokenize="zh" if wide else "13a").score)
    assert value("chrf", side) == pytest.approx(sacrebleu.corpus_chrf(made, [references]).score)
    assert ("tok:zh" in signatures(references)["bleu"]) is wide


def test_rouge_is_what_one_counts_by_hand():
    reference, text = words("police killed the gunman"), words("police kill the gunman")
    assert rouge_f(text, reference, form="1") == pytest.approx(3 / 4)
    assert rouge_f(text, reference, form="2") == pytest.approx(1 / 3)
    assert rouge_f(words("the gunman kill police"), reference, form="L") == pytest.approx(2 / 4)
    assert rouge_f([], reference, form="L") == 0
    assert value("rouge-1", said(["我喜欢红色"], ["我喜欢绿色"])) == pytest.approx(80)
    assert value("exact", said([" yes", "no"], ["yes ", "No"])) == 0.5


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_the_common_subsequence_is_that_of_the_table(a, b):
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    assert common_length(a, b) == table[-1][-1]


def test_variety_is_what_one_counts_by_hand():
    side = said(["a b a b", "a c"])
    assert value("distinct-1", side) == pytest.approx(3 / 6)
    assert value("distinct-2", side) == pytest.approx(3 / 4)
    assert value("entropy", side) == pytest.approx(-(0.5 * math.log2(0.5) + 1 / 3 * math.log2(1 / 3) + 1 / 6 * math.log2(1 / 6)))
    assert value("entropy", said(["the the the"])) == 0


def test_self_bleu_is_sacrebleus_with_all_others_as_references():
    from sacrebleu.metrics.bleu import BLEU

    texts = [*REAL[:6], REAL[0][:150]]
    split = [" ".join(units(text)) for text in texts]
    metric = BLEU(tokenize="none", effective_order=False, force=True)
    each = [metric.sentence_score(text, [*split[:row], *split[row + 1 :]]).score for row, text in enumerate(split)]
    assert value("self-bleu", said(texts)) == pytest.approx(np.mean(each))
    assert value("self-bleu", said([REAL[0]] * 3)) == pytest.approx(100)


def test_intervals_hold_their_value_and_narrow_with_more_texts():
    for name in ("chrf", "bleu", "rouge-l"):
        few, many = (metrics[name].measure(said(OTHER[:n], [shuffled(text) for text in OTHER[:n]]), said(OTHER), TIMES) for n in (10, 100))
        assert few.low <= few.value <= few.high
        assert many.high - many.low < few.high - few.low, name
        assert (few.count, many.count) == (10, 100)


@pytest.fixture(scope="module")
def features() -> TextFeatures:
    return TextFeatures(JUDGE)


def test_features_are_named_by_a_digest_and_do_not_depend_on_mates(features):
    assert TextFeatures(JUDGE).digest == features.digest != TextFeatures(JUDGE[:100]).digest
    assert torch.allclose(features.features(REAL)[3:4], features.features(REAL[3:4]), atol=1e-6)
    assert features.features([""]).abs().sum() == 0


def test_what_is_spoilt_moves_what_is_there_to_see_it(features):
    """The calibration: other real texts, shuffled words, one text again and again, against real ones."""
    real, other = features.side(REAL), features.side(OTHER)
    mixed, same = features.side([shuffled(text) for text in OTHER]), features.side(OTHER[:5] * 20)
    letters = features.side(["".join(random.Random(2).sample(text, len(text))) for text in OTHER])
    assert value("c2st", other, real) < 0.65 < 0.9 < value("c2st", letters, real)
    assert value("c2st", mixed, real) > 0.8
    assert value("frontier", other, real) > 0.85
    assert max(value("frontier", letters, real), value("frontier", same, real)) < 0.3
    assert value("self-bleu", same) > value("self-bleu", other) + 20
    assert value("distinct-2", same) < value("distinct-2", other) / 5
    assert value("entropy", same) < value("entropy", other) - 0.4
    assert value("distinct-2", mixed) > value("distinct-2", other)
    assert value("entropy", mixed) == pytest.approx(value("entropy", other))


def test_the_frontier_of_a_set_with_itself_is_whole(features):
    side = features.side(REAL)
    assert value("frontier", side, side) == pytest.approx(1)
    found = metrics["frontier"].measure(side, features.side(OTHER), TIMES)
    assert 0 < found.low < found.value < found.high <= 1


def test_planted_copies_are_found_to_the_word_and_by_name():
    span = " ".join(TRAIN[123].split()[4:30])
    made = [f"Quite another beginning: {span} and an end.", OTHER[0]]
    planted, other = find_copies(made, TRAIN)
    assert planted.source == 123
    assert made[0][slice(*planted.at)].startswith(span[:-1])
    assert TRAIN[123][slice(*planted.source_at)] == made[0][slice(*planted.at)]
    assert planted.longest >= len(units(span))
    assert planted.copied_runs >= len(units(span)) - RUN + 1
    assert span[5:-5] in made[0][slice(*planted.marked[0])]
    assert other.copied_runs == 0 or other.longest >= RUN


def test_copied_chinese_is_counted_by_the_character():
    poem = "春眠不觉晓处处闻啼鸟夜来风雨声花落知多少"
    found = find_copies([f"我说{poem[:15]}吗", "完全不同的话"], ["白日依山尽黄河入海流", poem])
    assert (found[0].longest, found[0].source, found[0].copied_runs) == (15, 1, 3)
    assert found[1].copied_runs == 0


@given(st.lists(st.text("ab ", max_size=30), min_size=1, max_size=4), st.lists(st.text("ab ", max_size=40), min_size=1, max_size=4))
def test_the_longest_span_is_that_of_trying_all(texts, training):
    for text, found in zip(texts, find_copies(texts, training), strict=True):
        mine = units(text)
        best = 0
        for other in map(units, training):
            runs = {tuple(other[i:j]) for i in range(len(other)) for j in range(i + 1, len(other) + 1)}
            best = max([best, *(j - i for i in range(len(mine)) for j in range(i + 1, len(mine) + 1) if tuple(mine[i:j]) in runs)])
        assert found.longest == best
        if best:
            assert units(training[found.source][slice(*found.source_at)]) == units(text[slice(*found.at)])


def test_nothing_is_copied_from_nothing():
    assert find_copies([], TRAIN[:2]) == []
    assert find_copies(["", "a b"], [])[1].longest == 0


def test_windows_count_every_learnt_id_once_with_enough_before_it():
    codec = TextCodec.fit({"packing": "stream", "length": 16, "units": "bytes"}, TRAIN[:5])
    passages = [Passage(text=TRAIN[0]), Passage.answer("2 + 2?", "4"), Passage(text="x")]
    written = [codec.written(passage) for passage in passages]
    windows = windows_of(written, 16, stride=8)
    for number, (ids, learnt) in enumerate(written):
        rows = windows.passage_W == number
        assert windows.ids_WN[rows][windows.counted_WN[rows]].tolist() == ids[learnt].tolist()
    inner = windows.counted_WN[1 : int((windows.passage_W == 0).sum()) - 1]
    assert bool((~inner[:, :8]).all())
    assert len(windows_of([], 16, stride=8)) == 0
    assert set(windows.first(len(windows) - 1).passage_W.tolist()) == {0, 1}, "passages are taken whole"


def test_bits_per_byte_of_a_fair_coin_are_one_for_each_byte():
    passages = [Passage(text="abcdefgh" * 5), Passage.answer("question", "né")]
    assert [learnt_bytes(passage) for passage in passages] == [40, 3]
    codec = TextCodec.fit({"packing": "whole", "length": 16, "units": "bytes"}, ["abcdefgh"])
    windows = windows_of([codec.written(passage) for passage in passages], 16, stride=4)
    cost = Cost.of(windows.counted_WN.sum(1) * math.log(2), windows, [learnt_bytes(passage) for passage in passages])
    assert float(cost.ids.sum()) == 45, "the ends of both are paid for"
    found = cost.bits_per_byte(TIMES)
    assert found.value == pytest.approx(45 / 43)
    assert found.reference_count == 43
    assert found.low <= found.value <= found.high
    assert cost.perplexity(BARE).value == pytest.approx(2)


def test_the_ngram_model_is_a_distribution_and_learns():
    model = NgramModel.fit(Passage(text=text) for text in TRAIN)
    nats = [model.nats(Passage(text=text)) for text in REAL]
    sizes = [len(text.encode()) + 1 for text in REAL]
    assert [len(each) for each in nats] == sizes
    bits = sum(each.sum() for each in nats) / math.log(2) / sum(sizes)
    assert 1.5 < bits < 3.2
    one = Passage(text="Th")
    after = [np.exp(-model.nats(Passage(text=f"Th{chr(byte)}"))[2]) for byte in range(1, 128)]
    assert sum(after) + np.exp(-model.nats(one)[2]) == pytest.approx(1, abs=0.02), "the rest is for bytes that are no ASCII"
    mixed = sum(model.nats(Passage(text=shuffled(text))).sum() for text in REAL) / math.log(2) / sum(sizes)
    assert mixed > bits + 0.3


def test_the_ngram_model_writes_in_the_manner_of_its_data():
    model = NgramModel.fit(Passage(text=text) for text in TRAIN)
    made = model.write([Passage(text="The "), Passage()] * 20, most=120, seed=3)
    assert made == model.write([Passage(text="The "), Passage()] * 20, most=120, seed=3)
    assert len(set(made)) > 30
    known = {word for text in TRAIN for word in words(text)}
    found = [word for text in made for word in words(text)]
    assert sum(word in known for word in found) > 0.6 * len(found)
    assert max(len(text.encode()) for text in made) <= 120


def test_the_ngram_model_pays_for_answers_alone():
    talks = [Passage.answer(f"what is {n}?", f"it is {n}") for n in range(50)]
    model = NgramModel.fit(talks)
    said_bytes, learnt = bytes_of(talks[7])
    assert bytes(said_bytes[learnt]) == b"it is 7\xff"
    assert len(model.nats(talks[7])) == 8
    assert model.nats(talks[7])[:6].sum() < 1
    made = model.write([Passage(turns=(Turn(role="user", text="what is 3?"),))] * 5, most=30, seed=0)
    assert all(text.startswith("it is ") for text in made)


def test_what_is_no_bound_is_found_out():
    space = Space(axes=("token",), shape=(3,), vocab=4)
    exact = -torch.log_softmax(torch.randn(64, generator=torch.Generator().manual_seed(0)).double(), 0)

    def nats(ids: torch.Tensor) -> torch.Tensor:
        return exact[(ids * torch.tensor([16, 4, 1])).sum(1)]

    assert total_chance(space, nats) == pytest.approx(1)
    assert total_chance(space, lambda ids: nats(ids) + 0.3) < 1, "an upper bound leaves some out"
    assert total_chance(space, lambda ids: nats(ids) / 2) > 1, "half the nats are no bound"


def test_poems_are_measured_in_characters():
    path = Path(__file__).parent.parent.parent / "shared/data/text/tang300.jsonl"
    if not path.exists():
        pytest.skip("the shared data are not here")
    import json

    poems = [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
    found = find_copies(poems[:20], poems)
    assert all(each.longest == len(units(poem)) for each, poem in zip(found, poems, strict=False))
    held = find_copies(poems[:60], poems[60:])
    assert sum(each.copied_runs for each in held) <= 0.01 * sum(each.runs for each in held)
