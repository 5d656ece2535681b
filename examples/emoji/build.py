"""Build the emoji data set: pictures of Noto Color Emoji with their English and Chinese names from Unicode CLDR.

    python examples/emoji/build.py emoji

Each sequence of characters that has a name in both languages and a picture in the font becomes one PNG on white and one line in
metadata.jsonl: `file_name`, `text`, `text_zh`.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image, ImageDraw, ImageFont, features

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
CLDR = Path("/usr/share/unicode/cldr/common")
INSTALL = "Install it, on Debian or Ubuntu: sudo apt-get install fonts-noto-color-emoji unicode-cldr-core"
BITMAP_SIZE = 109
"""The one size at which the font holds its pictures."""
UNKNOWN = "\U0010fffe"
COMPONENTS = frozenset("#*0123456789\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff\U0001f9b0\U0001f9b1\U0001f9b2\U0001f9b3")
"""Characters that only change others: keycaps, skin tones, hair."""
LICENCE = "OFL-1.1 (pictures: Noto Color Emoji, Google LLC); Unicode-3.0 (captions: Unicode CLDR, Unicode, Inc.)\n"


def main() -> None:
    """Build what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder to build; it must be new or empty")
    parser.add_argument("--size", type=int, default=64, help="pixels of each side")
    parser.add_argument("--most", type=int, default=None, help="stop after so many pictures")
    parser.add_argument("--font", type=Path, default=FONT)
    parser.add_argument("--cldr", type=Path, default=CLDR, help="the folder that holds annotations/ and annotationsDerived/")
    asked = parser.parse_args()
    for path, what in ((asked.font, "font Noto Color Emoji"), (asked.cldr / "annotations" / "zh.xml", "list of names from Unicode CLDR")):
        if not path.exists():
            sys.exit(f"There is no {what} at {path}.\n{INSTALL}")
    if not features.check("raqm"):
        sys.exit("This Pillow cannot join characters to one picture (it has no raqm).\nInstall Pillow from its wheel: pip install pillow")
    if asked.folder.exists() and any(asked.folder.iterdir()):
        sys.exit(f"{asked.folder} is not empty.\nGive a new folder.")
    print(f"{build(asked.folder, font_path=asked.font, cldr=asked.cldr, size=asked.size, most=asked.most):,} pictures in {asked.folder}")


def build(folder: Path, *, font_path: Path, cldr: Path, size: int, most: int | None = None) -> int:
    """Draw every emoji that has names in both languages, write the metadata, and say how many there are."""
    english, chinese = names(cldr, "en"), names(cldr, "zh")
    font = ImageFont.truetype(str(font_path), BITMAP_SIZE, layout_engine=ImageFont.Layout.RAQM)
    images = folder / "images"
    images.mkdir(parents=True)
    count = 0
    with (folder / "metadata.jsonl").open("w", encoding="utf-8") as lines:
        for sequence, picture in drawn(sorted(english.keys() & chinese.keys(), key=lambda each: (english[each], each)), font):
            name = "-".join(f"{ord(character):04x}" for character in sequence) + ".png"
            picture.resize((size, size), Image.Resampling.LANCZOS).save(images / name)
            row = {"file_name": f"images/{name}", "text": english[sequence], "text_zh": chinese[sequence]}
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
            if count == most:
                break
    (folder / "LICENSE").write_text(LICENCE, encoding="utf-8")
    return count


def names(cldr: Path, language: str) -> dict[str, str]:
    """Give the name of each sequence of characters in one language."""
    found = {}
    for part in ("annotations", "annotationsDerived"):
        for each in ElementTree.parse(cldr / part / f"{language}.xml").iter("annotation"):
            if each.get("type") == "tts" and each.text and (sequence := each.get("cp")):
                found[sequence] = plain(each.text.strip())
    return found


def plain(name: str) -> str:
    """Say a name without the marks of a list: `woman: dark skin tone` as a caption is `woman dark skin tone`."""
    for kind in ("flag: ", "旗: "):
        name = name.removeprefix(kind)
    return name.replace(":", "").replace(",", "")


def drawn(sequences: list[str], font: ImageFont.FreeTypeFont) -> Iterator[tuple[str, Image.Image]]:
    """Draw those sequences that the font shows as one picture."""
    unknown = square(UNKNOWN, font)
    width = font.getlength("\U0001f600")
    for sequence in sequences:
        if sequence in COMPONENTS or font.getlength(sequence) > 1.1 * width:  # the font has no one picture for it
            continue
        picture = square(sequence, font)
        if picture != unknown:
            yield sequence, picture


def square(sequence: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    """Draw a sequence in the middle of a white square."""
    left, top, right, bottom = font.getbbox(sequence)
    side = max(1, int(max(right - left, bottom - top)))
    picture = Image.new("RGB", (side, side), "white")
    place = ((side - right - left) / 2, (side - bottom - top) / 2)
    ImageDraw.Draw(picture).text(place, sequence, font=font, embedded_color=True)
    return picture


if __name__ == "__main__":
    main()
