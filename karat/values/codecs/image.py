"""Pictures: files ↔ grids of pixels, channels last, numbers in [-1, 1].

Packed, a picture is uint8 (height, width, channels); 0…255 becomes -1…1 and comes back exactly.
"""

import io
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from PIL import Image, ImageOps
from pydantic import BeforeValidator, Field
from torch import Tensor

from karat.values.codecs.codec import codecs
from karat.values.pictures import flattened, is_grey, open_picture, probe
from karat.values.spaces import Space
from karat.words.errors import DataError, SpecError
from karat.words.specs import Spec

__all__ = ["ImageCodec", "ImageOptions", "open_picture", "probe"]

Level = Annotated[int, Field(ge=0, le=255)]
Length = Annotated[int, Field(ge=1, le=8192)]
Mode = Literal["L", "RGB", "RGBA"]

_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
_RESAMPLE = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_LOOKED_AT = 256
_LONGEST_SIDE = 64
CLEAR = 127
"""A pixel of a mask that is less opaque than 255 minus this counts as transparent."""


def _both_sides(size: Any) -> Any:
    return (size, size) if isinstance(size, int) else size


class ImageOptions(Spec):
    """How pictures become values. `size` and `mode` may stay open until the codec is fitted to data."""

    size: Annotated[tuple[Length, Length] | None, BeforeValidator(_both_sides)] = Field(None, description="height, width; or one number")
    mode: Mode | None = None
    background: tuple[Level, Level, Level] = Field((255, 255, 255), description="lies under what is transparent and fills what is padded")
    fit: Literal["pad", "crop", "stretch"] = "pad"
    resample: Literal["nearest", "box", "bilinear", "bicubic", "lanczos"] = "lanczos"


