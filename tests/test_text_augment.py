"""Altered copies of texts, only where nobody learns to write them and never of what is held out; labels that a release gives."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shell import TINY, Shell

from karat.material.data.importing import import_source
from karat.material.data.samples import samples_of, source_of
from karat.material.data.snapshots import Snapshot, SnapshotSpec, make_snapshot
from karat.material.data.split import SPLIT_NAMES
from karat.material.data.texts.altering import Altering, Augmenting, Synonyms, with_gaps
from karat.material.data.texts.augmenting import augment
from karat.store.store import Store
from karat.values.passages import Passage, Turn
from karat.words.errors import DataError, SpecError

SAME = Synonyms.read("big, large, huge\nBrown bear\tgrizzly\n高兴，快乐\n".encode())
ASKED = Passage.answer("How big is the brown bear in the north?", "The bear is big.", system="You are big.")


def copies(wish: Augmenting, *passages: Passage, synonyms: Synonyms | None = SAME, **others) -> list[Passage]:
    ids = [str(place) for place in range(len(passages))]
    return [passage for _, _, passage in Altering(wish, synonyms, others.get("translate", ())).copies(ids, passages)]


@pytest.mark.parametrize(
    ("text", "possible"),
    [
        ("A big dog.", {"A large dog.", "A huge dog."}),
        ("Big dogs", {"Large dogs", "Huge dogs"}),
        ("a bigger bigwig", {"a bigger bigwig"}),
        ("The brown bear sleeps", {"The grizzly sleeps"}),
        ("我很高兴。", {"我很快乐。"}),
    ],
)
def test_synonyms_are_whole_words_in_any_case(text: str, possible: set[str]) -> None:
    assert {SAME.replaced(text, 1.0, np.random.default_rng(seed)) for seed in range(20)} == possible


@given(st.text(max_size=80), st.floats(0, 0.5), st.integers(0, 99))
def test_gaps_only_take_away(text: str, share: float, seed: int) -> None:
    left = with_gaps(text, share, np.random.default_rng(seed))
    rest = iter(text)
    assert all(character in rest for character in left), "what is left stands in the same order"
    assert SAME.replaced(text, 0.0, np.random.default_rng(seed)) == text


def test_gaps_take_the_share_that_was_asked_for() -> None:
    text = " ".join(f"word{number}" for number in range(40))
    left = [len(with_gaps(text, 0.2, np.random.default_rng(seed)).split()) for seed in range(50)]
    assert 30 <= min(left) <= max(left) <= 34
    assert with_gaps("北京欢迎你。", 0.2, np.random.default_rng(1)) in {
        "北京欢迎。",
        "京欢迎你。",
        "北欢迎你。",
        "北京迎你。",
        "北京欢你。",
    }


@pytest.mark.parametrize("content", [b"", b"alone\n", b"\xff\xfe,\n"])
def test_a_list_of_synonyms_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match="synonyms"):
        Synonyms.read(content)


def test_of_a_conversation_only_the_question_is_altered() -> None:
    made = copies(Augmenting(copies=8, replaced=1.0, spans=0.15), ASKED)
    assert len(made) > 4
    assert len(set(made)) == len(made)
    assert all((each.turns[0], each.turns[2]) == (ASKED.turns[0], ASKED.turns[2]) for each in made)
    assert made == copies(Augmenting(copies=8, replaced=1.0, spans=0.15), ASKED)
    assert made != copies(Augmenting(copies=8, replaced=1.0, spans=0.15, seed=1), ASKED)


def test_a_copy_depends_on_its_own_text_alone() -> None:
    wish = Augmenting(copies=2, replaced=0.7)
    alone, among = Altering(wish, SAME, ()).copies(["b"], [ASKED]), Altering(wish, SAME, ()).copies(["a", "b"], [Passage(), ASKED])
    assert [passage for _, _, passage in alone] == [passage for _, _, passage in among]


def test_translations_take_the_place_of_questions() -> None:
    def upper(texts, seeds):
        return [text.upper() for text in texts]

    def ends(texts, seeds):
        return [f"{text}{seed % 10}" for text, seed in zip(texts, seeds, strict=True)]

    [back] = copies(Augmenting(), ASKED, synonyms=None, translate=(upper,))
    assert back.turns[1:] == (Turn(role="user", text="THE BEAR IS BIG."), ASKED.turns[2])
    there_and_back = copies(Augmenting(copies=3), ASKED, Passage(text="so"), synonyms=None, translate=(upper, ends))
    assert {each.plain()[:2] for each in there_and_back} == {"Yo", "SO"}
    with pytest.raises(DataError, match="several questions"):
        copies(Augmenting(), Passage(turns=ASKED.turns * 2), synonyms=None, translate=(upper,))


@pytest.mark.parametrize(
    ("wish", "in_turns", "said"),
    [
        (Augmenting(spans=0.1), False, "teaches a model to write with gaps"),
        (Augmenting(spans=0.3), True, "make their answers untrue"),
        (Augmenting(), True, "nothing to alter"),
        (Augmenting(back=("a",)), False, "no answer that could be translated"),
    ],
)
def test_what_could_teach_the_untrue_is_refused_unless_asked_for(wish: Augmenting, in_turns: bool, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        wish.check(in_turns=in_turns)
    if wish.spans:
        wish.changed(allow_label_changes=True).check(in_turns=in_turns)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.open(tmp_path / "store")
    yield made
    made.close()


def snapshot_of(store: Store, folder: Path, rows: list[dict[str, str]]) -> str:
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    *_, source = import_source(store, folder / "rows.jsonl")
    *_, end = make_snapshot(store, SnapshotSpec(sources=(source.result,)))
    return end.result


def texts_in(store: Store, ref: str, split: str) -> list[str]:
    return [source_of(store, sample).plain() for sample in Snapshot.open(store, ref).samples(split)]


def test_what_is_held_out_stays_as_it_is(store: Store, tmp_path: Path) -> None:
    rows = [{"text": f"A big house with number {number} and {number * 7} windows.", "author": f"A{number}"} for number in range(60)]
    old = snapshot_of(store, tmp_path, rows)
    wish = Augmenting(copies=2, synonyms=store.put(b"big, large, huge\n"), replaced=1.0)
    *_, end = augment(store, old, wish)
    *_, again = augment(store, old, wish)
    assert end.result == again.result
    new = Snapshot.open(store, end.result)
    assert (new.record.made_from, new.spec.altered) == ((old,), wish)
    for split in SPLIT_NAMES[1:]:
        assert texts_in(store, end.result, split) == texts_in(store, old, split)
    before, after = texts_in(store, old, "train"), texts_in(store, end.result, "train")
    altered = list(after)
    for text in before:
        altered.remove(text)
    assert len(after) == new.counts["train"] == len(before) + end.figures["altered"]
    assert len(before) < len(altered) <= 2 * len(before)
    assert all("large" in text or "huge" in text for text in altered)
    ids = [sample.id for sample in new.samples("train")]
    assert len(set(ids)) == len(ids)


def test_releases_translate_back_and_label(shell: Shell) -> None:
    """The release has hardly learnt anything, so what it says makes no sense; but it stands where it should."""
    rows = [{"source": f"number {number} and more", "target": f"nummer {number % 4}"} for number in range(80)]
    (shell.folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    source = shell.well("--json", "data", "import", shell.folder / "pairs.jsonl").result
    shell.well("data", "snapshot", source, "--name", "pairs", "--keep", "near-duplicate")
    run = shell.well("--json", "train", "pairs", "--steps", 3, *TINY).result
    shell.well("evaluate", run, "--samples", 8, "--set", "texts.resamples=10")
    shell.well("release", run, "--as", "pairs:live")
    told = shell.well("data", "augment", "pairs", "--back", "pairs:live", "--name", "pairs-more")
    assert "It is called pairs-more" in told.err + told.out
    assert "pairs.jsonl" in shell.well("data", "show", "pairs-more").out
    assert "make their answers untrue" in shell.refused("data", "augment", "pairs", "--spans", 0.4)
    assert "cannot be read" in shell.refused("data", "augment", "pairs", "--synonyms", shell.folder / "none.txt")
    assert "nothing called" in shell.refused("data", "augment", "pairs", "--back", "nobody:live")

    labelled = shell.well("--json", "label", "pairs", "--by", "pairs:live").result
    store = Store.open(shell.store)
    old, new = list(samples_of(store, source)), list(samples_of(store, labelled))
    assert {sample.label for sample in new} <= {f"nummer {number}" for number in range(4)}
    assert [(sample.blob, sample.span) for sample in new] == [(sample.blob, sample.span) for sample in old]
    assert all(0 < sample.facts["label_chance"] < 1 for sample in new)
    store.close()
    assert "No text was given a label" in shell.refused("label", labelled, "--by", "pairs:live")
    told = shell.well("--json", "label", labelled, "--by", "pairs:live", "--as", "kind", "--choice", "yes", "--choice", "no")
    assert told.lines[-1]["figures"]["labelled"] == 80
