"""Texts on their way into the store: what each form of row becomes, that no character is lost, and what is said about broken files."""

import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from karat.app.data import preview
from karat.material.data.checks import check_sources
from karat.material.data.importing import ImportOptions, import_source
from karat.material.data.samples import Sample, samples_of, source_of
from karat.material.data.showing import show
from karat.material.data.texts import importing, shards
from karat.material.data.texts.columns import understood
from karat.material.data.texts.documents import PIECE, pieces
from karat.material.data.texts.encodings import MAX_LINE, decoded, found_encoding
from karat.store.store import Store
from karat.values.passages import Passage
from karat.words.errors import DataError, SpecError
from karat.words.events import Event, Finding, Finished

TANG = Path(__file__).parent.parent.parent / "shared" / "data" / "text" / "tang300.jsonl"
SIMPLIFIED = "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。"
TRADITIONAL = "國破山河在，城春草木深。\n感時花濺淚，恨別鳥驚心。\n烽火連三月，家書抵萬金。"
ENGLISH = "The quality of mercy is not strained.\nIt droppeth as the gentle rain from heaven."


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def events_of(store: Store, place: Path, **options: object) -> list[Event]:
    return list(import_source(store, place, options=ImportOptions.from_values(options)))


def source(events: Sequence[Event]) -> str:
    assert isinstance(events[-1], Finished)
    return events[-1].result


def imported(store: Store, place: Path, **options: object) -> list[Sample]:
    return list(samples_of(store, source(events_of(store, place, **options))))


def passages(store: Store, samples: Sequence[Sample]) -> list[Passage]:
    found = [source_of(store, sample) for sample in samples]
    assert all(isinstance(passage, Passage) for passage in found)
    return [passage for passage in found if isinstance(passage, Passage)]


def texts(store: Store, place: Path, **options: object) -> list[str]:
    return [passage.text for passage in passages(store, imported(store, place, **options))]


def findings(events: Sequence[Event]) -> dict[str, str]:
    return {event.sample: event.message for event in events if isinstance(event, Finding)}


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write rows in the form that the file's name says."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")
    elif path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL, delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writerow(rows[0])
            writer.writerows(row.values() for row in rows)
    return path


def docx(path: Path, document: str | None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("[Content_Types].xml", "<Types/>")
        if document is not None:
            packed.writestr("word/document.xml", document)
    return path


def word(*paragraphs: str) -> str:
    body = "".join(f"<w:p><w:r>{paragraph}</w:r></w:p>" for paragraph in paragraphs)
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    return f'<w:document xmlns:w="{space}" xmlns:m="urn:x"><w:body>{body}</w:body></w:document>'


FORMS: list[tuple[dict[str, Any], Passage, dict[str, Any]]] = [
    ({"text": "a\r\nb\rc", "author": "Li", "stars": 4}, Passage(text="a\nb\nc"), {"facts": {"author": "Li"}, "numbers": {"stars": 4.0}}),
    ({"text": "a", "label": "x", "group": "g", "license": "CC0", "text_zh": "甲"}, Passage(text="a"),
     {"label": "x", "group": "g", "licence": "CC0", "captions": {"text_zh": "甲"}}),
    ({"prompt": "1+1?", "completion": "2", "system": "Count."}, Passage.answer("1+1?", "2", system="Count."), {}),
    ({"instruction": "Add.", "input": "1, 1", "output": "2"}, Passage.answer("Add.\n\n1, 1", "2"), {}),
    ({"instruction": "Say hello.", "input": "", "output": "Hello."}, Passage.answer("Say hello.", "Hello."), {}),
    ({"source": "moon", "target": "月亮"}, Passage.answer("moon", "月亮"), {}),
    ({"source": "a book", "text": "a"}, Passage(text="a"), {"facts": {"source": "a book"}}),
    ({"prompt": "p", "chosen": "good", "rejected": "bad"}, Passage.answer("p", "good"), {"facts": {"rejected": "bad"}}),
    ({"prompt": "p", "completion": "c", "thumb": "down"}, Passage.answer("p", "c"), {"facts": {"verdict": False}}),
    ({"prompt": "p", "completion": "c", "label": True}, Passage.answer("p", "c"), {"facts": {"verdict": True}}),
    ({"prompt": "p", "completion": "c", "label": "kind"}, Passage.answer("p", "c"), {"label": "kind"}),
    ({"messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                   {"role": "assistant", "content": "Hello"}], "file": "x"},
     Passage.answer("Hi", "Hello", system="Be brief."), {"facts": {"file": "x"}}),
    ({"chosen": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "good"}],
      "rejected": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "bad"}]},
     Passage.answer("p", "good"), {"facts": {"rejected": "bad"}}),
    ({"prompt": [{"role": "user", "content": "p"}], "completion": '[{"role": "assistant", "content": "c"}]'}, Passage.answer("p", "c"), {}),
]  # fmt: skip


