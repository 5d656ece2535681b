"""Copied texts are found and their sources named; texts that nobody copied share no more with training than held-out ones do."""

import json
import random
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pytest
from shell import Shell

from karat.app.chain import find, open_store
from karat.app.provenance import story
from karat.material.data.samples import source_of
from karat.material.data.snapshots import Snapshot
from karat.material.metrics.scores import result_of
from karat.material.metrics.texts.copying import find_copies
from karat.material.metrics.texts.units import places
from karat.material.releases.release import Release
from karat.material.trust import text_originality
from karat.material.trust.text_originality import FACTS_FILE, PIECE, SHORT, TextOriginality, build_text_index, cut, plant_texts
from karat.words.errors import DataError, ReleaseError
from karat.words.events import Warned

CHANCE = random.Random(0)
WORDS = sorted({word for page in topics.values() for word in page.lower().split() if word.isalpha()})
OWN = [" ".join(CHANCE.choices(WORDS, k=CHANCE.randint(60, 120))) for _ in range(600)]
"""Texts of chance words, which have hardly a run in common; pages of real help texts have many."""
PAGES = [piece for _, page in sorted(topics.items()) for piece in cut(page) if len(places(piece)) >= 40]
CHANCE.shuffle(PAGES)
TRAIN, HELD_OUT, FRESH = PAGES[:500], PAGES[500:620], PAGES[620:740]
POEM = "床前明月光，疑是地上霜。举头望明月，低头思故乡。"


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(capsys, tmp_path)


def index_of(train: list[str], held_out: list[str]) -> TextOriginality:
    return result_of(build_text_index(((f"帮助/{row}.txt", text) for row, text in enumerate(train)), held_out))


@pytest.fixture(scope="module")
def index() -> TextOriginality:
    return index_of(TRAIN, HELD_OUT)


def test_planted_copies_are_found_and_their_sources_named():
    index = index_of([*OWN[:500], POEM], OWN[500:])
    for kind, copies in plant_texts(OWN[:100], FRESH).items():
        verdicts = [index.verdict(text) for text in copies]
        assert np.mean([verdict.copied for verdict in verdicts]) >= 0.9, kind
        assert np.mean([verdict.nearest == f"帮助/{row}.txt" for row, verdict in enumerate(verdicts)]) >= 0.9, kind
    assert min(index.facts["detected"].values()) >= 0.9
    verdict = index.verdict(f"他说：{POEM[:12]}")
    assert verdict.longest == 12
    assert verdict.at == (3, 15)
    assert verdict.nearest == "帮助/500.txt"
    assert index.verdict(POEM).copied
    assert index.verdict(POEM[:12]).copied, "short, but all of it stands in training"
    assert not verdict.copied, "twelve characters are no copy where they are not the whole"


def test_real_texts_are_seldom_called_copies(index):
    verdicts = [index.verdict(text) for text in FRESH]
    assert np.mean([verdict.copied for verdict in verdicts]) <= 0.04
    assert index.facts["false_alarms"] <= 0.02
    assert np.mean([verdict.copied_runs for verdict in verdicts]) == pytest.approx(verdicts[0].held_out_runs, abs=0.03)
    assert 0.3 < np.median([verdict.rank for verdict in verdicts]) < 0.7, "a fresh text ranks among the held-out ones"


def test_lengths_and_shares_are_those_of_a_search_through_the_texts(monkeypatch):
    monkeypatch.setattr(text_originality, "OFTEN", 10**9)
    index = index_of(TRAIN, HELD_OUT)
    mixed = [f"{fresh[:200]} {trained[50:300]}" for fresh, trained in zip(FRESH[:40], TRAIN[:40], strict=True)]
    for text, found in zip(mixed, find_copies(mixed, TRAIN), strict=True):
        verdict = index.verdict(text)
        assert verdict.longest == (found.longest if found.longest >= SHORT else 0)
        assert verdict.copied_runs == pytest.approx(found.copied_runs / found.runs, abs=0.02)
        assert text[slice(*verdict.at)] == text[slice(*found.at)]


