"""A small language model is measured and explained: what it pays, what it writes, what it copies, and why it says what it says."""

import json
import math
import random
from collections.abc import Sequence

import pytest
import torch

from karat.app.evaluating import EvaluatingOptions, evaluate_run
from karat.app.explaining import Question, explain_release
from karat.app.releasing import release_run
from karat.learning.models import Model, ModelSpec
from karat.material.data.importing import import_source
from karat.material.data.policy import CheckPolicy
from karat.material.data.snapshots import SnapshotSpec, make_snapshot
from karat.material.metrics.scores import Resampling, result_of
from karat.store.store import Store
from karat.values.codecs.text import TextCodec
from karat.values.given import Given
from karat.values.passages import Passage
from karat.words.errors import DataError
from karat.words.events import Finished
from karat.work.explaining import explain, moved_by, nearest, parts, strip
from karat.work.following import Following
from karat.work.generation import Ready
from karat.work.reading import cost_of, gone_on, nats_of
from karat.work.recipes.recipes import Dials
from karat.work.runs import plan_run, run
from karat.work.text_evaluation import TextMeasuring, TextReality, evaluate_texts

ANIMALS = {"fox": "red", "crow": "black", "frog": "green", "swan": "white", "ant": "brown", "bee": "gold"}
PLACES = ["house", "tree", "river", "hill", "wall", "road", "barn", "gate"]
MEASURING = TextMeasuring(resamples=30, tokens=40)


def tales(count: int, seed: int) -> list[Passage]:
    chance = random.Random(seed)
    told = []
    for _ in range(count):
        animal, place, other = chance.choice(list(ANIMALS)), chance.choice(PLACES), chance.choice(PLACES)
        told.append(f"The {ANIMALS[animal]} {animal} ran from the {place} to the {other} and slept {chance.randint(2, 99)} hours.")
    return [Passage(text=text) for text in told]


def talks(count: int, seed: int) -> list[Passage]:
    """Give prompts that end with an animal after any two to four places, so that no other word tells anything."""
    chance = random.Random(seed)
    told = []
    for _ in range(count):
        animal = chance.choice(list(ANIMALS))
        said = [*chance.sample(PLACES, chance.randint(2, 4)), animal]
        told.append(Passage.answer(" ".join(["see", *said]), f"It is {ANIMALS[animal]}."))
    return told


def reality(made) -> TextReality:
    return TextReality(train=made(300, 1), validation=made(24, 2), test=made(24, 3), judge=made(24, 4))


def learnt(real: TextReality, packing: str, *, steps: int) -> tuple[Model, TextCodec]:
    """Train a little transformer on rows of one passage each."""
    torch.set_num_threads(1)
    codec = TextCodec.fit({"packing": packing, "length": 40, "vocab": 400}, real.train)
    family = {"kind": "autoregressive", "net": {"width": 48, "depth": 2}}
    model = Model(ModelSpec.from_values({"space": codec.space, "family": family}))
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-3)
    rows = [codec.written(passage) for passage in real.train]
    ids = torch.stack([torch.nn.functional.pad(torch.from_numpy(i).long(), (0, 40 - len(i))) for i, _ in rows])
    weights = torch.stack([torch.nn.functional.pad(torch.from_numpy(w).float(), (0, 40 - len(w))) for _, w in rows])
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        some = torch.randint(len(ids), (12,), generator=generator)
        loss = model.family.loss("next", ids[some], Given(weight=weights[some]), generator).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval(), codec


def writer(model: Model, codec: TextCodec):
    """Give the plainest way to write: the whole row anew for each token."""

    @torch.inference_mode()
    def write(prompts: Sequence[Passage], *, rows: Sequence[int], most: int, greedy: bool) -> list[str]:
        generator = torch.Generator().manual_seed(5)
        written = []
        for prompt in prompts:
            before = codec.prompt(prompt)
            ids = list(before)
            while len(ids) < min(codec.length, len(before) + most):
                logits = model.family.net(torch.tensor([[*ids, 0]]), Given())[0, -1]
                ids.append(int(logits.argmax() if greedy else torch.multinomial(logits.softmax(-1), 1, generator=generator)))
                if ids[-1] < 4:
                    ids.pop()
                    break
            written.append(codec.text(ids[len(before) :]))
        return written

    return write


