"""Picture files of every kind and oddity become the right pixels, come back exactly, and never raise anything but a DataError."""

import io
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from karat.values.codecs.codec import Codec, codecs
from karat.values.codecs.image import ImageCodec, ImageOptions
from karat.values.pictures import FORMATS, PixelBombError, is_grey, open_picture, probe
from karat.words.errors import DataError, SpecError

HEADS = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"GIF89a", b"BM", b"II*\0"]
QUADRANTS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}


def file_of(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def four_colours(height: int = 16, width: int = 32) -> Image.Image:
    """A picture whose quarters are red, green (above), blue, white (below): any turn of it can be seen."""
    image = Image.new("RGB", (width, height))
    for place, colour in enumerate(QUADRANTS.values()):
        left, top = (place % 2) * width // 2, (place // 2) * height // 2
        image.paste(colour, (left, top, left + width // 2, top + height // 2))
    return image


def codec(**options) -> ImageCodec:
    return ImageCodec(ImageOptions.from_values({"size": (16, 32), "mode": "RGB", **options}))


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_its_pixels(kind):
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    source = file_of(four_colours(), kind, **options)
    pixels = codec().encode(source)
    assert pixels.shape == (16, 32, 3)
    assert pixels.dtype == np.uint8
    away = np.abs(pixels.astype(int) - np.asarray(four_colours()).astype(int))
    assert away.max() == 0 if kind != "JPEG" else away.mean() < 6
    facts = probe(source)
    assert (facts.format, facts.width, facts.height, facts.frames, facts.has_alpha, facts.bits) == (kind, 32, 16, 1, False, 8)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_shows_the_picture_upright(kind, orientation):
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = four_colours()
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    source = file_of(stored, kind, exif=exif)
    opened = open_picture(source)
    assert opened.size == upright.size
    assert np.abs(np.asarray(opened).astype(int) - np.asarray(upright).astype(int)).mean() < 12
    assert (probe(source).width, probe(source).height) == upright.size


def test_damaged_exif_does_not_make_a_picture_unreadable():
    source = file_of(four_colours(), "JPEG", exif=b"Exif\x00\x00MM\x00*\x00\x00\xff\xff")
    assert open_picture(source).size == (32, 16)


def test_first_frame_of_a_moving_gif():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    source = file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert probe(source).frames == 3
    assert open_picture(source).convert("RGB").getpixel((4, 4)) == (255, 0, 0)


def test_alpha_is_kept_when_asked_for_and_laid_over_the_background_otherwise():
    image = Image.new("RGBA", (8, 8), (0, 0, 255, 128))
    image.paste((9, 9, 9, 0), (0, 0, 4, 8))
    source = file_of(image)
    kept = codec(size=8, mode="RGBA", background=(10, 20, 30)).encode(source)
    assert kept[0, 7].tolist() == [0, 0, 255, 128]
    assert kept[0, 0].tolist() == [10, 20, 30, 0], "what cannot be seen has the background's colour"
    over = codec(size=8, background=(255, 0, 0)).encode(source)
    assert over[0, 0].tolist() == [255, 0, 0]
    assert over[0, 7].tolist() == [127, 0, 128]
    assert probe(source).has_alpha


def test_grey_with_alpha_and_grey_with_one_transparent_level():
    both = Image.merge("LA", (Image.new("L", (4, 4), 50), Image.new("L", (4, 4), 0)))
    assert codec(size=4, mode="L").encode(file_of(both)).ravel().tolist() == [255] * 16
    level = Image.new("L", (4, 4), 50)
    level.putpixel((0, 0), 7)
    pixels = codec(size=4, mode="L").encode(file_of(level, transparency=7))
    assert pixels[0, 0, 0] == 255
    assert pixels[1, 1, 0] == 50


def test_palette_with_transparency_of_one_colour_and_of_many():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putpixel((0, 0), 0)
    image.putpixel((1, 0), 2)
    one = codec(size=4, mode="RGBA").encode(file_of(image, transparency=0))
    assert one[0, 0, 3] == 0
    assert one[0, 1].tolist() == [0, 0, 255, 255]
    many = codec(size=4, mode="RGBA").encode(file_of(image, transparency=bytes([0, 200, 100])))
    assert many[0, :2, 3].tolist() == [0, 100]
    assert many[2, 2, 3] == 200
    assert probe(file_of(image, transparency=0)).has_alpha


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind):
    deep = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    source = file_of(Image.fromarray(deep), kind)
    assert probe(source).bits == 16
    assert np.abs(codec(size=8, mode="L").encode(source)[..., 0].astype(int) - deep / 257).max() <= 0.5


def test_sixteen_bit_grey_with_a_transparent_level():
    rows = b"".join(b"\0" + struct.pack(">4H", 0, 300, 40000, 65535) for _ in range(4))
    head = struct.pack(">IIBBBBB", 4, 4, 16, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"tRNS", struct.pack(">H", 300)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    source = b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)
    pixels = codec(size=4, mode="RGBA").encode(source)
    assert pixels[0, :, 3].tolist() == [255, 0, 255, 255]
    assert pixels[0, 3, 0] == 255


def test_floating_point_and_wide_tiff():
    unit = Image.fromarray(np.linspace(0, 1, 16).astype(np.float32).reshape(4, 4))
    assert codec(size=4, mode="L").encode(file_of(unit, "TIFF"))[3, 3, 0] == 255
    wide = Image.fromarray(np.full((4, 4), 65535, np.int32))
    assert codec(size=4, mode="L").encode(file_of(wide, "TIFF"))[0, 0, 0] == 255
    with pytest.raises(DataError, match="outside 0 to 65535"):
        open_picture(file_of(Image.fromarray(np.full((4, 4), -1.0, np.float32)), "TIFF"))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(kind):
    source = file_of(four_colours().convert("CMYK"), kind)
    pixels = codec().encode(source)
    assert np.abs(pixels[2, 2].astype(int) - [255, 0, 0]).max() < 20


def test_grey_one_bit_and_grey_palette_stay_grey():
    for image in (Image.new("L", (4, 4), 77), Image.new("1", (4, 4), 1), Image.new("L", (4, 4), 77).convert("P")):
        assert open_picture(file_of(image)).mode == "L"
    assert probe(file_of(Image.new("1", (4, 4)))).bits == 1
    assert not is_grey(four_colours())


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_levels_come_back_exactly(mode):
    made = codec(size=(16, 16), mode=mode)
    channels = made.space.channels
    packed = torch.arange(256, dtype=torch.uint8).reshape(16, 16, 1).repeat(1, 1, channels)
    values = made.value(packed[None])
    made.space.check(values)
    again = np.asarray(made.decode(values[0])).reshape(16, 16, channels)
    assert (again == packed.numpy()).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from(["L", "RGB", "RGBA"]), st.randoms(use_true_random=False))
def test_write_then_encode_gives_the_same_pixels(height, width, mode, random):
    made = codec(size=(height, width), mode=mode)
    channels = made.space.channels
    pixels = np.frombuffer(random.randbytes(height * width * channels), np.uint8).reshape(height, width, channels).copy()
    if mode == "RGBA":
        pixels[pixels[..., 3] == 0, :3] = 255
    picture = made.decode(made.value(torch.from_numpy(pixels)[None])[0])
    file = made.write(picture)
    assert file == made.write(picture)
    assert (made.encode(file) == pixels).all()
    assert (ImageCodec.load(made.state()).encode(file) == pixels).all()


def test_write_leaves_metadata_out():
    image = four_colours()
    image.info["Comment"], image.info["icc_profile"], image.info["dpi"] = "a secret", b"profile", (300, 300)
    assert set(file_chunks(codec().write(image))) == {b"IHDR", b"IDAT", b"IEND"}


def file_chunks(file: bytes) -> list[bytes]:
    place, kinds = 8, []
    while place < len(file):
        (length,) = struct.unpack(">I", file[place : place + 4])
        kinds.append(file[place + 4 : place + 8])
        place += length + 12
    return kinds


def test_pad_crop_and_stretch():
    wide = file_of(Image.new("RGB", (40, 20), "black"))
    padded = codec(size=20, background=(255, 255, 255)).encode(wide)
    assert padded[0, 10].tolist() == [255] * 3
    assert padded[10, 10].tolist() == [0] * 3
    assert codec(size=20, mode="RGBA").encode(wide)[0, 10, 3] == 0
    assert codec(size=20, mode="L", background=(255, 0, 0)).encode(wide)[0, 10, 0] == 76
    for fit in ("crop", "stretch"):
        assert codec(size=20, fit=fit).encode(wide).max() == 0
    thin = file_of(Image.new("RGB", (4000, 2), "black"))
    assert codec(size=8).encode(thin).shape == (8, 8, 3)


def test_a_large_jpeg_is_decoded_small_and_looks_the_same():
    source = file_of(four_colours(1024, 2048), "JPEG")
    assert open_picture(source, at_least=64).size == (256, 128)
    away = np.abs(codec().encode(source).astype(int) - np.asarray(four_colours()).astype(int))
    assert away.mean() < 6


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_cut_files_are_refused_or_whole(kind, data):
    noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    source = file_of(Image.fromarray(noise), kind)
    whole = np.asarray(open_picture(source).convert("RGB"))
    cut = source[: data.draw(st.integers(0, len(source) - 1))]
    try:
        pixels = np.asarray(open_picture(cut).convert("RGB"))
    except DataError:
        return
    assert (pixels == whole).all()


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=60, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_changed_bytes_never_raise_anything_else(kind, place, change):
    source = bytearray(file_of(four_colours(), kind))
    source[int(place * len(source))] ^= change
    for read in (probe, open_picture):
        with suppress(DataError):
            read(bytes(source))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(HEADS), st.binary(max_size=200))
