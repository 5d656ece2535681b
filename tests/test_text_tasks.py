"""The worked example: a dozen sentences about colours and fruits teach a model what goes with what, in combinations that it never saw."""

import json
import math
from pathlib import Path
from statistics import mean

import pytest
import torch

from karat.app.evaluating import open_run
from karat.material.data.importing import import_source
from karat.material.data.snapshots import SnapshotSpec, make_snapshot
from karat.store.store import Store
from karat.values.given import Given
from karat.values.passages import Passage
from karat.words.events import Finished
from karat.work.explaining import explain
from karat.work.following import Following
from karat.work.generation import Ready
from karat.work.reading import gone_on, nats_of
from karat.work.recipes.recipes import Dials
from karat.work.runs import plan_run, run

COLOURS = ("红", "蓝", "绿", "黄", "白", "黑")
FRUITS = ("苹果", "香蕉", "葡萄", "西瓜", "桃子", "橙子")
LIKES_COLOURS = ("我", "他", "你", "爸爸", "哥哥", "奶奶")
LIKES_FRUITS = ("我", "他", "你", "爸爸", "姐姐", "爷爷")
PEOPLE = tuple(sorted({*LIKES_COLOURS, *LIKES_FRUITS}))
SENTENCES = [
    *(f"{who}喜欢的颜色是{colour}色。" for who, colour in zip(LIKES_COLOURS, COLOURS, strict=True)),
    *(f"{who}喜欢的水果是{fruit}。" for who, fruit in zip(LIKES_FRUITS, FRUITS, strict=True)),
]
HELD_OUT = ["我喜欢的颜色是蓝色。", "姐姐喜欢的颜色是绿色。", "哥哥喜欢的水果是西瓜。", "你喜欢的水果是苹果。"]
"""People and things that the sentences know, in other combinations. They choose no checkpoint: so few choose by chance."""


def last(events) -> Finished:
    *_, end = events
    assert isinstance(end, Finished)
    return end


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory) -> tuple[Store, str]:
    folder: Path = tmp_path_factory.mktemp("favourites")
    store = Store.open(folder / "store")
    lines = [{"text": text, "group": group} for group, texts in (("taught", SENTENCES), ("held out", HELD_OUT)) for text in texts]
    (folder / "favourites.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    source = last(import_source(store, folder / "favourites.jsonl")).result
    wish = SnapshotSpec.from_values({"sources": (source,), "fractions": {"train": 0.75, "validation": 0.25, "test": 0, "judge": 0}})
    return store, last(make_snapshot(store, wish)).result


@pytest.fixture(scope="module", params=[1, 2])
def ready(snapshot: tuple[Store, str], request: pytest.FixtureRequest) -> Ready:
    """Give a model of one block that often forgets: it has no room to learn by heart who was seen with what."""
    changes = {"family.net.depth": 1, "family.net.dropout": 0.4, "plan.weight_decay": 2.0, "plan.judged": 1}
    dials = {"family": "autoregressive", "size": "tiny", "steps": 120, "seed": request.param, "changes": changes}
    spec = plan_run(*snapshot, Dials.from_values(dials))
    return open_run(snapshot[0], last(run(snapshot[0], spec)).result)[1]


def chances(ready: Ready, prompt: str) -> dict[str, float]:
    """Give how likely the model holds each colour and each fruit for what follows, up to the end of the sentence."""
    nats, codec = nats_of(ready.model), ready.made
    assert nats is not None
    found = {}
    for thing in (*COLOURS, *FRUITS):
        before, after = gone_on(codec, Passage(text=prompt), f"{thing}色。" if thing in COLOURS else f"{thing}。")
        found[thing] = math.exp(-float(nats(torch.tensor([[*before, *after]]))[0, len(before) :].sum()))
    return found


@pytest.mark.parametrize(("asked", "kind"), [("颜色", COLOURS), ("水果", FRUITS)])
def test_what_is_liked_is_of_the_kind_that_was_asked_for(ready, asked, kind):
    """Every person is asked for both, though half of them were seen with one kind alone.

    The bounds are on how likely all twelve things are held, which no single draw decides. Over five seeds the weakest prompt of all gave
    0.65 of it to things of the right kind, the mean of a seed was 0.77 to 0.94, and the likeliest words were right for everybody.
    """
    right = []
    for who in PEOPLE:
        found = chances(ready, f"{who}喜欢的{asked}是")
        right.append(sum(found[thing] for thing in kind) / sum(found.values()))
        assert sum(found.values()) > 0.5, "one of them is said, and the sentence ends"
        assert sum(found[thing] > 0.01 for thing in kind) >= 3, "in combinations that were never seen, too"
    assert min(right) > 0.5
    assert mean(right) > 0.7


def test_the_likeliest_words_are_right_for_everybody(ready):
    for asked, things in (("颜色", {f"{colour}色。" for colour in COLOURS}), ("水果", {f"{fruit}。" for fruit in FRUITS})):
        follow = Following(ready, Given(), {"temperature": 0.0}, seed=0)
        prompts = [Passage(text=f"{who}喜欢的{asked}是") for who in PEOPLE]
        assert set(follow(prompts, rows=range(len(prompts)), most=6, greedy=False)) <= things


def test_the_model_says_how_little_it_expected_a_fruit_for_a_colour(ready):
    """姐姐 was seen with a fruit alone."""

    def first(prompt: str, answer: str) -> float:
        told = explain(ready.model, ready.made, Passage(text=prompt), answer)
        assert "".join(part.text for part in told.prompt) == prompt
        return told.answer[0].nats

    for asked, right, wrong in (("颜色", COLOURS, FRUITS), ("水果", FRUITS, COLOURS)):
        expected, other = (mean(first(f"姐姐喜欢的{asked}是", thing) for thing in things) for things in (right, wrong))
        assert expected < other - 0.3