@pytest.mark.parametrize(("row", "passage", "fields"), FORMS)
def test_each_form_of_row_becomes_a_passage(row: dict[str, Any], passage: Passage, fields: dict[str, Any]) -> None:
    read = understood(row, {})
    assert read.passage == passage
    assert read.fields == fields


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"body": "a", "note": 1}, "its columns are: body, note"),
        ({"text": 5}, "Its text is a number"),
        ({"prompt": "p", "completion": " "}, "Its completion is empty"),
        ({"prompt": "p", "chosen": "c"}, "no rejected one"),
        ({"chosen": "c", "rejected": "r"}, "no prompt"),
        ({"prompt": "p", "completion": "c", "thumb": "sideways"}, "neither up nor down"),
        ({"messages": [{"role": "assistant", "content": "Hello"}]}, "no turn of the user"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "is by 'tool'"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "something other than text"),
        ({"messages": [{"role": "user", "content": None}]}, "holds nothing where a text belongs"),
        ({"messages": []}, "no list of messages"),
        ({"messages": "[{"}, "no JSON"),
    ],
)
def test_a_row_that_makes_no_sense_is_refused(row: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        understood(row, {})


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet"])
def test_tables_of_all_forms_hold_the_same(folder: Path, store: Store, name: str) -> None:
    rows = [
        {"poem": SIMPLIFIED, "author": "李白", "lines": 2, "text_en": "Moon"},
        {"poem": "“1”,\t2", "author": "杜甫", "lines": 1, "text_en": "One"},
    ]
    samples = imported(store, write_rows(folder / name, rows), columns={"poem": "text", "author": "group"})
    assert [passage.text for passage in passages(store, samples)] == [SIMPLIFIED, "“1”,\t2"]
    assert [(sample.group, sample.numbers, sample.captions) for sample in samples] == [
        ("李白", {"lines": 2.0}, {"text_en": "Moon"}),
        ("杜甫", {"lines": 1.0}, {"text_en": "One"}),
    ]
    assert samples[0].name == {"a.csv": "a.csv:2", "a.tsv": "a.tsv:2"}.get(name, f"{name}:1")
    assert samples[0].modality == "text"
    assert samples[0].facts == ({} if name.endswith("parquet") else {"encoding": "utf-8"})


def test_a_column_of_numbers_that_is_the_text_stays_text(folder: Path, store: Store) -> None:
    (folder / "a.csv").write_text("body,n\n12,3\n007,4\n")
    samples = imported(store, folder, columns={"body": "text"})
    assert [passage.text for passage in passages(store, samples)] == ["12", "007"]
    assert [sample.numbers for sample in samples] == [{"n": 3.0}, {"n": 4.0}]


PLAIN = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("\n\r\t"), max_size=40)


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "tsv", "parquet"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.lists(PLAIN, min_size=1, max_size=4))
def test_every_text_comes_back(tmp_path: Path, store: Store, form: str, said: list[str]) -> None:
    path = write_rows(tmp_path / f"a.{form}", [{"text": text} for text in [*said, "good"]])
    assert texts(store, path) == [text.replace("\r\n", "\n").replace("\r", "\n") for text in [*said, "good"]]


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.just("\n"), min_size=1))
def test_unicode_is_always_found(text: str) -> None:
    text = text.removeprefix("\ufeff")
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        assert decoded(text.encode(encoding), "a.txt") == text


