"""Bad input of texts through the command line: two clear sentences, an exit code that is not 0 for an error, nothing half-written."""

import io
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from shell import Shell, files_below

from karat.app.chain import find
from karat.faces.cli.entry import run
from karat.material.releases import SigningKey, write_release
from karat.store.store import Store
from karat.words.specs import canonical

TRAIN = ("train", "talk", "--steps", 2, "--size", "tiny", "--set", "plan.checks=1")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a snapshot of conversations and a release that has hardly learnt from it; nothing here changes them."""
    folder = tmp_path_factory.mktemp("texts")
    rows = [{"prompt": f"Where is number {number}?", "completion": f"On shelf {number * 7 % 10}."} for number in range(40)]
    (folder / "talk.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    store = ("--store", str(folder / "store"))
    assert run([*store, "data", "import", str(folder / "talk.jsonl")]) == 0
    assert run([*store, "data", "snapshot", "latest", "--name", "talk", "--keep", "near-duplicate"]) == 0
    assert run([*store, *map(str, TRAIN), "--set", "made.length=48"]) == 0
    opened = Store.open(folder / "store")
    trained = find(opened, "latest", "run")
    parts = {"spec.json": canonical(trained.spec), "model.safetensors": opened.path(trained.made or "")}
    write_release(folder / "talk.karat", parts, key=SigningKey.at(opened.folder), facts={"title": "Talk"})
    opened.close()
    return folder


@pytest.fixture
def shell(texts: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    made = Shell(capsys, tmp_path)
    made.store = texts / "store"
    return made


def count_of(shell: Shell, kind: str) -> int:
    store = Store.open(shell.store)
    found = len(store.find(kind))
    store.close()
    return found


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("noise.txt", random.Random(0).randbytes(4000), "bytes that no text has"),
        ("nul.txt", b"a poem\0and more of it", "bytes that no text has"),
        ("half.jsonl", b'{"text": "a \\ud800"}\n', "half of a character"),
        ("open.jsonl", b'{"text": "a\n', "line 1, is no JSON"),
        ("other.jsonl", b'{"body": "a"}\n', "its columns are: body"),
        ("alone.jsonl", b'{"messages": [{"role": "assistant", "content": "hi"}]}\n', "no turn of the user"),
    ],
)
def test_files_of_which_nothing_is_text(shell: Shell, name: str, content: bytes, said: str) -> None:
    before = count_of(shell, "source")
    Path(name).write_bytes(content)
    assert said in shell.refused("data", "import", name)
    assert count_of(shell, "source") == before


def test_a_malformed_line_is_named_and_the_others_are_kept(shell: Shell) -> None:
    Path("some.jsonl").write_text('{"text": "one"}\n{"text": \n{"text": "three"}\n')
    told = shell.well("data", "import", "some.jsonl")
    assert "some.jsonl:2" in told.out + told.err
    assert "line 2" in told.out + told.err
    assert "Imported 2 texts" in told.out + told.err


def test_a_line_without_end_is_passed_over_in_a_table_and_cut_in_a_text(shell: Shell) -> None:
    endless = "all in one line " * (18 << 16)
    Path("endless.jsonl").write_text(json.dumps({"text": endless}) + "\n")
    assert "line 1, is longer than 16 million characters" in shell.refused("data", "import", "endless.jsonl")
    Path("endless.txt").write_text(endless)
    told = shell.well("--json", "data", "import", "endless.txt").lines[-1]
    assert told["figures"]["samples"] > 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["line.txt", "line.jsonl"])
def test_a_gigabyte_in_one_line_needs_little_memory(tmp_path: Path, name: str) -> None:
    with (tmp_path / name).open("wb") as file:
        file.write(b'{"text": "' if name.endswith("jsonl") else b"")
        for number in range(1 << 10):
            file.write(f"all of this {number} lies in one line ".encode().ljust(1 << 10) * (1 << 10))
    code = "import resource, sys\nfrom karat.faces.cli.entry import run\ncode = run(sys.argv[1:])\n"
    code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)\nsys.exit(code)"
    command = [sys.executable, "-c", code, "--store", str(tmp_path / "store"), "data", "import", str(tmp_path / name)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True, check=False)
    assert int(done.stdout.splitlines()[-1]) < 500, "megabytes"
    if name.endswith("jsonl"):
        assert done.returncode == 3
        assert "longer than 16 million characters" in done.stderr
    else:
        assert done.returncode == 0, done.stderr


def test_line_ends_may_be_mixed(shell: Shell) -> None:
    Path("mixed.txt").write_bytes(b"one\r\ntwo\nthree\rfour")
    assert "Imported 4 texts" in shell.well("data", "import", "mixed.txt", "--each", "line").out
    Path("mixed.csv").write_bytes(b"text,label\r\none,a\ntwo,b\rthree,c\r\n")
    assert "Imported 3 texts" in shell.well("data", "import", "mixed.csv").out


def test_a_column_that_no_row_has_is_said(shell: Shell) -> None:
    Path("rows.jsonl").write_text('{"text": "one", "writer": "A"}\n{"text": "two"}\n')
    told = shell.well("data", "import", "rows.jsonl", "--column", "writer=group", "--column", "autor=label")
    assert "No row has the column 'autor'" in told.out + told.err
    assert "'writer'" not in told.out + told.err


def test_a_vocabulary_larger_than_the_data_becomes_what_the_data_give(shell: Shell) -> None:
    told = shell.well(*TRAIN, "--set", "made.vocab=60000", "--dry-run", "--json")
    assert 260 < json.loads(told.out)["model"]["space"]["vocab"] < 1000
    assert "vocab" in shell.refused(*TRAIN, "--set", "made.vocab=100")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--set", "augment.ops.flip=0.5"], "is for pictures"),
        (["--set", "made.units=words"], "'characters'"),
        (["--given", "caption"], "No sample has"),
        (["--set", "made.length=0"], "length"),
    ],
)
def test_trainings_that_make_no_sense_are_refused_before_anything_is_spent(shell: Shell, options: list[str], said: str) -> None:
    before = files_below(shell.store / "runs")
    assert said in shell.refused(*TRAIN, *options)
    assert files_below(shell.store / "runs") == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--prompt", "where " * 60], "tokens long"),
        (["--prompt", "a \udcff b"], "half characters"),
        (["--prompt", "a", "--set", "json_schema={type: string, minLength: 5, maxLength: 2}"], "No text can be"),
        (["--prompt", "a", "--set", "json_schema=[1]"], "json_schema"),
        (["--prompt", "a", "--set", "regex='[xyz]{40}'", "--set", "most=10"], "does not fit"),
        (["--file", "prompts.jsonl"], "no turn of the user"),
        (["--file", "nobody.jsonl"], "Line 1"),
        (["--file", "half.jsonl"], "half characters"),
    ],
)
def test_prompts_that_cannot_be_answered_leave_nothing(shell: Shell, options: list[str], said: str) -> None:
    if "regex" in str(options) or "schema={" in str(options):
        pytest.importorskip("llguidance")
    Path("prompts.jsonl").write_text('{"messages": [{"role": "assistant", "content": "hi"}]}\n')
    Path("nobody.jsonl").write_text('{"messages": []}\n')
    Path("half.jsonl").write_text('{"prompt": "a \\ud800"}\n')
    before = count_of(shell, "asset")
    assert said in shell.refused("generate", shell.store.parent / "talk.karat", *options, "-o", "out")
    assert not files_below(Path("out"))
    assert count_of(shell, "asset") == before


def test_a_prompt_that_is_too_long_is_cut_where_that_is_asked_for(shell: Shell) -> None:
    release = shell.store.parent / "talk.karat"
    shell.well("generate", release, "--prompt", "where " * 60, "--set", "truncate=front", "--set", "most=4", "-o", "out")
    assert len(list(Path("out").glob("*.txt"))) == 1


def test_a_line_that_is_no_unicode_ends_a_conversation_in_words(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("hi\nhi \udcff\n"))
    assert "half characters" in shell.refused("chat", shell.store.parent / "talk.karat", "--set", "most=3")
