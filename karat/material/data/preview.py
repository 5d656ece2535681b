"""A contact sheet: pictures in a grid with their captions, as the model will see them."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont

GAP = 6
TEXT = 14
PAPER, INK, FRAME = "white", "#333333", "#dddddd"
FONTS = ("NotoSansCJK-Regular.ttc", "wqy-microhei.ttc", "DejaVuSans.ttf")


def contact_sheet(pictures: Iterable[tuple["Image", str]], *, columns: int = 8, cell: int = 96, title: str = "") -> "Image":
    """Draw decoded pictures with a caption under each. Small ones are enlarged by whole factors, so that their pixels stay visible."""
    from PIL import Image, ImageDraw

    drawn = list(pictures)
    columns = max(1, min(columns, len(drawn)))
    rows = -(-len(drawn) // columns)
    head = TEXT + 2 * GAP if title else GAP
    wide, high = cell + GAP, cell + TEXT + 2 * GAP
    sheet = Image.new("RGB", (columns * wide + GAP, head + rows * high), PAPER)
    pen, font = ImageDraw.Draw(sheet), _font()
    if title:
        pen.text((GAP, GAP), _fitted(title, font, sheet.width - 2 * GAP), fill=INK, font=font)
    for number, (picture, caption) in enumerate(drawn):
        left, top = GAP + number % columns * wide, head + number // columns * high
        shown = _sized(picture, cell)
        place = (left + (cell - shown.width) // 2, top + (cell - shown.height) // 2)
        pen.rectangle((place[0] - 1, place[1] - 1, place[0] + shown.width, place[1] + shown.height), outline=FRAME)
        sheet.paste(shown, place)
        pen.text((left, top + cell + GAP // 2), _fitted(caption, font, cell), fill=INK, font=font)
    return sheet


def _sized(picture: "Image", cell: int) -> "Image":
    from PIL import Image

    picture = picture.convert("RGB")
    longest = max(picture.size)
    if longest <= cell:
        factor = cell // longest
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    scale = cell / longest
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _font() -> "FreeTypeFont | ImageFont":
    """Take a font with Chinese where the system has one; Pillow's own has none."""
    from PIL import ImageFont

    for name in FONTS:
        try:
            return ImageFont.truetype(name, TEXT - 2)
        except OSError:
            continue
    return ImageFont.load_default(TEXT - 2)


def _fitted(text: str, font: "FreeTypeFont | ImageFont", width: int) -> str:
    """Cut a text to what fits on its line, with an ellipsis for the rest."""
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
