"""Checks of texts: what they find, that personal data is found and taken out, and that nothing leaks between the splits."""

import json
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shell import Shell

from karat.material.data.checks import check_sources
from karat.material.data.policy import REPAIRS, CheckPolicy
from karat.material.data.samples import Sample, sample_line, samples_of, source_of
from karat.material.data.snapshots import Snapshot, SnapshotSpec, make_snapshot
from karat.material.data.split import SPLIT_NAMES
from karat.material.data.texts.anonymising import Anonymising, anonymise
from karat.material.data.texts.inspecting import Repeats, blocked_terms
from karat.material.data.texts.languages import language_of, mojibake
from karat.material.data.texts.likeness import Texts, near_groups, overlap, prints, shingles
from karat.material.data.texts.personal import (
    KINDS,
    How,
    Placeholders,
    anonymised,
    credit_code_check,
    find,
    id_card_check,
    luhn_check,
)
from karat.material.data.texts.planted import VALUES, measured, planted
from karat.store.store import Store
from karat.values.passages import Passage, Turn
from karat.words.errors import SpecError
from karat.words.events import Event, Finding, Finished

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
MANY = "river stone lamp garden letter window winter bread music journey silver morning shadow forest harbour story"
MORE = "bridge candle meadow engine paper summer island market thunder valley copper mirror orchard violin"
WORDS = f"{MANY} {MORE}".split()
CHINESE = "春夏秋冬山水花鸟风云雨雪江河湖海天地人心书画琴棋诗酒茶月星光明暗远近高低东西南北上下左右前后"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def prose(seed: int, *, words: int = 80) -> str:
    """Give English-looking sentences that are like no others."""
    chosen = np.random.default_rng(seed).choice(WORDS, words)
    return " ".join(f"the {word} of" if place % 7 == 0 else str(word) for place, word in enumerate(chosen))


def verse(seed: int, *, length: int = 80) -> str:
    chosen = np.random.default_rng(seed).choice(list(CHINESE), length)
    return "，".join("".join(chosen[place : place + 7]) for place in range(0, length, 7)) + "。"


def edited(text: str, seed: int, share: float) -> str:
    """Put other words in the place of a share of them."""
    draw = np.random.default_rng(seed)
    return " ".join(str(draw.choice(WORDS)) if draw.random() < share else word for word in text.split(" "))


def source(store: Store, passages: dict[str, str | Passage], **columns: dict[str, Any]) -> str:
    """Keep passages as one shard, as an import does; `columns` give the fields of some of them."""
    shard, lines = b"", []
    for name, said in passages.items():
        passage = said if isinstance(said, Passage) else Passage(text=said)
        content = passage.to_bytes()
        lines.append((name, (len(shard), len(content)), bool(passage.turns)))
        shard += content
    blob = store.put(shard)
    listing = b"".join(
        sample_line(
            Sample.from_values(
                {
                    "id": "",
                    "source": "",
                    "modality": "text",
                    "name": name,
                    "blob": blob,
                    "span": span,
                    "in_turns": turns,
                    **columns.get(name, {}),
                }
            )
        )
        for name, span, turns in lines
    )
    return store.record("source", made=store.put(listing), spec={"name": "texts", "origin": "here"}, facts={"samples": len(lines)})


