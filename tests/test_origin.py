"""A generated file carries its origin, reads back the same, keeps its pixels, and nothing but a DataError comes of damaged ones."""

import io
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from karat.material.trust.carriers import carrier_of
from karat.material.trust.origin import SIDECAR, TRAINED_MEDIA, Origin, can_carry, embed, read, read_sidecar, write_sidecar
from karat.words.errors import DataError

ORIGIN = Origin(
    release="ab" * 32,
    asset="cd" * 32,
    seed=3,
    settings="ef" * 32,
    system_version="0.1.0",
    title='数字 <"&> digits:live',
    producer="某某公司 & Söhne",
)
CARRIERS = ["PNG", "JPEG", "WEBP", "WEBP lossless", "WEBP alpha", "PNG palette", "JPEG exif"]
OTHERS_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/"><TC260:AIGC>{&quot;Label&quot;:&quot;1&quot;}</TC260:AIGC>'
    '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
).encode()


def picture(kind: str = "PNG", **options) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (16, 24, 4), np.uint8)
    image = Image.fromarray(noise) if "alpha" in kind else Image.fromarray(noise[..., :3])
    if "palette" in kind:
        image = image.convert("P")
    if "exif" in kind:
        exif = Image.Exif()
        exif[0x0112] = 6
        options["exif"] = exif
    file = io.BytesIO()
    image.save(file, kind.split()[0], **options, **({"lossless": True} if "l" in kind.partition(" ")[2] and "WEBP" in kind else {}))
    return file.getvalue()


def pixels(file: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(file)) as image:
        return np.asarray(image)


@pytest.mark.parametrize("kind", CARRIERS)
def test_the_origin_comes_back_and_the_pixels_stay(kind):
    plain = picture(kind)
    assert can_carry(plain)
    assert read(plain) is None
    carried = embed(plain, ORIGIN)
    assert read(carried) == ORIGIN
    assert (pixels(carried) == pixels(plain)).all()
    assert embed(plain, ORIGIN) == carried
    with Image.open(io.BytesIO(carried)) as image:
        image.load()
        assert image.getexif().get(0x0112) == (6 if "exif" in kind else None)
        assert b"trainedAlgorithmicMedia" in image.info["xmp"]


@pytest.mark.parametrize("kind", CARRIERS)
def test_a_second_origin_takes_the_place_of_the_first(kind):
    plain = picture(kind)
    other = Origin(release="12" * 32)
    assert embed(embed(plain, ORIGIN), other) == embed(plain, other)
    assert read(embed(embed(plain, ORIGIN), other)) == other


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_what_others_wrote_into_the_packet_is_kept(kind):
    plain = picture(kind, xmp=OTHERS_PACKET) if kind != "PNG" else carrier_of(picture()).with_packet(picture(), OTHERS_PACKET)
    assert read(plain) is None
    carried = embed(embed(plain, ORIGIN), ORIGIN)
    packet = carrier_of(carried).packet(carried)
    assert read(carried) == ORIGIN
    assert packet.count(b"TC260:AIGC>{&quot;Label&quot;") == 1
    assert packet.count(b"karat:release>") == 2


def test_a_compressed_packet_in_a_png_is_read():
    text = PngImagePlugin.PngInfo()
    packet = carrier_of(picture()).packet(embed(picture(), ORIGIN))
    text.add_itxt("XML:com.adobe.xmp", packet.decode(), zip=True)
    text.add_text("Comment", "stays")
    plain = picture(pnginfo=text)
    assert read(plain) == ORIGIN
    with Image.open(io.BytesIO(embed(plain, ORIGIN))) as image:
        assert image.text["Comment"] == "stays"


def test_the_fields_that_photo_programs_read():
    with Image.open(io.BytesIO(embed(picture(), ORIGIN))) as image:
        packet = image.text["XML:com.adobe.xmp"]
    assert f"<Iptc4xmpExt:DigitalSourceType>{TRAINED_MEDIA}</Iptc4xmpExt:DigitalSourceType>" in packet
    assert "<Iptc4xmpExt:AISystemUsed>Karat</Iptc4xmpExt:AISystemUsed>" in packet
    assert "数字" in packet
    assert "Prompt" not in packet
    assert "AIPromptInformation>一只猫<" in carrier_of(picture()).packet(embed(picture(), ORIGIN.changed(prompt="一只猫"))).decode()


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=60)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "WEBP"]), TEXT, TEXT, TEXT, st.integers() | st.none())
def test_any_text_survives(kind, title, producer, prompt, seed):
    origin = Origin(release="r", title=title, producer=producer, prompt=prompt + "\r\n\tline", seed=seed, system="", source_type="")
    assert read(embed(picture(kind), origin)) == origin


def test_what_cannot_be_carried_is_refused_whole():
    for kind in ("GIF", "BMP", "TIFF"):
        assert not can_carry(picture(kind))
        assert read(picture(kind)) is None
        with pytest.raises(DataError, match="cannot carry"):
            embed(picture(kind), ORIGIN)
    with pytest.raises(DataError, match="control"):
        embed(picture(), ORIGIN.changed(title="a\0b"))
    with pytest.raises(DataError, match="65,000"):
        embed(picture("JPEG"), ORIGIN.changed(prompt="长" * 30_000))
    assert read(embed(picture("PNG"), long := ORIGIN.changed(prompt="长" * 30_000))) == long


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"rubbish urn:karat:origin:1",
        b'<!DOCTYPE a [<!ENTITY b "c">]><a xmlns="urn:karat:origin:1">&b;</a>',
        OTHERS_PACKET.replace(b"TC260:AIGC>", b"TC260:karat>").replace(b"http://www.tc260.org.cn/ns/AIGC/1.0/", b"urn:karat:origin:1"),
        b"\xff\xfe urn:karat:origin:1",
    ],
)
def test_packets_that_make_no_sense(packet):
    file = carrier_of(picture()).with_packet(picture(), packet)
    if packet:
        with pytest.raises(DataError):
            read(file)
    with suppress(DataError):
        embed(file, ORIGIN)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@settings(max_examples=80, deadline=None)
@given(cut=st.floats(0, 1, exclude_max=True), place=st.floats(0, 1, exclude_max=True), change=st.integers(0, 255))
def test_damaged_files_raise_nothing_else(kind, cut, place, change):
    file = bytearray(embed(picture(kind), ORIGIN))
    file[int(place * len(file))] ^= change
    for damaged in (bytes(file), bytes(file[: int(cut * len(file))])):
        with suppress(DataError):
            read(damaged)
        with suppress(DataError):
            embed(damaged, ORIGIN)


def test_sidecars_belong_to_their_bytes(tmp_path):
    path = tmp_path / "猫.gif"
    path.write_bytes(picture("GIF"))
    assert read_sidecar(path) is None
    sidecar = write_sidecar(path, ORIGIN)
    assert sidecar.name == "猫.gif" + SIDECAR
    assert read_sidecar(path) == ORIGIN
    before = sidecar.read_bytes()
    assert write_sidecar(path, ORIGIN).read_bytes() == before
    assert b"prompt" not in before.replace(b'"prompt":""', b"")
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(DataError, match="was changed after"):
        read_sidecar(path)
    for rubbish in (b"", b"[]", b"{}", b"\xff"):
        sidecar.write_bytes(rubbish)
        with pytest.raises(DataError, match="damaged"):
            read_sidecar(path)
    with pytest.raises(DataError, match="cannot be read"):
        write_sidecar(tmp_path / "none.gif", ORIGIN)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([path.name, sidecar.name])