@pytest.mark.parametrize(
    ("text", "encoding", "found"),
    [
        (SIMPLIFIED, "utf-8", "utf-8"),
        (SIMPLIFIED, "utf-8-sig", "utf-8-sig"),
        (SIMPLIFIED, "gb18030", "gb18030"),
        (SIMPLIFIED, "utf-16", "utf-16-le"),
        (SIMPLIFIED, "utf-16-be", "utf-16-be"),
        (TRADITIONAL, "big5", "big5"),
        (TRADITIONAL, "gb18030", "gb18030"),
        (TRADITIONAL, "utf-16-le", "utf-16-le"),
        (ENGLISH, "ascii", "utf-8"),
        (ENGLISH, "utf-16-le", "utf-16-le"),
        ("“Don’t,” he said – “café crème!” " + ENGLISH, "cp1252", "windows-1252"),
    ],
)
def test_encodings_are_found_and_reported(folder: Path, store: Store, text: str, encoding: str, found: str) -> None:
    (folder / "a.txt").write_bytes(text.encode(encoding))
    events = events_of(store, folder)
    (sample,) = samples_of(store, source(events))
    assert passages(store, [sample]) == [Passage(text=text)]
    assert sample.facts == {"encoding": found}
    assert store.get(source(events)).facts["encodings"] == {found: 1}


@pytest.mark.skipif(not TANG.exists(), reason="needs the shared data")
def test_chinese_is_told_from_chinese_line_by_line() -> None:
    """Most single lines of five or seven characters are enough; of half lines a few are not."""
    poems = [json.loads(line)["text"] for line in TANG.read_text(encoding="utf-8").splitlines()]
    lines = [line for poem in poems for line in poem.split("\n")]
    halves = [line[:5] for line in lines]

    def share(some: list[str], encoding: str) -> float:
        written = [line.encode(encoding, "ignore") for line in some if line.encode(encoding, "ignore").decode(encoding) == line]
        return sum(name(content) == encoding for content in written) / len(written)

    def name(content: bytes) -> str:
        return found_encoding(lambda: io.BytesIO(content), "a line").name

    assert share(poems, "gb18030") == 1
    assert share(lines, "gb18030") > 0.995
    assert share(halves, "gb18030") > 0.98
    assert share(lines, "big5") > 0.95
    assert share(halves, "big5") > 0.98


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"poem\0poem poem", "files of programs"),
        ("a.txt", b"\x7fELF" + bytes(range(256)) * 8, "files of programs"),
        ("a.txt", random.Random(0).randbytes(4000), "files of programs"),
        ("a.txt", b"\xff\xfb\x90\xff" * 40, "no text in UTF-8"),
        ("a.txt", b"", "holds no text"),
        ("a.txt", b" \n\n", "holds no text"),
        ("a.jsonl", b'{"text": "a\\u0000b"}', "NUL character"),
        ("a.jsonl", b'{"text": "\\ud800"}', "half of a character"),
        ("a.jsonl", b'{"text": NaN}', "NaN is no number"),
        ("a.jsonl", b'["a"]', "holds no object"),
        ("a.json", b'[{"text": "a"', "row 1, is no JSON"),
        ("a.json", b'{"text"\n: "a"}', "line 1, is no JSON"),
        ("a.csv", b"text,note\na\n", "has 1 columns in place of 2"),
        ("a.csv", b"text,text\na,b\n", "names a column twice"),
        ("a.csv", b"body\na\n", "its columns are: body"),
        ("a.csv", b'text\n"open\n', "is no CSV"),
        ("a.parquet", b"PAR1 is not all that it takes", "as Parquet"),
        ("a.docx", b"PK\3\4 is not all that it takes", "as .docx"),
        ("a.docx", b"\xd0\xcf\x11\xe0", "as .docx"),
    ],
)
def test_a_file_of_which_nothing_can_be_read_is_an_error(folder: Path, store: Store, name: str, content: bytes, said: str) -> None:
    (folder / name).write_bytes(content)
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match=said) as error:
        events_of(store, folder)
    assert error.value.repair
    assert not store.find("source")