@pytest.fixture(scope="module")
def teller() -> tuple[TextReality, Model, TextCodec]:
    real = reality(tales)
    return real, *learnt(real, "stream", steps=120)


@pytest.fixture(scope="module")
def answerer() -> tuple[TextReality, Model, TextCodec]:
    real = reality(talks)
    return real, *learnt(real, "whole", steps=300)


def test_texts_are_scored_beside_real_ones_and_what_needs_no_model(teller):
    real, model, codec = teller
    found = result_of(evaluate_texts(model, codec, real, writer(model, codec), MEASURING, count=16))
    scores = found.evaluation
    bits = scores["bits-per-byte/test"]
    assert bits.value < bits.baselines["n-grams"] < bits.baselines["shuffled words"]
    assert bits.low < bits.value < bits.high
    assert scores["perplexity/test"].value < scores["perplexity/test"].baselines["frequency alone"] / 2
    assert {each.space for each in scores.scores} == {"test", "from nothing", "continued"}
    for way in ("from nothing", "continued"):
        assert scores[f"longest-copied/{way}"].baselines["shuffled words"] < scores[f"longest-copied/{way}"].floor.value
        assert scores[f"frontier/{way}"].higher_is_better
        assert 0 <= scores[f"c2st/{way}"].value <= 1
    copied = scores["copied-runs/from nothing"]
    assert copied.floor.value < copied.baselines["training"] == 1.0
    assert [len(each.texts) for each in found.made] == [16, 16] == [len(each.copies) for each in found.made]
    assert all(passage.text for passage in found.made[1].prompts)


def test_bits_per_byte_are_those_of_adding_up_by_hand(teller):
    real, model, codec = teller
    cost = cost_of(model, codec, real.test)
    nats = nats_of(model)
    by_hand = sum(float(nats(torch.tensor([[*codec.ids(passage.text), 0]])).sum()) for passage in real.test)
    assert float(cost.nats.sum()) == pytest.approx(by_hand, rel=1e-4)
    size = sum(len(passage.text.encode()) for passage in real.test)
    assert cost.bits_per_byte(Resampling(0)).value == pytest.approx(by_hand / math.log(2) / size, rel=1e-4)


def test_answers_are_scored_against_their_references(answerer):
    real, model, codec = answerer
    found = result_of(evaluate_texts(model, codec, real, writer(model, codec), MEASURING, count=16))
    scores = found.evaluation
    assert scores["exact/answers"].value > scores["exact/answers"].baselines["nearest training"]
    assert scores["exact/answers"].value > scores["exact/answers"].baselines["another's"] + 0.3
    assert scores["chrf/answers"].value > scores["chrf/answers"].baselines["n-grams"]
    assert "nearest training" in scores["rouge-l/answers"].baselines
    assert scores["bits-per-byte/test"].reference_count == sum(len(passage.learnt()) for passage in real.test)
    assert "chrf" in scores.spaces[0].facts


def test_the_word_that_decides_moved_the_answer_most(answerer):
    real, model, codec = answerer
    found = 0
    near = nearest([passage.learnt() for passage in real.test[:10]], real.train)
    for passage, like in zip(real.test[:10], near, strict=True):
        told = explain(model, codec, passage.opening(), passage.learnt(), near=like)
        animal = next(name for name in ANIMALS if name in passage.turns[0].text.split())
        found += max(told.prompt, key=lambda part: part.nats).text.strip() == animal
        assert "".join(part.text for part in told.answer) == passage.learnt()
        assert told.nearest[0].text == passage.learnt()
        assert told.nearest[0].likeness == pytest.approx(1, abs=1e-3)
    assert found >= 7


def test_attribution_finds_a_planted_cause():
    """A model by hand: whatever stands in the prompt, only the id 7 makes the answer likely."""
    codec = TextCodec.fit({"packing": "whole", "length": 32, "units": "characters"}, ["abcdefgh"])
    key = codec.ids("c")[0]

    def nats(ids: torch.Tensor) -> torch.Tensor:
        return torch.where((ids == key).any(1, keepdim=True), 0.5, 3.0).expand(ids.shape)

    moved = moved_by(nats, codec, codec.ids("abcd"), codec.ids("gh"))
    assert [(part.text, round(part.nats, 5)) for part in moved] == [("a", 0), ("b", 0), ("c", 5.0), ("d", 0)]