def ended(events: list[Event]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


def found_in(store: Store, ref: str, **policy: Any) -> list[Finding]:
    events = list(check_sources(store, [ref], policy=CheckPolicy.from_values(policy)))
    return [event for event in events if isinstance(event, Finding)]


def snapshot_of(store: Store, *refs: str, **values: Any) -> Snapshot:
    return Snapshot.open(store, ended(list(make_snapshot(store, SnapshotSpec.from_values({"sources": refs, **values})))).result)


def places(snapshot: Snapshot) -> dict[str, str]:
    return {sample.name: split for split in SPLIT_NAMES for sample in snapshot.samples(split)}


def test_checks_find_what_is_wrong_and_say_how_to_repair_it(store: Store) -> None:
    texts: dict[str, str | Passage] = {f"plain {number}": prose(number) for number in range(30)}
    footer = "All rights reserved by the publisher of this paper."
    texts |= {f"footed {number}": f"{prose(100 + number)}\n{footer}" for number in range(11)}
    texts |= {
        "empty": " \n\t",
        "short": "a  b",
        "copy": f"  {prose(3).upper()}\n",
        "near": prose(4) + " lamp",
        "misread": prose(50) + " caf\u00c3\u00a9",
        "lost": prose(51) + " \ufffd",
        "foreign": "Der Hund und die Katze sind nicht im Haus, aber der Garten ist für sie da.",
        "personal": prose(52) + " ann@example.com, bob@example.com, 13800138000",
        "blocked": prose(53) + " Forbidden!",
    }
    found = found_in(store, source(store, texts, copy={"label": "b"}), blocked=("forbidden", "river bank"))
    said = {(finding.check, finding.sample): finding.message for finding in found}
    assert set(said) == {
        ("empty", "empty"),
        ("too-short", "short"),
        ("label-conflict", "copy"),
        ("exact-duplicate", "copy"),
        ("near-duplicate", "near"),
        ("mojibake", "misread"),
        ("mojibake", "lost"),
        ("language", "foreign"),
        ("personal-data", "personal"),
        ("blocked-term", "blocked"),
        ("boilerplate", "11 texts"),
    }
    assert said["exact-duplicate", "copy"] == "It is plain 3 word for word."
    assert said["near-duplicate", "near"] == "It reads like plain 4."
    assert said["boilerplate", "11 texts"] == f"They all have the line {footer!r}."
    assert said["personal-data", "personal"] == "It has 2 x e-mail address and 1 x phone number."
    assert "ann@" not in " ".join(said.values())
    assert all(finding.repair == REPAIRS[finding.check] for finding in found)
    assert {finding.sample for finding in found if finding.drops} == {"empty", "short", "copy", "blocked"}


def test_languages_stand_in_the_figures_and_the_facts(store: Store) -> None:
    texts: dict[str, str | Passage] = {"a": prose(1), "b": verse(1), "c": verse(2), "d": "Это другой язык."}
    ref = source(store, texts)
    figures = ended(list(check_sources(store, [ref]))).figures
    assert {name: count for name, count in figures.items() if name.startswith("language")} == {
        "language en": 1,
        "language zh": 2,
        "language other": 1,
    }
    assert snapshot_of(store, ref).record.facts["figures"]["language zh"] == 2
    assert [finding.sample for finding in found_in(store, ref, languages=("zh",)) if finding.check == "language"] == ["a", "d"]


def test_conversations_are_checked_by_their_turns(store: Store) -> None:
    persona = "You are a friendly librarian who answers every question about the books of the house in short and plain sentences. " * 4
    talks: dict[str, str | Passage] = {
        f"talk {number}": Passage.answer(prose(number, words=9), "Yes", system=persona) for number in range(20)
    }
    talks["silent"] = Passage.answer("Say nothing.", " ")
    talks["again"] = Passage.answer(prose(3, words=9), "yes", system=persona)
    talks["called"] = Passage(turns=(Turn(role="user", text="Who?"), Turn(role="assistant", text="Call 13800138000.")))
    assert [(finding.check, finding.sample) for finding in found_in(store, source(store, talks))] == [
        ("empty", "silent"),
        ("personal-data", "called"),
        ("exact-duplicate", "again"),
    ]


def test_equal_shards_are_no_copies_and_a_mix_of_modalities_is_checked(store: Store) -> None:
    texts: dict[str, str | Passage] = {"a": prose(1), "b": prose(2)}
    picture = {"modality": "image", "span": None, "facts": {"width": 4, "height": 40}}
    assert [(finding.check, finding.sample) for finding in found_in(store, source(store, texts, b=picture))] == [
        ("too-small", "b"),
        ("odd-aspect", "b"),
    ]


def test_a_policy_with_an_empty_term_or_without_rensa_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="empty term"):
        CheckPolicy.from_values({"blocked": ("a", " ")})
    monkeypatch.setitem(sys.modules, "rensa", None)
    with pytest.raises(SpecError, match=r"needs rensa.*near_overlap=0"):
        prints([shingles("a b c")])


def test_blocked_terms_are_words_in_english_and_anywhere_in_chinese() -> None:
    pattern = blocked_terms(("Cat", "赌博", "a.b"))
    assert pattern is not None
    assert [found[0] for found in pattern.finditer("concatenate CAT, 猫cat猫, 网上赌博网, axb a.b")] == ["CAT", "cat", "赌博", "a.b"]
    assert blocked_terms(()) is None