def test_a_bad_file_beside_a_good_one_is_a_finding(folder: Path, store: Store) -> None:
    (folder / "good.txt").write_text(ENGLISH)
    (folder / "bad.txt").write_bytes(b"\0\1\2\3" * 99)
    (folder / "empty.md").write_bytes(b"")
    ref = source(events_of(store, folder))
    assert store.get(ref).facts["with_problems"] == 2
    found = {event.sample: event.check for event in check_sources(store, [ref]) if isinstance(event, Finding)}
    assert found == {"bad.txt": "unreadable", "empty.md": "empty"}


def test_bad_rows_are_named_and_the_others_kept(folder: Path, store: Store) -> None:
    lines = ['{"text": "one"}', '{"text": "two', "", '{"text": "four"}', '{"body": "five"}', '{"text": "six"}']
    (folder / "a.jsonl").write_text("\r\n".join(lines))
    (folder / "b.json").write_text('[{"text": "seven"}, {"text": NaN}, {"text": "nine"}, {"te')
    events = events_of(store, folder)
    samples = list(samples_of(store, source(events)))
    assert [sample.name for sample in samples] == ["a.jsonl:1", "a.jsonl:4", "a.jsonl:6", "b.json:1", "b.json:3"]
    assert [passage.text for passage in passages(store, samples)] == ["one", "four", "six", "seven", "nine"]
    found = findings(events)
    assert "a.jsonl, line 2, is no JSON" in found["a.jsonl:2"]
    assert "columns are: body" in found["a.jsonl:5"]
    assert "row 2" in found["b.json:2"]
    assert "row 4, is no JSON" in found["b.json"]
    assert store.get(source(events)).facts["left_out"] == 4
    assert findings(events_of(store, folder)) == found, "a second import says the same"


def test_of_many_bad_rows_the_first_are_named_and_the_others_counted(folder: Path, store: Store) -> None:
    (folder / "a.jsonl").write_text('{"text": "good"}\n' + '{"body": "bad"}\n' * 100)
    found = findings(events_of(store, folder))
    assert len(found) == importing.SAID + 1
    assert found["a.jsonl"] == "80 more of its rows are left out."


def test_a_line_without_end_is_passed_over(folder: Path, store: Store) -> None:
    with (folder / "a.jsonl").open("w") as file:
        file.write('{"text": "first"}\n{"text": "')
        for _ in range(MAX_LINE // 1_000_000 + 2):
            file.write("a" * 1_000_000)
        file.write('"}\n{"text": "last"}\n')
    events = events_of(store, folder)
    assert "line 2, is longer than 16 million" in findings(events)["a.jsonl:2"]
    assert [passage.text for passage in passages(store, list(samples_of(store, source(events))))] == ["first", "last"]


def test_broken_bytes_in_a_text_are_told(folder: Path, store: Store) -> None:
    (folder / "a.txt").write_bytes(SIMPLIFIED.encode()[:-1])
    (sample,) = imported(store, folder)
    assert sample.facts == {"encoding": "utf-8", "damaged": True}
    assert passages(store, [sample])[0].text == SIMPLIFIED[:-1] + "\ufffd"


def test_word_documents_are_read(folder: Path, store: Store) -> None:
    runs = (
        "<w:t>春眠</w:t><w:tab/><w:t>不觉晓</w:t>",
        "<w:delText>gone</w:delText><w:t>second &amp; last</w:t>",
        "<w:instrText>PAGE</w:instrText>",
    )
    again = "<m:Fallback><w:p><w:r><w:t>again</w:t></w:r></w:p></m:Fallback>"
    docx(folder / "a.docx", word(*runs).replace("</w:body>", f"{again}</w:body>"))
    with zipfile.ZipFile(folder / "b.zip", "w") as packed:
        packed.write(folder / "a.docx", "a.docx")
    assert texts(store, folder / "a.docx") == texts(store, folder / "b.zip") == ["春眠\t不觉晓\nsecond & last\n\n"]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (None, "it holds no text"),
        ("<w:document>", "as .docx"),
        ('<!DOCTYPE a [<!ENTITY b "b"><!ENTITY c "&b;&b;">]><a>&c;</a>', "declares a document type"),
        (" " * (17 << 20), "as bombs do"),
    ],
)
def test_hostile_word_documents_are_refused(folder: Path, store: Store, document: str | None, said: str) -> None:
    docx(folder / "a.docx", document)
    with pytest.raises(DataError, match=said):
        events_of(store, folder)


