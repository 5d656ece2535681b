"""Films and strips of pictures that belong after one another, as on a walk from one to another."""

import io
from collections.abc import Sequence

from PIL import Image

from karat.material.trust import origin as origins

SIDE = 256
"""Pixels that the longer side of each picture has at least; small ones are enlarged by whole numbers."""
PAUSE, STAY = 120, 600
"""Milliseconds for which a picture is shown, and the first and the last one."""


def film(pictures: Sequence[bytes]) -> bytes:
    """Give a GIF that goes through pictures and back, for ever. It says that a model made them, and which."""
    shown = _opened(pictures)
    frames = [*shown, *shown[-2:0:-1]]
    stays = [STAY if place in (0, len(shown) - 1) else PAUSE for place in range(len(frames))]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=stays, loop=0, comment=_label(pictures).encode())
    return file.getvalue()


def strip(pictures: Sequence[bytes]) -> bytes:
    """Give a PNG of pictures side by side, with the origin of the first one."""
    shown = _opened(pictures)
    wide, high = shown[0].size
    sheet = Image.new(shown[0].mode, (wide * len(shown), high))
    for place, picture in enumerate(shown):
        sheet.paste(picture, (place * wide, 0))
    file = io.BytesIO()
    sheet.save(file, "PNG")
    origin = origins.read(pictures[0])
    return file.getvalue() if origin is None else origins.embed(file.getvalue(), origin)


def _opened(pictures: Sequence[bytes]) -> list[Image.Image]:
    shown = []
    for each in pictures:
        with Image.open(io.BytesIO(each)) as picture:
            scale = max(1, SIDE // max(picture.size))
            shown.append(picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST))
    return shown


def _label(pictures: Sequence[bytes]) -> str:
    """Say where the pictures come from: a GIF has no place for an origin."""
    origin = origins.read(pictures[0])
    made = "trainedAlgorithmicMedia: made by a trained model"
    return made if origin is None else f"{made}, release {origin.release} ({origin.title}), asset {origin.asset}"