@codecs.add("image")
class ImageCodec:
    """Picture files ↔ values of one size and one mode."""

    kind: ClassVar[str] = "image"
    extension: ClassVar[str] = ".png"
    media_type: ClassVar[str] = "image/png"

    def __init__(self, options: ImageOptions) -> None:
        assert options.size is not None, "fit the codec first: its size is still open"
        assert options.mode is not None, "fit the codec first: its mode is still open"
        self.options = options
        self.size, self.mode = options.size, options.mode
        self.space = Space(axes=("height", "width"), shape=self.size, channels=_CHANNELS[self.mode])

    @classmethod
    def fit(cls, options: dict[str, Any], sources: Iterable[bytes]) -> Self:
        """Settle size and mode from at most 256 pictures: spread over a sequence, the first ones of a stream.

        The size is the one that more than half of the pictures have, else a square of their median longer side; never above 64. The mode is
        L when all are grey, else RGB; RGBA only when asked for. What the options say is not looked at; unreadable pictures are passed over.
        """
        asked = ImageOptions.from_values(options)
        if asked.size is not None and asked.mode is not None:
            return cls(asked)
        sizes: Counter[tuple[int, int]] = Counter()
        grey = True
        for source in _spread(sources):
            try:
                facts = probe(source)
                # Colours show at a small size too, so a large photograph is decoded small.
                if asked.mode is None and grey:
                    grey = is_grey(flattened(open_picture(source, at_least=_LONGEST_SIDE), asked.background))
            except DataError:
                continue
            sizes[facts.height, facts.width] += 1
        if not sizes:
            raise DataError("None of the pictures can be read.", repair="Run the checks on the data and see what they find.")
        return cls(asked.changed(size=asked.size or _usual_size(sizes), mode=asked.mode or ("L" if grey else "RGB")))

    def encode(self, source: bytes) -> np.ndarray:
        """Give a picture file's pixels at this codec's size and mode: uint8 (height, width, channels).

        Where nothing can be seen (alpha 0) the colour is the background's, whatever the file holds there.
        """
        picture = open_picture(source, at_least=2 * max(self.size))
        if self.mode != "RGBA":
            picture = flattened(picture, self.options.background)
        if picture.mode != self.mode:
            picture = picture.convert(self.mode)
        pixels = np.array(self._resized(picture), np.uint8).reshape(*self.size, _CHANNELS[self.mode])
        if self.mode == "RGBA":
            pixels[pixels[..., 3] == 0, :3] = self.options.background
        return pixels

    def clear(self, mask: bytes) -> np.ndarray:
        """Give where a mask is transparent, fitted as a picture of its size is: booleans (height, width)."""
        picture = open_picture(mask)
        if picture.mode != "RGBA":
            return np.zeros(self.size, bool)
        shown = picture.getchannel("A").point(lambda level: 255 - level)
        sheet = ImageCodec(self.options.changed(mode="L", background=(0, 0, 0)))._resized(shown)
        return np.asarray(sheet) > CLEAR

    def value(self, packed: Tensor) -> Tensor:
        """Give values in [-1, 1] of a batch of uint8 pictures."""
        return packed.to(torch.float32) / 127.5 - 1

    def decode(self, value: Tensor) -> Image.Image:
        """Give the picture of one value; numbers outside [-1, 1] are drawn as the nearest that fits."""
        levels = ((value.detach().to("cpu", torch.float32) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        pixels = levels.numpy()
        return Image.fromarray(pixels[..., 0] if self.mode == "L" else pixels)

    def write(self, media: Image.Image) -> bytes:
        """Give a PNG without any metadata; the same picture gives the same bytes (for one build of Pillow's zlib)."""
        bare = Image.frombytes(media.mode, media.size, media.tobytes())
        file = io.BytesIO()
        bare.save(file, "PNG", compress_level=6)
        return file.getvalue()

    def state(self) -> dict[str, Any]:
        return self.options.model_dump(mode="json")

    @classmethod
    def load(cls, state: dict[str, Any]) -> Self:
        options = ImageOptions.from_values(state)
        if options.size is None or options.mode is None:
            raise SpecError("The picture codec's state says no size or no mode.", repair="Fit the codec again.")
        return cls(options)

    def _resized(self, picture: Image.Image) -> Image.Image:
        height, width = self.size
        if picture.size == (width, height):
            return picture
        resample = _RESAMPLE[self.options.resample]
        if self.options.fit == "stretch":
            return picture.resize((width, height), resample)
        if self.options.fit == "crop":
            return ImageOps.fit(picture, (width, height), resample)
        scale = min(width / picture.width, height / picture.height)
        inner = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        sheet = Image.new(self.mode, (width, height), self._fill())
        sheet.paste(picture.resize(inner, resample), ((width - inner[0]) // 2, (height - inner[1]) // 2))
        return sheet

    def _fill(self) -> int | tuple[int, ...]:
        """Give the colour of the padding: the background, wholly transparent where there is alpha."""
        if self.mode == "RGBA":
            return (*self.options.background, 0)
        if self.mode == "RGB":
            return self.options.background
        level = Image.new("RGB", (1, 1), self.options.background).convert("L").getpixel((0, 0))
        assert isinstance(level, int)
        return level


def _spread(sources: Iterable[bytes]) -> Iterator[bytes]:
    """Give at most 256 of the sources: evenly spread when they are a sequence, else the first."""
    if isinstance(sources, Sequence) and len(sources) > _LOOKED_AT:
        return (sources[i * len(sources) // _LOOKED_AT] for i in range(_LOOKED_AT))
    return islice(sources, _LOOKED_AT)


def _usual_size(sizes: Counter[tuple[int, int]]) -> tuple[int, int]:
    """Give the size that most pictures have, else a square of the median longer side; scaled down to 64 at most, in steps of 8."""
    (height, width), count = sizes.most_common(1)[0]
    if 2 * count <= sizes.total():
        height = width = int(statistics.median_high(max(size) for size in sizes.elements()))
    longest = max(height, width)
    if longest <= _LONGEST_SIDE:
        return height, width
    shrunk = (max(8, round(side * _LONGEST_SIDE / longest / 8) * 8) for side in (height, width))
    return next(shrunk), next(shrunk)