@pytest.mark.parametrize("mark", ["", " ", "\n", "\n\n", "。"])
def test_a_long_text_is_cut_where_it_is_least_felt(mark: str) -> None:
    sentence = "春眠不觉晓处处闻啼鸟" * 7 + "夜来风雨声e\u0301e\u0301" + mark
    text = sentence * (5 * PIECE // 2 // len(sentence.encode()))
    chunks = [text[start : start + 70_001] for start in range(0, len(text), 70_001)]
    cut = list(pieces(chunks))
    assert "".join(cut) == text
    assert len(cut) == 3
    assert max(len(piece.encode()) for piece in cut) <= PIECE
    assert all(piece.endswith(mark) for piece in cut)
    assert not any(piece.startswith("\u0301") for piece in cut)


def test_a_long_document_is_one_group(folder: Path, store: Store) -> None:
    text = (ENGLISH + "\n\n") * (3 * PIECE // 2 // len(ENGLISH))
    (folder / "novel.txt").write_text(text)
    samples = imported(store, folder)
    assert [(sample.name, sample.group) for sample in samples] == [("novel.txt:1", "novel.txt"), ("novel.txt:2", "novel.txt")]
    assert samples[1].facts == {"encoding": "utf-8", "document": "novel.txt", "piece": 2}
    assert "".join(passage.text for passage in passages(store, samples)) == text


@pytest.mark.parametrize(
    ("each", "said"),
    [
        ("line", {"a.txt:2": "one", "a.txt:3": " two", "a.txt:5": "three", "b.docx:1": "four", "b.docx:2": "five", "c.md": ""}),
        ("paragraph", {"a.txt:2": "one\n two", "a.txt:5": "three", "b.docx:1": "four\nfive", "c.md": ""}),
    ],
)
def test_lines_and_paragraphs_can_be_samples(folder: Path, store: Store, each: str, said: dict[str, str]) -> None:
    (folder / "a.txt").write_bytes(b"\r\none\r\n two\r\n \r\nthree")
    docx(folder / "b.docx", word("<w:t>four</w:t>", "<w:t>five</w:t>"))
    (folder / "c.md").write_text("\n\n")
    samples = imported(store, folder, each=each)
    assert dict(zip([sample.name for sample in samples], [passage.text for passage in passages(store, samples)])) == said
    assert samples[0].facts == {"encoding": "utf-8", "document": "a.txt"}
    assert samples[0].group is None


def write_many(folder: Path, count: int) -> None:
    for number in range(count):
        (folder / f"{number:04}.txt").write_text(f"{number}: {ENGLISH * (number % 7)}\n")


def test_many_samples_lie_in_few_blobs(folder: Path, store: Store) -> None:
    write_many(folder, 300)
    samples = imported(store, folder)
    assert len({sample.blob for sample in samples}) == 1
    assert [passage.text.split(":")[0] for passage in passages(store, samples)] == [str(number) for number in range(300)]
    assert len(list(store.folder.glob("blobs/??/*"))) <= 5


def test_a_second_import_reads_only_what_has_changed(folder: Path, store: Store) -> None:
    write_many(folder, 9)
    first = events_of(store, folder)
    again = events_of(store, folder)
    assert source(again) == source(first)
    assert not [event for event in again if event.kind == "progress"]
    (folder / "0003.txt").write_text("changed")
    (folder / "0005.txt").unlink()
    (folder / "0007b.txt").write_text("new")
    samples = imported(store, folder)
    old = next(samples_of(store, source(first))).blob
    assert [sample.name for sample in samples if sample.blob != old] == ["0003.txt", "0007b.txt"]
    assert len(samples) == 9
    said = [passage.text for passage in passages(store, samples)]
    assert (said[0][:2], said[3], said[4][:2], said[5][:2], said[7]) == ("0:", "changed", "4:", "6:", "new")


def test_what_was_deleted_from_the_store_is_kept_anew(folder: Path, store: Store) -> None:
    write_many(folder, 5)
    first = source(events_of(store, folder))
    store.path(next(samples_of(store, first)).blob).unlink()
    assert source(events_of(store, folder)) == first
    assert len(passages(store, list(samples_of(store, first)))) == 5


def test_other_columns_are_another_reading(folder: Path, store: Store) -> None:
    write_rows(folder / "a.jsonl", [{"a": "first", "b": "second"}])
    assert texts(store, folder, columns={"a": "text"}) == ["first"]
    assert texts(store, folder, columns={"b": "text"}) == ["second"]


KILLED = """
import sys
from pathlib import Path
from karat.material.data.importing import import_source
from karat.material.data.texts import importing, shards
from karat.store.store import Store
importing.SHARD = shards.SHARD = 20_000
importing.EVERY_SECONDS = 0
for event in import_source(Store.open(sys.argv[1]), Path(sys.argv[2])):
    print(event.model_dump_json(), flush=True)
"""


def test_a_killed_import_goes_on_and_ends_the_same(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_many(folder, 400)
    total = sum(path.stat().st_size for path in folder.iterdir())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(tmp_path / "killed"), str(folder)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line).get("done", 0) > total // 2:
                process.send_signal(signal.SIGKILL)
                break
    monkeypatch.setattr(importing, "SHARD", 20_000)
    monkeypatch.setattr(shards, "SHARD", 20_000)
    monkeypatch.setattr(importing, "EVERY_SECONDS", 0)
    killed, whole = Store.open(tmp_path / "killed"), Store.open(tmp_path / "whole")
    assert not killed.find("source"), "it was killed before its end"
    events = events_of(killed, folder)
    assert min(event.done for event in events if event.kind == "progress") > total // 4, "what was kept is not read again"
    assert source(events) == source(events_of(whole, folder))
    assert len(passages(killed, list(samples_of(killed, source(events))))) == 400


def test_folders_and_metadata_describe_documents(folder: Path, store: Store) -> None:
    for name in ("train/li/1.txt", "train/du/2.md", "test/du/3.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(ENGLISH)
    (folder / "README.md").write_text("about it")
    (folder / "LICENSE.txt").write_text("CC0")
    samples = imported(store, folder)
    assert [(sample.name, sample.label, sample.facts["split"]) for sample in samples] == [
        ("test/du/3.txt", "du", "test"),
        ("train/du/2.md", "du", "train"),
        ("train/li/1.txt", "li", "train"),
    ]
    assert {sample.licence for sample in samples} == {"CC0"}
    write_rows(folder / "metadata.csv", [{"file_name": "train/li/1.txt", "label": "Li Bai", "author": "李白", "year": 750}])
    last = imported(store, folder)[-1]
    assert (last.label, last.numbers, last.facts["author"]) == ("Li Bai", {"year": 750.0}, "李白")
    assert [sample.label for sample in imported(store, folder)] == [None, None, "Li Bai"]


def test_a_zip_holds_the_same_samples_as_its_folder(tmp_path: Path, folder: Path, store: Store) -> None:
    write_many(folder, 5)
    write_rows(folder / "b.jsonl", [{"text": SIMPLIFIED}])
    write_rows(folder / "c.parquet", [{"text": TRADITIONAL}])
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as packed:
        for path in sorted(folder.iterdir()):
            packed.write(path, path.name)
        with pytest.warns(UserWarning, match="Duplicate name"):
            packed.writestr("b.jsonl", '{"text": "twin"}')
    own = {"source", "id", "blob", "span"}
    one, other = (imported(store, tmp_path / name) for name in ("data", "data.zip"))
    assert other[6].name == "b.jsonl (2):1"
    assert [sample.model_dump(exclude=own) for sample in one] == [sample.model_dump(exclude=own) for sample in [*other[:6], *other[7:]]]


def test_pictures_come_first_and_the_texts_can_be_asked_for(folder: Path, store: Store) -> None:
    from PIL import Image

    Image.new("L", (20, 20)).save(folder / "a.png")
    (folder / "a.txt").write_text("a caption")
    write_rows(folder / "poems.jsonl", [{"text": SIMPLIFIED}])
    events = events_of(store, folder)
    (sample,) = samples_of(store, source(events))
    assert (sample.modality, sample.captions) == ("image", {"text": "a caption"})
    assert any("1 of .jsonl" in event.message and "--modality text" in event.message for event in events if event.kind == "warned")
    assert texts(store, folder, modality="text") == ["a caption", SIMPLIFIED]
    assert imported(store, folder, modality="image")[0].modality == "image"
    with pytest.raises(DataError, match="holds no pictures"):
        events_of(store, folder / "poems.jsonl", modality="image")


@pytest.mark.parametrize("form", ["PPM", "AVIF"])
def test_pictures_that_no_codec_reads_are_findings(folder: Path, store: Store, form: str) -> None:
    from PIL import Image, features

    if form == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    Image.new("RGB", (20, 20)).save(folder / "good.png")
    Image.new("RGB", (20, 20)).save(folder / f"other.{form.lower()}")
    (folder / f"other.{form.lower()}").rename(folder / "other.png")
    samples = imported(store, folder)
    assert [sample.facts.get("problem", {}).get("check") for sample in samples] == [None, "unreadable"]


def test_texts_are_shown_and_previewed(tmp_path: Path, folder: Path, store: Store) -> None:
    write_rows(folder / "a.jsonl", [{"prompt": f"{number}?", "completion": SIMPLIFIED} for number in range(12)])
    ref = source(events_of(store, folder))
    overview = show(store, ref)
    assert overview.counts == {"all": 12}
    assert overview.encodings == {"utf-8": 12}
    assert overview.beginnings[overview.examples[0].id] == f"0?\n{SIMPLIFIED}"
    list(preview(store, ref, tmp_path / "sheet.txt", count=3, made={"units": "bytes", "length": 64}))
    sheet = (tmp_path / "sheet.txt").read_text(encoding="utf-8")
    assert "3 of 12 texts as bytes, 260 ids, in rows of 64" in sheet
    assert "<user>|0|?|<assistant>|床(3)|前(3)" in sheet
    assert "(the first 64 are shown)" in sheet
    with pytest.raises(SpecError, match="vocab"):
        list(preview(store, ref, tmp_path / "sheet.txt", made={"vocab": 4}))


def lines_of(kind: str, size: int) -> Iterator[bytes]:
    """Write so many bytes of a text of many lines, of a single one, or of rows."""
    number = 0
    while size > 0:
        block = "".join(f"{number + step}: {ENGLISH}" for step in range(1000)) if kind != "rows" else ""
        if kind == "rows":
            block = "".join(json.dumps({"text": f"{number + step}: {ENGLISH}"}) + "\n" for step in range(1000))
        number += 1000
        content = (block.replace("\n", " ") if kind == "line" else block).encode()
        size -= len(content)
        yield content


MEASURED = """
import resource, sys
from pathlib import Path
from karat.material.data.importing import import_source
from karat.store.store import Store
store = Store.open(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for event in import_source(store, Path(sys.argv[2])):
    pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), [("a.txt", "lines"), ("a.txt", "line"), ("a.jsonl", "rows")])
def test_memory_is_flat(tmp_path: Path, name: str, kind: str) -> None:
    with (tmp_path / name).open("wb") as file:
        file.writelines(lines_of(kind, 200 << 20))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "store"), str(tmp_path / name)]
    megabytes = int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert megabytes < 150, f"{megabytes} MB for 200 MB of text"
