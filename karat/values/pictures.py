"""Picture files: what they are without decoding them, and their pixels as plain 8-bit grey, RGB or RGBA. Takes no torch.

PNG, JPEG, WebP, GIF (first frame), BMP and TIFF are read. What the file format hides is resolved here, once: EXIF rotation, palettes,
transparent colours, 16-bit and floating-point grey, CMYK. Colour profiles are not applied. Pillow is confined to this file and the image
codec; whatever it raises for a damaged file becomes a DataError.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import GifImagePlugin, Image, ImageFile, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from karat.words.errors import DataError
from karat.words.specs import Spec

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
PIXEL_LIMIT = 100_000_000
"""More pixels than this are not decoded: a file of a few kilobytes can claim billions."""

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WITH_FRAMES = (GifImagePlugin.GifImageFile, PngImagePlugin.PngImageFile, TiffImagePlugin.TiffImageFile, WebPImagePlugin.WebPImageFile)
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_BITS = {"1": 1, "I": 32, "F": 32, **dict.fromkeys(_SIXTEEN_BITS, 16)}


class PixelBombError(DataError):
    """The picture claims more pixels than may be decoded."""

    code: ClassVar[str] = "pixel-bomb"


class PictureFacts(Spec):
    """What the head of a picture file says. Width and height are as shown, after EXIF rotation."""

    format: str
    width: int
    height: int
    mode: str
    frames: int = 1
    has_alpha: bool = False
    bits: int = 8


def probe(source: bytes | Path, *, pixel_limit: int = PIXEL_LIMIT) -> PictureFacts:
    """Tell what a picture file says of itself, without decoding its pixels. Raises DataError, or PixelBombError above the limit."""
    with _opened(source, pixel_limit) as image:
        width, height = image.size
        if image.format != "TIFF" and _orientation(image) >= 5:
            width, height = height, width
        frames = image.n_frames if isinstance(image, _WITH_FRAMES) else 1
        return PictureFacts(
            format=(image.format or "").replace("MPO", "JPEG"),
            width=width,
            height=height,
            mode=image.mode,
            frames=frames,
            has_alpha=_has_alpha(image),
            bits=_bits(image),
        )


def open_picture(source: bytes | Path, *, pixel_limit: int = PIXEL_LIMIT, at_least: int | None = None) -> Image.Image:
    """Decode a picture (its first frame) to mode L, RGB or RGBA, upright. Raises DataError, or PixelBombError above the limit.

    With `at_least`, a JPEG may come out smaller than it is, but neither side below that many pixels: large photographs decode several
    times faster so.
    """
    with _opened(source, pixel_limit) as image:
        if at_least is not None and image.format in ("JPEG", "MPO"):
            image.draft(image.mode, (at_least, at_least))
        image.load()
        plain = _plain(image)
        # Pillow turns a TIFF while loading it and forgets the tag.
        turn = _TURNS.get(1 if image.format == "TIFF" else _orientation(image))
        return plain if turn is None else plain.transpose(turn)


def flattened(picture: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Give the picture without its alpha, laid over a colour; grey pictures without alpha stay grey."""
    if picture.mode != "RGBA":
        return picture
    under = Image.new("RGBA", picture.size, (*background, 255))
    return Image.alpha_composite(under, picture).convert("RGB")


def is_grey(picture: Image.Image) -> bool:
    """Tell whether every pixel that can be seen has equal red, green and blue."""
    if picture.mode == "L":
        return True
    pixels = np.asarray(picture)
    colours = pixels[pixels[..., 3] > 0] if picture.mode == "RGBA" else pixels
    return bool((colours[..., 0] == colours[..., 1]).all() and (colours[..., 1] == colours[..., 2]).all())