def test_parts_are_whole_characters(teller):
    _, model, codec = teller
    text = "狐狸 fox 🦊."
    assert "".join(part for part, _, _ in parts(codec, codec.ids(text))) == text
    before, after = gone_on(codec, Passage(text="The "), text)
    told = strip(nats_of(model), codec, before, after)
    assert "".join(part.text for part in told) == text
    total = nats_of(model)(torch.tensor([[*before, *after]]))[0, len(before) :].sum()
    assert sum(part.nats for part in told) == pytest.approx(float(total), rel=1e-4)


def test_a_bound_pays_for_the_whole_row_as_its_length_is_no_secret():
    """A model of masked diffusion that has learnt nothing finds every id of a row equally likely, those that fill it up as well."""
    codec = TextCodec.fit({"length": 12, "units": "bytes"}, ["abcdef"])
    family = {"kind": "masked", "net": {"width": 16, "depth": 1}}
    model = Model(ModelSpec.from_values({"space": codec.space, "family": family})).eval()
    passages = [Passage(text="ab"), Passage(text="abcdefghijk")]
    cost = cost_of(model, codec, passages)
    assert cost.nats.tolist() == pytest.approx([12 * math.log(codec.space.vocab)] * 2, rel=0.02)
    assert cost.ids.tolist() == [3, 12]


def test_a_model_that_makes_whole_texts_is_measured_from_nothing_alone():
    real = reality(tales)
    codec = TextCodec.fit({"length": 24, "vocab": 400}, real.train)
    model = Model(ModelSpec.from_values({"space": codec.space, "family": {"kind": "masked", "net": {"width": 16, "depth": 1}}}))
    write = Following(Ready(model.eval(), codec, {}), Given(), {"steps": 4}, seed=0)
    assert not write.goes_on
    found = result_of(evaluate_texts(model, codec, real, write, MEASURING, count=10, follows=write.goes_on))
    assert [each.space for each in found.made] == ["from nothing"]
    assert "upper bound" in found.evaluation["bits-per-byte/test"].meaning
    with pytest.raises(DataError, match="cannot go on"):
        result_of(evaluate_texts(model, codec, reality(talks), write, MEASURING, count=10, follows=False))


def test_a_run_is_evaluated_released_and_explained_by_the_same_commands(tmp_path):
    store = Store.open(tmp_path / "store")
    passages = [*talks(150, 1)]
    lines = [{"prompt": passage.turns[0].text, "completion": f"{passage.learnt()} {n}"} for n, passage in enumerate(passages)]
    (tmp_path / "talks.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    source = last(import_source(store, tmp_path / "talks.jsonl")).result
    snapshot = last(make_snapshot(store, SnapshotSpec(sources=(source,), policy=CheckPolicy(near_overlap=0)))).result
    dials = Dials.from_values({"family": "autoregressive", "size": "tiny", "steps": 30, "changes": {"family.net.depth": 1}})
    record = last(run(store, plan_run(store, snapshot, dials))).result
    options = EvaluatingOptions(samples=12, texts=TextMeasuring(resamples=20))
    evaluation = store.get(last(evaluate_run(store, record, options)).result)
    assert {"chrf/answers", "bits-per-byte/test", "copied-runs/answers"} <= set(evaluation.facts["figures"])
    page = store.read(evaluation.facts["report.html"]).decode()
    for part in ("<h2>Answers</h2>", "<h2>Token by token</h2>", "<h2>Copies</h2>", "<h2>Lineage</h2>", "12 made texts", "nearest training"):
        assert part in page
    told = json.loads(store.read(evaluation.made))
    assert len(told["texts"]["dialogues"]) == 10
    assert all(part["nats"] >= 0 for strip in told["texts"]["strips"] for part in strip["answer"])
    release = last(release_run(store, record)).result
    out = tmp_path / "why.html"
    question = Question(prompt=lines[0]["prompt"], answer=lines[0]["completion"])
    assert last(explain_release(store, release, question, out)).result == str(out)
    assert "<h2>Nearest in training</h2>" in out.read_text(encoding="utf-8")


def last(events) -> Finished:
    *_, end = events
    assert isinstance(end, Finished)
    return end