def test_repeated_lines_are_counted_in_bounded_memory() -> None:
    repeats = Repeats(most=1000)
    for number in range(3000):
        repeats.add(f"line number {number} of the whole series\nthis line stands in every one of the texts\nshort")
    assert repeats.often(100) == [("this line stands in every one of the texts", 3000)]
    assert len(repeats._counts) <= 1001


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The quick brown fox jumps over the lazy dog.", "en"),
        ("red apple", "en"),
        ("我喜欢的颜色是红色。", "zh"),
        ("用 Python 写的程序运行得很快", "zh"),
        ("これは日本語の文章です。", "other"),
        ("Le chat est sur la table avec une souris.", "other"),
        ("Это русский текст.", "other"),
        ("한국어 문장입니다.", "other"),
        ("1 + 1 = 2", "other"),
        ("", "other"),
    ],
)
def test_languages_are_told(text: str, language: str) -> None:
    assert language_of(text) == language


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the shared data")
def test_languages_of_real_captions_are_told() -> None:
    rows = [json.loads(line) for line in (DATA / "stamps" / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    for column, language, least in (("text", "en", 0.98), ("text_zh", "zh", 0.99), ("text_ja", "other", 0.99), ("text_de", "other", 0.9)):
        told = [language_of(row[column]) for row in rows if row.get(column)]
        assert sum(each == language for each in told) >= least * len(told), column
        assert not [row[column] for row in rows if row.get(column) and mojibake(row[column])]


@pytest.mark.parametrize(
    "misread",
    [
        "Où est le café ? Là-bas, à côté.".encode().decode("latin-1"),
        "Grüße aus München".encode().decode("cp1252"),
        "it’s “quoted”".encode().decode("cp1252", "replace"),
        verse(0).encode().decode("gb18030", "ignore"),
        verse(0).encode("gbk").decode("latin-1"),
        "锟斤拷烫烫烫",
        "half \ufffd",
    ],
)
def test_mistaken_encodings_are_noticed(misread: str) -> None:
    assert mojibake(misread)
    assert not any(map(mojibake, (prose(0), verse(0), "Où est le café ? Là-bas, à côté.", "Grüße “zitiert” – 5 €", "これは日本語です")))


def test_checksums_are_those_of_the_standards() -> None:
    assert id_card_check("11010519491231002") == "X"
    assert credit_code_check("91350100M000100Y4") == "3"
    assert luhn_check("7992739871") == "3"


def test_personal_data_is_found_in_both_languages_and_near_misses_mostly_not() -> None:
    """The floors are below what was measured on 1,000 sentences of each kind; benchmarks/personal_data.py writes the table."""
    for (kind, language), result in measured(planted(150, np.random.default_rng(1))).items():
        assert result.recall >= (0.98 if kind == "phone" else 0.99), (kind, language)
        assert result.precision >= {"ip": 0.65, "phone": 0.93}.get(kind, 0.95), (kind, language)


def test_what_only_looks_personal_is_left_alone() -> None:
    for text in (
        "Order 20240115123456789 of 2024-01-15, version 1.2.3.4, v10.2.33.44, std::vector, 12:30:45, ::1 and 127.0.0.1.",
        "4532015112830367 fails Luhn, 110105194912310021 its check, 91350100M000100Y44 too.",
        "@ann and ann@localhost are none; ISBN 978-7-111-12345-6; pi is 3.14159265358979323846.",
        "他在东京A12345号展位，2024年1月15日，共1234567890123元。",
    ):
        assert find(text) == [], text


@pytest.mark.parametrize("gap", range(90, 100))
def test_what_lies_near_a_number_is_found_as_well(gap: int) -> None:
    for value in ("粤B12345", "ab:cd::12", "ann@example.com"):
        assert [span.kind for span in find(f"1{'x' * gap} {value}, @{'y' * 600}")] in (["plate"], ["ip"], ["email"])
        assert len(find(f"1{' ' * gap}{value}")) == 1


def test_one_value_in_many_forms_has_one_placeholder() -> None:
    known = Placeholders()
    text = "Ann@Example.com or ann@example.com; 13800138000, +86 138 0013 8000, １３８００１３８０００; bob@example.com"
    wanted = "<EMAIL_1> or <EMAIL_1>; <PHONE_1>, <PHONE_1>, <PHONE_1>; <EMAIL_2>"
    assert anonymised(text, "placeholders", known=known) == wanted
    assert anonymised("again: bob@example.com", "placeholders", known=known) == "again: <EMAIL_2>"
    assert (
        anonymised(text, "removal", known=Placeholders(), kinds=("phone",)) == "Ann@Example.com or ann@example.com; , , ; bob@example.com"
    )


MIXED = st.lists(
    st.one_of(
        st.text(max_size=12),
        st.text("0123456789 -+().:@xX京Aab٣３", max_size=24),
        st.builds(lambda kind, seed: VALUES[kind](np.random.default_rng(seed)), st.sampled_from(KINDS), st.integers(0, 999)),
    ),
    max_size=8,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(text=MIXED, how=st.sampled_from(["placeholders", "removal"]))
def test_anonymised_texts_hold_nothing_that_is_found(text: str, how: How) -> None:
    spans = find(text)
    assert all(0 <= span.first < span.end <= len(text) and span.value for span in spans)
    assert all(left.end <= right.first for left, right in pairwise(spans))
    clean = anonymised(text, how, known=Placeholders())
    assert find(clean) == []
    assert anonymised(clean, how, known=Placeholders()) == clean
    assert clean == text or spans


def test_finding_takes_time_in_proportion_to_the_text() -> None:
    for piece in ("1", "1-", "a.", "+1 ", "1:", "a@", "13800138000 ", "a@b.co ", "粤B"):
        find(piece * (200_000 // len(piece)))


def test_anonymising_makes_a_source_that_remembers_the_old_one(store: Store) -> None:
    passages: dict[str, str | Passage] = {
        "letter": "Ask ann@example.com.",
        "talk": Passage.answer("Who is ann@example.com?", "Her phone is 13800138000."),
        "plain": "Nothing here.",
    }
    columns: dict[str, dict[str, Any]] = {
        "letter": {"label": "bob@example.com", "captions": {"from": "ann@example.com"}, "numbers": {"tel": 13800138000, "size": 3}},
        "talk": {"facts": {"rejected": "Call 13800138000", "encoding": "utf-8"}},
    }
    old = source(store, passages, **columns)
    events = list(anonymise(store, old, Anonymising()))
    letter, talk, plain = samples_of(store, ended(events).result)
    assert source_of(store, letter) == Passage(text="Ask <EMAIL_1>.")
    assert source_of(store, talk) == Passage.answer("Who is <EMAIL_1>?", "Her phone is <PHONE_1>.")
    assert source_of(store, plain) == Passage(text="Nothing here.")
    assert (letter.label, letter.captions, letter.numbers) == ("<EMAIL_2>", {"from": "<EMAIL_1>"}, {"size": 3})
    assert talk.facts == {"rejected": "Call <PHONE_1>", "encoding": "utf-8"}
    record = store.get(ended(events).result)
    assert record.made_from == (old,)
    assert record.facts["taken_out"] == {"email": 4, "phone": 3}
    assert record.facts["changed"] == 2
    assert not [finding for finding in found_in(store, record.id) if finding.check == "personal-data"]
    again = ended(list(anonymise(store, old, Anonymising()))).result
    assert again == record.id
    kept = ended(list(anonymise(store, old, Anonymising(how="removal", kinds=("phone",))))).result
    assert source_of(store, next(iter(samples_of(store, kept)))) == Passage(text="Ask ann@example.com.")


def test_anonymising_and_splitting_from_the_command_line(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "one.txt").write_text("Write to ann@example.com, or call 13800138000.", encoding="utf-8")
    shell.well("data", "import", tmp_path / "letters")
    assert "1 x email, 1 x phone" in shell.well("data", "anonymise", "latest").out
    letters = shell.well("--json", "data", "anonymise", "latest", "--kind", "phone", "--how", "removal").result
    assert "magic" in shell.refused("data", "anonymise", letters, "--how", "magic")
    assert "column writer" in shell.refused("data", "snapshot", letters, "--apart", "writer")
    assert shell.well("data", "snapshot", letters, "--apart", "file", "--apart", "source").code == 0


def test_near_duplicates_are_found_and_others_are_not() -> None:
    texts = [prose(number) for number in range(200)] + [verse(number) for number in range(100)]
    copies = [edited(texts[number], number, 0.1) for number in range(50)]
    copies += [texts[200 + number].replace(texts[200 + number][10], "某") for number in range(30)]
    sets = [shingles(text) for text in (*texts, *copies)]
    *_, (done, groups) = near_groups(Texts(prints(sets), np.array(list(map(len, sets))), sets.__getitem__), least=0.4)
    assert done == len(sets)
    of = [*range(50), *range(200, 230)]
    right = sum(int(groups[300 + place]) == original for place, original in enumerate(of))
    assert right >= 78
    assert len(set(groups[:300].tolist())) == 300


def test_shingles_pass_over_case_spaces_and_punctuation() -> None:
    assert overlap(shingles("Hello, World and all!"), shingles("hello world   and ALL")) == 1
    assert overlap(shingles("one two three"), shingles("four five six")) == 0
    assert overlap(shingles(""), shingles("")) == 0
    assert len(shingles("我喜欢红色")) == 3
    assert len(shingles("alone")) == 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=12))
def test_any_texts_can_be_compared(texts: list[str]) -> None:
    sets = [shingles(text) for text in texts]
    *_, (_, groups) = near_groups(Texts(prints(sets), np.array(list(map(len, sets)), np.int64), sets.__getitem__), least=0.4)
    assert all(groups[group] == group <= place for place, group in enumerate(groups.tolist()))
    for text, own in zip(texts, sets, strict=True):
        assert np.array_equal(shingles(text.upper().lower()), own) or text.upper().lower().casefold() != text.casefold()


def test_sentences_of_one_mould_are_no_crowd_of_duplicates(store: Store) -> None:
    things = ("红色", "蓝色", "绿色", "黄色", "黑色", "白色", "紫色", "橙色", "苹果", "香蕉", "葡萄", "西瓜")
    texts: dict[str, str | Passage] = {thing: f"我喜欢的颜色是{thing}。" for thing in things}
    texts |= {f"en {word}": f"My favourite thing of all is the {word}." for word in WORDS}
    assert not [finding for finding in found_in(store, source(store, texts)) if finding.check == "near-duplicate"]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_leaks_never_straddle_the_split(store: Store, seed: int) -> None:
    texts: dict[str, str | Passage] = {f"{number}": prose(number) for number in range(120)}
    texts |= {f"near {number}": edited(prose(number), number, 0.06) for number in range(30)}
    texts |= {f"copy {number}": prose(number).upper() for number in range(30, 45)}
    columns: dict[str, dict[str, Any]] = {str(number): {"facts": {"author": f"author {number % 5}"}} for number in range(60, 90)}
    columns |= {str(number): {"group": f"book {number % 4}"} for number in range(90, 110)}
    columns |= {str(number): {"captions": {"place": f"place {number % 3}"}} for number in range(110, 120)}
    ref = source(store, texts, **columns)
    snapshot = snapshot_of(store, ref, seed=seed, apart=("author", "place"), policy={"drop": []})
    where = places(snapshot)
    assert len(where) == len(texts)
    assert [name for name in texts if name.partition(" ")[2] and where[name] != where[name.partition(" ")[2]]] == []
    for first, last, count in ((60, 90, 5), (90, 110, 4), (110, 120, 3)):
        for rest in range(count):
            assert len({where[str(number)] for number in range(first, last) if number % count == rest}) == 1
    assert all(snapshot.counts[name] > 0 for name in SPLIT_NAMES)


def test_pieces_of_one_file_can_be_kept_apart_and_an_unknown_column_is_refused(store: Store) -> None:
    ref = source(store, {f"{book}.jsonl:{page}": prose(100 * book + page) for book in range(8) for page in range(6)})
    where = places(snapshot_of(store, ref, apart=("file",)))
    assert {len({where[f"{book}.jsonl:{page}"] for page in range(6)}) for book in range(8)} == {1}
    with pytest.raises(SpecError, match=r"No sample has a column writer.*file, group"):
        snapshot_of(store, ref, apart=("writer",))


MEMORY = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from karat.material.data.checks import check_sources
from karat.store.store import Store
from test_text_checks import prose, source
store = Store.open(sys.argv[1])
long = prose(0, words=150)
ref = source(store, {str(number): f"{number} {prose(number, words=40)} {long * int(sys.argv[2])}" for number in range(60)})
list(check_sources(store, [ref]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_texts(tmp_path: Path) -> None:
    """Sixty texts of a kilobyte, and of half a megabyte: what is kept of each is the same, and one is read at a time."""
    peaks = []
    for times in (1, 500):
        command = [sys.executable, "-c", MEMORY, str(tmp_path / str(times)), str(times), str(Path(__file__).parent)]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024)
    assert peaks[1] - peaks[0] < 200


def test_splits_without_labels_balance_by_counts(store: Store) -> None:
    snapshot = snapshot_of(store, source(store, {str(number): prose(number) for number in range(100)}))
    assert snapshot.counts == {"train": 62, "validation": 8, "test": 18, "judge": 12}
    assert Counter(places(snapshot).values()) == snapshot.counts
