"""The data of the text tasks, as somebody would build them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from karat.material.data.importing import import_source
from karat.material.data.samples import samples_of
from karat.store.store import Store

BUILD = Path(__file__).parent.parent / "examples" / "text" / "build.py"


def build(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, BUILD, *map(str, words)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("task", "least"), [("write", 500), ("chat", 1000), ("summarise", 300), ("answer", 1000), ("label", 500)])
def test_data_are_built_from_what_python_has_and_imported(tmp_path: Path, task: str, least: int) -> None:
    file = tmp_path / f"{task}.jsonl"
    built = build(task, file)
    assert built.returncode == 0, built.stderr
    store = Store.open(tmp_path / "store")
    *_, end = import_source(store, file)
    samples = list(samples_of(store, end.result))
    assert len(samples) == len(file.read_text(encoding="utf-8").splitlines()) > least
    assert all(sample.in_turns and "problem" not in sample.facts for sample in samples)
    store.close()
    again = build(task, tmp_path / "again.jsonl")
    assert again.returncode == 0
    assert (tmp_path / "again.jsonl").read_bytes() == file.read_bytes()
    assert "is there already" in build(task, file).stderr


def test_variants_of_a_caption_are_one_group(tmp_path: Path) -> None:
    captions = [("a woman swimming", "女生游泳"), ("person swimming medium-light skin tone", "游泳 中等浅肤色"), ("flag Japan", "日本国旗")]
    file = tmp_path / "captions.jsonl"
    file.write_text("\n".join(json.dumps({"text": en, "text_zh": zh}) for en, zh in captions), encoding="utf-8")
    assert "Give --captions" in build("translate", tmp_path / "none.jsonl").stderr
    assert build("translate", tmp_path / "back.jsonl", "--captions", file, "--back").returncode == 0
    rows = [json.loads(line) for line in (tmp_path / "back.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(row["source"], row["target"]) for row in rows] == [(zh, en) for en, zh in captions]
    assert [row["group"] for row in rows] == ["swimming", "swimming", "flag japan"]