def test_of_too_many_runs_a_part_is_kept_and_long_copies_are_still_found(monkeypatch):
    monkeypatch.setattr(text_originality, "MOST", 10_000)
    monkeypatch.setattr(text_originality, "BLOCK", 50_000)
    index = index_of(OWN[:500], OWN[500:])
    assert len(index.hashes) <= 10_000
    assert index.facts["level"] >= 2
    verdicts = [index.verdict(text) for text in OWN[:60]]
    assert np.mean([verdict.copied for verdict in verdicts]) >= 0.9
    assert all(len(places(text)) // 2 <= verdict.longest <= len(places(text)) for text, verdict in zip(OWN, verdicts, strict=False))
    assert not any(index.verdict(text).copied for text in OWN[500:])


def test_what_stands_everywhere_joins_but_proves_nothing(monkeypatch):
    monkeypatch.setattr(text_originality, "OFTEN", 50)
    rule = " ".join("-" * 30)
    index = index_of([f"{rule} {text}" for text in OWN[:60]], OWN[500:])
    assert len(index.often) == 1
    assert not index.verdict(rule).copied
    found = index.verdict(f"{rule} {OWN[3]}")
    assert (found.nearest, found.longest) == ("帮助/3.txt", 30 + len(places(OWN[3])))


def test_the_index_ships_without_a_word_of_the_texts(index):
    parts = index.parts()
    again = TextOriginality.from_parts(parts)
    assert [again.verdict(text) for text in FRESH[:9]] == [index.verdict(text) for text in FRESH[:9]]
    assert again.parts() == parts
    assert sum(map(len, parts.values())) < 12 * sum(len(places(text)) for text in TRAIN) + 30_000
    assert not any(b"function" in content for content in parts.values())
    with pytest.raises(ReleaseError, match="cannot be read"):
        TextOriginality.from_parts({**parts, FACTS_FILE: b"{}"})
    with pytest.raises(ReleaseError, match="newer"):
        TextOriginality.from_parts({**parts, FACTS_FILE: parts[FACTS_FILE].replace(b'"format":1', b'"format":2')})


def test_a_leak_between_the_splits_is_told_and_spoils_no_verdict():
    told = []
    work = build_text_index(((str(row), text) for row, text in enumerate(OWN[:500])), [*OWN[500:], *OWN[:20]])
    while True:
        try:
            told.append(next(work))
        except StopIteration as end:
            index = end.value
            break
    assert any(isinstance(event, Warned) and "20 held-out pieces" in event.message for event in told)
    assert index.verdict(OWN[40]).copied
    with pytest.raises(DataError, match="not in training too"):
        index_of(OWN[:9], OWN[:5])
    with pytest.raises(DataError, match="needs training texts"):
        index_of([], OWN[:5])


@pytest.mark.parametrize("text", ["", "  \n", "a", "one two three four"])
def test_a_text_too_short_to_share_anything_is_no_copy(index, text):
    verdict = index.verdict(text)
    assert not verdict.copied
    assert (verdict.longest, verdict.nearest, verdict.at) == (0, None, (0, 0))


def test_a_copied_text_is_told_wherever_it_is_shown(shell: Shell) -> None:
    """The model is bound to write what stands in training, and something else."""
    pytest.importorskip("llguidance")
    Path("own.jsonl").write_text("".join(json.dumps({"text": " ".join(text.split()[:24])}) + "\n" for text in OWN[:120]))
    shell.well("data", "import", "own.jsonl")
    shell.well("data", "snapshot", "latest", "--name", "own")
    shell.well("train", "own", "--steps", 2, "--size", "tiny", "--set", "plan.checks=1", "--set", "made.length=160")
    measuring = ("texts.resamples=5", "texts.tokens=24", "texts.windows=20")
    shell.well("evaluate", "latest", "--samples", 8, *(word for each in measuring for word in ("--set", each)))
    shell.well("release", "latest", "--as", "own:live", "-o", "own.karat")
    card = Release.open(Path("own.karat")).read("card.md").decode()
    assert "Planted copies of training texts that are called copies: exact 100%" in card
    store = open_store(shell.store)
    known = next(sample for sample in Snapshot.open(store, find(store, "latest", "snapshot").id).samples("train"))
    text = source_of(store, known).text
    store.close()
    told = shell.well("--json", "generate", "own:live", "--set", f"choice={json.dumps([text])}", "-o", "copies").lines
    made = next(line for line in told if line["kind"] == "made")
    assert (made["copied"], made["nearest"]) == (True, known.name)
    assert "1 lies suspiciously near a training sample" in told[-1]["summary"]
    assert f"24 words or marks as in {known.name}" in shell.well("show", "latest").out
    [path] = Path("copies").glob("*.txt")
    assert "suspiciously near a training sample" in shell.well("verify", path).out
    shell.well("generate", "own:live", "--set", 'choice=["what nobody wrote"]', "-o", "others")
    assert "no copy of a training sample: no span of five words or marks" in shell.well("show", "latest").out
    fact = json.loads(shell.well("--json", "show", "latest").out)["record"]["facts"]["originality"]
    assert (fact["copied"], fact["longest"], fact["rank"]) == (False, 0, 1.0)
    store = open_store(shell.store)
    assert story(store, made["asset"]).shared == text
    store.close()


def test_pieces_make_up_the_text():
    text = " ".join(map(str, range(300)))
    assert " ".join(cut(text)) == text
    assert [len(places(piece)) for piece in cut(text)] == [PIECE, PIECE, 44]