@contextmanager
def _opened(source: bytes | Path, pixel_limit: int) -> Iterator[ImageFile.ImageFile]:
    """Open a file, keep Pillow's warnings quiet, and turn everything that Pillow raises into a DataError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
                if image.width * image.height > pixel_limit:
                    raise _bomb(f"{image.width} × {image.height} pixels", pixel_limit)
                if min(image.size) < 1:
                    raise DataError("The picture has no pixels.", repair="Leave it out.")
                yield image
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise _bomb("hundreds of millions of pixels", pixel_limit) from None
    except Exception as error:  # Pillow raises OSError, SyntaxError, struct.error, EOFError, ValueError and more for damaged files
        raise _unreadable(source, error) from None


def _bomb(claims: str, pixel_limit: int) -> PixelBombError:
    return PixelBombError(
        f"The picture claims {claims}; at most {pixel_limit} are decoded.", repair="Leave it out, or make a smaller copy of it."
    )


def _unreadable(source: bytes | Path, error: Exception) -> DataError:
    if isinstance(source, Path) and isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        return DataError(f"{source} cannot be read: {error.strerror}.", repair="Check the path and its permissions.")
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    if size == 0:
        return DataError("The picture file is empty (0 bytes).", repair="Get the file again, or leave it out.")
    if isinstance(error, UnidentifiedImageError):
        known = ", ".join(FORMATS)
        return DataError("The file is no picture that can be read, whatever its name says.", repair=f"Readable are {known}.")
    reason = str(error).rstrip(".") or type(error).__name__
    return DataError(f"The picture is damaged or truncated: {reason}.", repair="Get the file again, or leave it out.")


def _orientation(image: Image.Image) -> int:
    """Give the EXIF orientation, 1 when there is none or when the EXIF block is damaged."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # asking Pillow would decode the whole picture
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a damaged EXIF block makes no picture unreadable
        return 1


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def _bits(image: ImageFile.ImageFile) -> int:
    """Give the bits of one channel as stored in the file."""
    if image.format == "PNG" and image.tile:
        return 16 if "16" in str(image.tile[0].args) else 8 if image.mode != "1" else 1
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        stored = image.tag_v2.get(258, (8,))
        return int(stored[0] if isinstance(stored, tuple) else stored)
    return _BITS.get(image.mode, 8)


def _plain(image: Image.Image) -> Image.Image:
    """Give a decoded picture in mode L, RGB or RGBA."""
    if image.mode in _SIXTEEN_BITS:
        return _from_sixteen_bits(image)
    if image.mode in ("I", "F"):
        return Image.fromarray(_to_bytes(np.asarray(image, np.float64)))
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode[:-1] + "A")
    if image.mode in ("L", "RGB", "RGBA") and not ("transparency" in image.info and image.mode != "RGBA"):
        # A copy without the file's metadata, which would otherwise travel into whatever is written from it.
        return Image.frombytes(image.mode, image.size, image.tobytes())
    if image.mode == "1" and "transparency" not in image.info:
        return image.convert("L")
    grey_palette = image.mode == "P" and not _has_alpha(image) and image.palette is not None and _only_greys(image)
    plain = image.convert("RGBA" if _has_alpha(image) else "L" if grey_palette else "RGB")
    return Image.frombytes(plain.mode, plain.size, plain.tobytes())


def _only_greys(image: Image.Image) -> bool:
    colours = np.frombuffer(image.convert("RGB").tobytes(), np.uint8).reshape(-1, 3)
    return bool((colours == colours[:, :1]).all())


def _from_sixteen_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits (65535 becomes 255), keeping a transparent grey transparent."""
    deep = np.asarray(image).astype(np.uint32)
    grey = Image.fromarray(((deep + 128) // 257).astype(np.uint8))
    clear = image.info.get("transparency")
    if not isinstance(clear, int):
        return grey
    alpha = Image.fromarray(np.where(deep == clear, 0, 255).astype(np.uint8))
    return Image.merge("RGBA", (grey, grey, grey, alpha))


def _to_bytes(numbers: np.ndarray) -> np.ndarray:
    """Scale 32-bit grey by the smallest usual range that holds it: 0…1, 0…255 or 0…65535."""
    if not np.isfinite(numbers).all() or numbers.min() < 0 or numbers.max() > 65535:
        raise DataError("The picture's numbers lie outside 0 to 65535.", repair="Save it with 8 or 16 bits for each channel.")
    scale = 255.0 if numbers.max() <= 1 else 1.0 if numbers.max() <= 255 else 1 / 257
    return np.rint(numbers * scale).astype(np.uint8)
