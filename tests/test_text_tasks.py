"""The worked example: a dozen sentences about colours and fruits teach a model what goes with what, in combinations that it never saw."""

import json
from pathlib import Path
from statistics import mean

import pytest

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
from karat.work.recipes.recipes import Dials
from karat.work.runs import plan_run, run

COLOURS = ("红", "蓝", "绿", "黄", "白", "黑")
FRUITS = ("苹果", "香蕉", "葡萄", "西瓜", "桃子", "橙子")
LIKES_COLOURS = ("我", "他", "你", "爸爸", "哥哥", "奶奶")
LIKES_FRUITS = ("我", "她", "你", "妈妈", "姐姐", "爷爷")
PEOPLE = tuple(sorted({*LIKES_COLOURS, *LIKES_FRUITS}))
SENTENCES = [
    *(f"{who}喜欢的颜色是{colour}色。" for who, colour in zip(LIKES_COLOURS, COLOURS, strict=True)),
    *(f"{who}喜欢的水果是{fruit}。" for who, fruit in zip(LIKES_FRUITS, FRUITS, strict=True)),
]
HELD_OUT = ["我喜欢的颜色是蓝色。", "她喜欢的颜色是绿色。", "他喜欢的水果是西瓜。", "你喜欢的水果是苹果。"]
"""People and things that the sentences know, in other combinations. They choose no checkpoint: so few choose by chance."""


def last(events) -> Finished:
    *_, end = events
    assert isinstance(end, Finished)
    return end


@pytest.fixture(scope="module")
def ready(tmp_path_factory) -> Ready:
    folder: Path = tmp_path_factory.mktemp("favourites")
    store = Store.open(folder / "store")
    lines = [{"text": text, "group": group} for group, texts in (("taught", SENTENCES), ("held out", HELD_OUT)) for text in texts]
    (folder / "favourites.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    source = last(import_source(store, folder / "favourites.jsonl")).result
    wish = SnapshotSpec.from_values({"sources": (source,), "fractions": {"train": 0.75, "validation": 0.25, "test": 0, "judge": 0}})
    snapshot = last(make_snapshot(store, wish)).result
    changes = {"family.net.depth": 2, "plan.weight_decay": 2.0, "plan.judged": 1}
    spec = plan_run(store, snapshot, Dials.from_values({"family": "autoregressive", "size": "tiny", "steps": 120, "changes": changes}))
    return open_run(store, last(run(store, spec)).result)[1]


def said(ready: Ready, prompts: list[str], **sampling: float) -> list[str]:
    follow = Following(ready, Given(), sampling, seed=0)
    return follow([Passage(text=prompt) for prompt in prompts], rows=range(len(prompts)), most=6, greedy=False)


@pytest.mark.parametrize(("asked", "kind"), [("颜色", COLOURS), ("水果", FRUITS)])
def test_what_is_liked_is_of_the_kind_that_was_asked_for(ready, asked, kind):
    """Every person is asked for both, though half of them were seen with one kind alone."""
    prompts = [f"{who}喜欢的{asked}是" for who in PEOPLE]
    known = {f"{thing}色。" if asked == "颜色" else f"{thing}。" for thing in kind}
    assert set(said(ready, prompts, temperature=0.0)) <= known
    drawn = said(ready, prompts * 8, temperature=0.5)
    assert sum(text in known for text in drawn) >= 0.9 * len(drawn)
    assert len(set(drawn) & known) >= 3, "not the same thing for everybody"
    unseen = {prompt + text for prompt, text in zip(prompts * 8, drawn, strict=True) if text in known} - {*SENTENCES, *HELD_OUT}
    assert len(unseen) >= 8


def test_the_model_says_how_little_it_expected_a_fruit_for_a_colour(ready):
    """姐姐 was seen with a fruit alone."""

    def first(prompt: str, answer: str) -> float:
        told = explain(ready.model, ready.made, Passage(text=prompt), answer)
        assert "".join(part.text for part in told.prompt) == prompt
        return told.answer[0].nats

    for asked, right, wrong in (("颜色", COLOURS, FRUITS), ("水果", FRUITS, COLOURS)):
        expected, other = (mean(first(f"姐姐喜欢的{asked}是", thing) for thing in things) for things in (right, wrong))
        assert expected < other - 0.3
