"""Retouching: what is kept stays to the bit, what is new follows the seed alone, and a picture of any size finds its place."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from shell import Shell
from tiny import SPACES, awaken, forms, given_of, model_of, quick

from karat.app.chain import open_store
from karat.learning.families.family import Filling
from karat.learning.models import Model
from karat.values.codecs.image import ImageCodec
from karat.values.codecs.latent import LatentCodec
from karat.values.given import Given
from karat.values.spaces import Space
from karat.words.errors import KaratError
from karat.work.generation import Kept, Ready, make_values, repeated
from karat.work.requests import VARIED, Retouch
from karat.work.retouching import Canvas, as_pictures, retouched

SPACE = SPACES["image"]
FILLS = [form for form in forms() if "convnet" not in form and isinstance(model_of(form, SPACE).family, Filling)]
SEEDS = [(5, index) for index in range(6)]


def halves(count: int = 6) -> torch.Tensor:
    """Mark the lower half of each picture."""
    where = torch.zeros(count, *SPACE.shape, dtype=torch.bool)
    where[:, SPACE.shape[0] // 2 :] = True
    return where


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def mask_of(high: int, wide: int, *, clear: tuple[slice, slice]) -> bytes:
    pixels = np.zeros((high, wide, 4), np.uint8)
    pixels[..., 3] = 255
    pixels[(*clear, 3)] = 0
    return png(pixels)


def finished(model: Model, x: torch.Tensor, where: torch.Tensor, strength: float, seeds: list[tuple[int, int]] = SEEDS) -> torch.Tensor:
    rows = repeated(Given(), len(seeds))
    made = make_values(model, rows, seeds, dict.fromkeys(quick(model), 4), Kept(x, where, strength))
    return torch.cat([values for step, values in made if step.done == step.total])


@pytest.mark.parametrize("form", FILLS)
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_what_is_kept_stays_and_what_is_new_follows_the_seed_alone(form: str, strength: float) -> None:
    model = awaken(model_of(form, SPACE))
    x, where = SPACE.random(6, torch.Generator().manual_seed(1)), halves()
    made = finished(model, x, where, strength)
    SPACE.check(made)
    near = 1e-5 if "diffusion" in form else 0.5
    assert float((made - x)[~where].abs().max()) < near
    assert float((made - x)[where].abs().max()) > near
    assert torch.equal(finished(model, x, where, strength), made)
    alone = finished(model, x[2:3], where[2:3], strength, SEEDS[2:3])
    assert torch.equal(alone[0], made[2]), "whatever is made beside it"
    assert not torch.equal(finished(model, x, where, strength, [(6, index) for index in range(6)]), made)


def test_a_flow_is_varied_more_the_more_is_lost() -> None:
    model, x = awaken(model_of("diffusion/transformer", SPACE)), SPACE.random(6, torch.Generator().manual_seed(1))
    whole = torch.ones(6, *SPACE.shape, dtype=torch.bool)
    apart = [float((finished(model, x, whole, strength) - x).abs().mean()) for strength in (0.02, 0.3, 1.0)]
    assert apart[0] < 0.1 < apart[1] < apart[2]


def test_a_family_that_cannot_says_which_can() -> None:
    model = model_of("gan/transformer", SPACE)
    with pytest.raises(KaratError, match="diffusion, masked"):
        finished(model, SPACE.random(6, torch.Generator()), halves(), 1.0)


def test_a_request_says_how_much_is_lost() -> None:
    digest = "0" * 64
    assert Retouch(picture=digest).strength == VARIED
    assert Retouch(picture=digest, mask=digest).strength == 1.0
    assert Retouch.from_values(json.loads(Retouch(picture=digest, strength=0.2).model_dump_json())).strength == 0.2


@pytest.mark.parametrize(("fit", "rows"), [("pad", (2, 4)), ("crop", (2, 6)), ("stretch", (3, 6))])
def test_a_mask_is_fitted_as_its_picture_is(fit: str, rows: tuple[int, int]) -> None:
    codec = ImageCodec.load({"size": [6, 8], "mode": "RGB", "fit": fit})
    wide = {"pad": (20, 80), "crop": (60, 40), "stretch": (60, 40)}[fit]
    below = mask_of(*wide, clear=(slice(wide[0] // 2, None), slice(None)))
    new = codec.clear(below)
    assert new.shape == (6, 8)
    assert new.all(axis=1).tolist() == [3 <= row < rows[1] for row in range(6)]
    assert new.any(axis=1).tolist() == new.all(axis=1).tolist()
    assert not codec.clear(png(np.zeros((20, 80, 3), np.uint8))).any()


class Halved:
    """An autoencoder of 8 x 8 pictures whose latents are means of 2 x 2 pixels, or of the whole."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.latents = Space(axes=("height", "width"), shape=(side, side), channels=1) if side else Space(channels=1)

    def to_latents(self, values: torch.Tensor) -> torch.Tensor:
        pooled = torch.nn.functional.adaptive_avg_pool2d(values[..., 0], max(1, self.side))[..., None]
        return pooled if self.side else pooled.flatten(1)

    def from_latents(self, latents: torch.Tensor) -> torch.Tensor:
        grid = latents.reshape(len(latents), max(1, self.side), max(1, self.side))
        return grid.repeat_interleave(8 // max(1, self.side), 1).repeat_interleave(8 // max(1, self.side), 2)[..., None]


def through(side: int) -> Ready:
    codec = LatentCodec(ImageCodec.load({"size": [8, 8], "mode": "L"}), Halved(side), {})
    return Ready(awaken(model_of("diffusion/transformer", codec.space)), codec, {})


def test_latents_are_made_anew_where_a_pixel_is_and_kept_pixels_stay() -> None:
    ready, picture = through(4), png(np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8))
    mask = mask_of(8, 8, clear=(slice(0, 3), slice(0, 1)))
    files = {hashlib.sha256(file).hexdigest(): file for file in (picture, mask)}
    asked = Retouch(**dict(zip(("picture", "mask"), files, strict=True)), count=2)
    canvas = Canvas.of(ready, asked, files.__getitem__)
    assert canvas.kept.where[0].nonzero().tolist() == [[0, 0], [1, 0]]
    *_, (_, made) = retouched(ready, repeated(Given(), 2), SEEDS[:2], {"steps": 2}, canvas)
    assert torch.equal(made[~canvas.new], canvas.pictures[~canvas.new])
    assert not torch.equal(made[0], made[1])
    assert as_pictures(ready).made.decode(made[0]).size == (8, 8)
    flat = through(0)
    with pytest.raises(KaratError, match="whole picture"):
        Canvas.of(flat, asked, files.__getitem__)
    *_, (_, varied) = retouched(
        flat, repeated(Given(), 1), SEEDS[:1], {"steps": 2}, Canvas.of(flat, asked.changed(count=1, mask=None), files.__getitem__)
    )
    assert varied.shape == (1, 8, 8, 1)