def test_rubbish_is_a_data_error(head, rest):
    for read in (probe, open_picture):
        with suppress(DataError):
            read(head + rest)


def test_errors_say_what_is_wrong(tmp_path):
    with pytest.raises(DataError, match="empty"):
        open_picture(b"")
    with pytest.raises(DataError, match="no picture"):
        open_picture(b"just some text, called cat.png")
    with pytest.raises(DataError, match="cannot be read"):
        open_picture(tmp_path / "none.png")
    with pytest.raises(DataError, match="truncated"):
        open_picture(file_of(four_colours(200, 200), "JPEG")[:700])


@pytest.mark.parametrize("side", [11_000, 13_000, 50_000])
def test_a_pixel_bomb_is_refused_before_it_is_decoded(side):
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)
    for read in (probe, open_picture, codec().encode):
        with pytest.raises(PixelBombError, match="claims"):
            read(bomb)


def test_a_file_with_a_chinese_name_is_read_by_path(tmp_path: Path):
    path = tmp_path / "猫 – café.png"
    path.write_bytes(file_of(four_colours()))
    assert open_picture(path).size == (32, 16)
    assert probe(path).width == 32


def test_fit_settles_what_is_open():
    grey = [file_of(Image.new("L", (28, 28), level)) for level in range(5)]
    made = ImageCodec.fit({}, grey)
    assert made.size == (28, 28)
    assert made.mode == "L"
    assert ImageCodec.fit({}, [*grey, file_of(four_colours(28, 28))]).mode == "RGB"
    assert ImageCodec.fit({"mode": "RGBA"}, grey).space.channels == 4
    assert ImageCodec.fit({"size": 12}, grey).size == (12, 12)
    photos = [file_of(Image.new("RGB", (640, 480), "red"), "JPEG")] * 3
    assert ImageCodec.fit({}, photos).size == (48, 64)
    mixed = [file_of(Image.new("RGB", (side, side + 3), "red")) for side in range(20, 40)]
    assert ImageCodec.fit({}, mixed).size == (33, 33)
    see_through = file_of(Image.new("RGBA", (8, 8), (7, 7, 7, 0)))
    assert ImageCodec.fit({}, [see_through]).mode == "L"
    with pytest.raises(DataError, match="None of the pictures"):
        ImageCodec.fit({}, [b"", b"text"])
    with pytest.raises(SpecError, match="siz"):
        ImageCodec.fit({"siz": 4}, grey)


def test_fit_reads_only_a_few_sources():
    taken = 0

    def stream():
        nonlocal taken
        while True:
            taken += 1
            yield file_of(Image.new("L", (4, 4)))

    assert ImageCodec.fit({}, stream()).size == (4, 4)
    assert taken == 256
    assert ImageCodec.fit({"size": 3, "mode": "L"}, stream()).size == (3, 3)
    assert taken == 256


def test_the_codec_is_registered_and_keeps_the_contract():
    made = codec()
    assert codecs["image"] is ImageCodec
    assert isinstance(made, Codec)
    assert ImageCodec.load(made.state()).state() == made.state()
    with pytest.raises(SpecError, match="no size"):
        ImageCodec.load({"mode": "L"})
