"""The examples, as somebody would run them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, features

from karat.material.data.importing import import_source
from karat.material.data.samples import samples_of
from karat.store.store import Store

EMOJI = Path(__file__).parent.parent / "examples" / "emoji" / "build.py"
FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
NAMES = Path("/usr/share/unicode/cldr/common/annotations/zh.xml")
present = pytest.mark.skipif(
    not (FONT.exists() and NAMES.exists() and features.check("raqm")), reason="needs fonts-noto-color-emoji and unicode-cldr-core"
)


def build(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, EMOJI, *map(str, words)], capture_output=True, text=True, check=False)


@present
def test_emoji_are_built_and_imported(tmp_path: Path) -> None:
    folder = tmp_path / "emoji"
    built = build(folder, "--most", "40", "--size", "32")
    assert built.returncode == 0, built.stderr
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 40
    assert all(row.keys() == {"file_name", "text", "text_zh"} and row["text"] and row["text_zh"] for row in rows)
    assert {row["text"]: row["text_zh"] for row in rows}["1st place medal"] == "金牌"
    pixels = set()
    for row in rows:
        with Image.open(folder / row["file_name"]) as picture:
            assert (picture.size, picture.mode) == ((32, 32), "RGB")
            pixels.add(picture.tobytes())
    assert len(pixels) > 35, "characters that the font does not know look alike"
    store = Store.open(tmp_path / "store")
    *_, end = import_source(store, folder)
    samples = list(samples_of(store, end.result))
    assert all(sample.captions.keys() == {"text", "text_zh"} and "OFL" in str(sample.licence) for sample in samples)
    assert build(folder).returncode != 0, "it wrote over an older build"


def test_what_is_missing_is_said_with_how_to_install_it(tmp_path: Path) -> None:
    refused = build(tmp_path / "emoji", "--font", tmp_path / "none.ttf")
    assert refused.returncode != 0
    assert "apt-get install fonts-noto-color-emoji unicode-cldr-core" in refused.stderr
    assert not (tmp_path / "emoji").exists()