def test_conditions_hold_where_it_is_made_anew() -> None:
    from tiny import CONDITIONS

    model = awaken(model_of("diffusion/transformer", SPACE, CONDITIONS["label"]))
    x, given = SPACE.random(6, torch.Generator().manual_seed(1)), given_of(CONDITIONS["label"], 6)
    options = model.sampling(steps=2)
    told = model.filled(x, halves(), given, options, SEEDS)
    assert not torch.equal(told, model.filled(x, halves(), given.nothing(), options, SEEDS))


def test_the_command_edits_pictures_and_makes_them_again(done: Shell) -> None:
    folder = done.folder
    (folder / "in.png").write_bytes(png(np.random.default_rng(0).integers(0, 256, (30, 30, 3), np.uint8)))
    (folder / "mask.png").write_bytes(mask_of(30, 30, clear=(slice(15, None), slice(None))))
    options = ["--mask", "mask.png", "--label", "square", "--seed", "3", "--steps", "2"]
    told = done.well("--json", "edit", "shapes:live", "--image", "in.png", *options, "-n", "2", "-o", "edited").lines
    first, second = [line for line in told if line["kind"] == "made"]
    codec = ImageCodec.load({"size": [8, 8], "mode": "L"})
    pixels = [np.asarray(Image.open(line["path"])) for line in (first, second)]
    before = codec.encode((folder / "in.png").read_bytes())[..., 0]
    assert all(np.array_equal(each[:4], before[:4]) for each in pixels)
    assert not np.array_equal(pixels[0][4:], pixels[1][4:])
    record = open_store(done.store).get(first["asset"])
    assert record.spec["picture"] == hashlib.sha256((folder / "in.png").read_bytes()).hexdigest()
    assert (record.spec["strength"], record.spec["given"]) == (1.0, {"label": "square"})
    done.well("reproduce", first["asset"], "-o", "again")
    done.well("--json", "edit", "shapes:live", "--image", first["path"], "--strength", "0.3", "--steps", "2", "-o", "varied")
    varied = open_store(done.store).find("asset")[0]
    assert varied.made_from[1:] == (first["asset"],), "a picture that was made here is named"
    Image.new("RGBA", (8, 9)).save(folder / "small.png")
    Image.new("RGB", (30, 30)).save(folder / "opaque.png")
    Image.new("RGBA", (30, 30), (0, 0, 0, 255)).save(folder / "full.png")
    (folder / "no.png").write_bytes(b"no picture")
    assert "8x9" in done.refused("edit", "shapes:live", "--image", "in.png", "--mask", "small.png")
    assert "no transparency" in done.refused("edit", "shapes:live", "--image", "in.png", "--mask", "opaque.png")
    assert "keeps everything" in done.refused("edit", "shapes:live", "--image", "in.png", "--mask", "full.png")
    assert "no picture" in done.refused("edit", "shapes:live", "--image", "no.png")
    assert "cannot be read" in done.refused("edit", "shapes:live", "--image", "nowhere.png")
    assert "no effect" in done.refused("edit", "shapes:live", "--image", "in.png", "--tokens", "3")
    assert "Two things" in done.refused("edit", "shapes:live", "--image", "in.png", "--text", "a ___")


def test_a_picture_that_is_gone_is_asked_for_again(done: Shell) -> None:
    Path("in.png").write_bytes(png(np.zeros((8, 8), np.uint8)))
    told = done.well("--json", "edit", "shapes:live", "--image", "in.png", "--steps", "2", "-o", "edited").lines
    asset = next(line["asset"] for line in told if line["kind"] == "made")
    store = open_store(done.store)
    store.path(store.get(asset).spec["picture"]).unlink()
    assert "not in the store" in done.refused("reproduce", asset)
